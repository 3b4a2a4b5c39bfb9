//! The log on standard error: `-v`, `-vv`, `-vvv`.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::style::Style;

/// Begins to log. Without `-v` there is no log.
///
/// Our own crates alone are heard: the libraries beneath log whole requests, and with them the
/// values of environment variables.
pub(crate) fn start(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(Style::of(&io::stderr()).has_colour());
    tracing_subscriber::registry()
        .with(lines)
        .with(Targets::new().with_target("statefork", level))
        .init();
}
