//! What a person sees while an operation runs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use statefork_core::environment::Observer;

use crate::output::Output;
use crate::text::printable;

/// What takes less is over before a person has read about it.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// Shows a spinner on a terminal, notes on standard error.
pub(crate) struct Progress {
    bar: ProgressBar,
    output: Output,
    build_output: bool,
}

impl Progress {
    /// `build_output`: whether a builder's lines are kept on the screen.
    pub(crate) fn new(output: Output, build_output: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::default_spinner());
        Self {
            bar,
            output,
            build_output,
        }
    }

    /// Waits for `work`, and says what is being done if that takes long.
    pub(crate) async fn during<T>(&self, text: &str, work: impl Future<Output = T>) -> T {
        self.progress(text);
        let quiet = self.output.quiet;
        let show = async {
            tokio::time::sleep(PATIENCE).await;
            if !quiet {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(TICK);
            }
            std::future::pending::<T>().await
        };
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            never = show => never,
        };
        self.bar.finish_and_clear();
        outcome
    }
}

impl Observer for Progress {
    fn progress(&self, text: &str) {
        self.bar.set_message(printable(text));
        tracing::info!("{text}");
    }

    fn build_output(&self, line: &str) {
        match self.build_output {
            true => self.bar.suspend(|| self.output.remark(line)),
            false => self.bar.set_message(printable(line)),
        }
    }

    fn notice(&self, text: &str) {
        self.bar.suspend(|| self.output.note(text));
    }
}
