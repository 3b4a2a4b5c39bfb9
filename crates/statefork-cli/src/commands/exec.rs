//! `exec`: run a command in the application's container.

use std::io::{self, IsTerminal};

use clap::Args;
use serde::Serialize;
use statefork_core::config::{parse_env, parse_user, parse_workdir};
use statefork_runtime::{ExecRequest, TerminalSize};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::standard_input::Input;
use crate::streams::{Streams, exit_code};
use crate::terminal::{self, Raw};

/// Of a terminal that does not say, such as one behind a serial line.
const UNKNOWN_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// Run a command in the application's container
///
/// Exits with the command's own code; 125 if it could not be tried, 126 if it cannot be executed,
/// 127 if it does not exist.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork exec -- ls -l /\n  statefork exec -it -- sh")]
pub(crate) struct Exec {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The user that runs it
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Its working directory
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    /// Set an environment variable for it; a name alone takes your value
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The command
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct ExecDocument<'a> {
    command: &'a [String],
    exit_code: i32,
    stdout: &'a str,
    stderr: &'a str,
}

impl Exec {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        let json = call.session.output.json;
        if self.tty && json {
            return Err(Failure::usage("a terminal and --json exclude each other"));
        }
        if self.tty && !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Failure::usage(
                "-t needs a terminal at standard input and standard output",
            ));
        }
        let request = self.request(call)?;
        let opened = call.open()?;
        let raw = match self.tty && self.interactive {
            true => Some(Raw::enter(&call.session.interrupts)?),
            false => None,
        };
        let streams = Streams {
            input: match self.interactive {
                true => call.session.input,
                false => Input::Empty,
            },
            terminal: self.tty,
            collect: json,
        };
        let work = async {
            let exec = opened.environment.exec(&request).await?;
            streams.attend(exec).await
        };
        let outcome = call.interrupt.or(work).await;
        drop(raw);
        if matches!(outcome, Err(Failure::Interrupted)) {
            call.session
                .output
                .note("the command may go on in the container");
        }
        let ended = outcome?;
        if json {
            let document = ExecDocument {
                command: &self.command,
                exit_code: ended.code,
                stdout: &ended.stdout,
                stderr: &ended.stderr,
            };
            call.answer(|| &document, |_| String::new())?;
        }
        Ok(exit_code(ended.code))
    }

    fn request(&self, call: &Call<'_>) -> Result<ExecRequest> {
        let sources = call.session.sources()?;
        let mut env = Vec::new();
        if self.tty
            && sources
                .env
                .contains_key("TERM".as_ref() as &std::ffi::OsStr)
        {
            env.push(parse_env("TERM", &sources.env)?);
        }
        for text in &self.env {
            statefork_core::config::set_env(&mut env, parse_env(text, &sources.env)?);
        }
        Ok(ExecRequest {
            argv: self.command.clone(),
            env,
            user: self.user.as_deref().map(parse_user).transpose()?,
            workdir: self.workdir.as_deref().map(parse_workdir).transpose()?,
            stdin: self.interactive,
            terminal: self
                .tty
                .then(|| terminal::size(&io::stdout()).unwrap_or(UNKNOWN_SIZE)),
        })
    }
}
