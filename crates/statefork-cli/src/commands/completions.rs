//! `completions`: what a person's own shell completes.

use clap::Args;
use clap_complete::Shell;

use crate::arguments;
use crate::call::Call;
use crate::failure::{Failure, Result};

/// Print a script that has your own shell complete commands and options
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(statefork completions bash)")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        if call.session.output.json {
            return Err(Failure::usage(
                "a script for a shell and --json exclude each other",
            ));
        }
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut arguments::for_people(),
            "statefork",
            &mut script,
        );
        call.session.output.text(&String::from_utf8_lossy(&script))
    }
}
