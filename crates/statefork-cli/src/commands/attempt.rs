//! `try`: run a command, and go back if it fails.

use std::io;

use clap::Args;
use serde::Serialize;
use statefork_core::CoreError;
use statefork_core::environment::TryReport;
use statefork_runtime::ExecRequest;

use crate::call::Call;
use crate::documents::Took;
use crate::failure::{Failure, Result};
use crate::standard_input::Input;
use crate::streams::{Ended, Streams, exit_code};

/// Take a snapshot, run a command, keep what it did if it succeeds, and go back otherwise
///
/// Exits with the command's own code; 125 if it could not be tried.
#[derive(Debug, Args)]
#[command(
    name = "try",
    after_help = "Example:\n  statefork try -- sh -c 'apt-get install -y nginx'"
)]
pub(crate) struct Try {
    /// The command
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct TryDocument<'a> {
    command: &'a [String],
    exit_code: i32,
    stdout: &'a str,
    stderr: &'a str,
    snapshot: &'a str,
    restored: bool,
    #[serde(flatten)]
    took: Took,
}

impl Try {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        let request = ExecRequest {
            argv: self.command.clone(),
            env: Vec::new(),
            user: None,
            workdir: None,
            stdin: false,
            terminal: None,
        };
        let opened = call.open()?;
        let streams = Streams {
            input: Input::Empty,
            terminal: false,
            collect: call.session.output.json,
        };
        let mut output = None;
        let work = opened.environment.attempt(&request, async |exec| {
            let attended = call.interrupt.or(streams.attend(exec)).await;
            let ended = attended.map_err(into_core)?;
            let code = ended.code;
            output = Some(ended);
            Ok(code)
        });
        let report = work.await?;
        self.answer(call, &report, output)?;
        Ok(exit_code(report.exit_code))
    }

    fn answer(&self, call: &Call<'_>, report: &TryReport, output: Option<Ended>) -> Result<()> {
        if call.session.output.json {
            let (stdout, stderr) = match &output {
                Some(output) => (output.stdout.as_str(), output.stderr.as_str()),
                None => ("", ""),
            };
            let document = || TryDocument {
                command: &self.command,
                exit_code: report.exit_code,
                stdout,
                stderr,
                snapshot: report.snapshot.as_str(),
                restored: report.restored,
                took: (&report.timing).into(),
            };
            return call.answer(document, |_| String::new());
        }
        let (code, snapshot) = (report.exit_code, &report.snapshot);
        call.session.output.remark(&match report.restored {
            true => format!("exit code {code}: went back to {snapshot}"),
            false => format!("kept; `statefork restore {snapshot}` goes back"),
        });
        Ok(())
    }
}

/// A failure that the orchestrator is to answer with a restore, and to tell.
fn into_core(failure: Failure) -> CoreError {
    match failure {
        Failure::Core(error) => error,
        Failure::Runtime(error) => error.into(),
        Failure::Interrupted => CoreError::Interrupted,
        other => CoreError::Io {
            op: "pass on",
            path: "the command's output".into(),
            source: io::Error::other(other),
        },
    }
}
