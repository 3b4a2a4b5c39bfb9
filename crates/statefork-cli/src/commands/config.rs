//! `config`: the configuration, shown or checked.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use statefork_core::config::{self, Origin, Shown};

use crate::call::Call;
use crate::failure::Result;
use crate::text::{Layout, printable, table};

/// Show the configuration, or check a file
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show all values and where each came from
    #[command(after_help = "Example:\n  statefork config show")]
    Show,
    /// Check a file
    #[command(after_help = "Example:\n  statefork config check statefork.yaml")]
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct ShowDocument<'a> {
    file: Option<&'a PathBuf>,
    values: &'a [Shown],
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    file: &'a PathBuf,
    valid: bool,
}

impl Config {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        match &self.command {
            ConfigCommand::Show => {
                let config = call.session.config()?;
                let values = config.show();
                let document = ShowDocument {
                    file: config.file.as_ref(),
                    values: &values,
                };
                call.answer(|| &document, |layout| shown(&values, layout))
            }
            ConfigCommand::Check { file } => {
                config::Config::check(file, &call.session.sources()?)?;
                let document = CheckDocument { file, valid: true };
                call.answer(|| &document, |_| format!("{} is valid\n", file.display()))
            }
        }
    }
}

fn shown(values: &[Shown], layout: Layout) -> String {
    let rows = values.iter().map(|shown| {
        let value = match &shown.value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => printable(text),
            value => value.to_string(),
        };
        [shown.key.clone(), value, origin(&shown.origin)]
    });
    table(["KEY", "VALUE", "FROM"], rows, layout)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { path, line } => format!("{}:{line}", path.display()),
        Origin::Environment { variable } => variable.clone(),
        Origin::Flag { flag } => flag.clone(),
    }
}
