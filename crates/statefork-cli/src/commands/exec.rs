//! `exec`: run a command in the application's container.

use std::io::{self, IsTerminal};

use clap::Args;
use serde::Serialize;
use statefork_core::config::{parse_env, parse_user, parse_workdir};
use statefork_runtime::{self as runtime, ExecControl, ExecRequest, Output, Stream, TerminalSize};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::logs::{collect, print};
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::standard_input::{Input, StandardInput};
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
struct ExecDocument {
    command: Vec<String>,
    exit_code: i32,
    stdout: String,
    stderr: String,
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
        let work = async {
            let exec = opened.environment.exec(&request).await?;
            let input = match self.interactive {
                true => call.session.input,
                false => Input::Empty,
            };
            self.attend(call, exec, input).await
        };
        let outcome = call.interrupt.or(work).await;
        drop(raw);
        if matches!(outcome, Err(Failure::Interrupted)) {
            call.session
                .output
                .note("the command may go on in the container");
        }
        // Codes are those of wait(2), 0 to 255.
        outcome.map(|code| u8::try_from(code).unwrap_or(u8::MAX))
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

    /// Passes the streams on until the command ends; returns its exit code.
    async fn attend(&self, call: &Call<'_>, exec: runtime::Exec, input: Input) -> Result<i32> {
        let runtime::Exec {
            output,
            input: into,
            control,
        } = exec;
        let feed = async {
            if let Some(into) = into {
                feed(input, into).await?;
            }
            std::future::pending::<Result<()>>().await
        };
        let resize = async {
            if self.tty {
                resize(control.as_ref()).await?;
            }
            std::future::pending::<Result<()>>().await
        };
        let json = call.session.output.json;
        let read = async {
            match json {
                true => collect(output).await,
                false => print(output).await.map(|()| Vec::new()),
            }
        };
        let pieces = tokio::select! {
            pieces = read => pieces?,
            outcome = feed => return outcome.map(|()| 0),
            outcome = resize => return outcome.map(|()| 0),
        };
        let code = control.wait().await?.code();
        if json {
            let document = ExecDocument {
                command: self.command.clone(),
                exit_code: code,
                stdout: text_of(&pieces, Stream::Stdout),
                stderr: text_of(&pieces, Stream::Stderr),
            };
            call.answer(|| &document, |_| String::new())?;
        }
        Ok(code)
    }
}

/// Passes standard input on, to its end or until nobody reads it any more.
async fn feed(input: Input, mut into: Box<dyn AsyncWrite + Send + Unpin>) -> Result<()> {
    let fail = |source| Failure::Io {
        op: "read standard input",
        source,
    };
    let mut from = StandardInput::open(input).map_err(fail)?;
    loop {
        let chunk = from.next().await.map_err(fail)?;
        let passed = match &chunk {
            Some(chunk) => into.write_all(chunk).await,
            None => into.shutdown().await,
        };
        match passed {
            Ok(()) if chunk.is_some() => {}
            Ok(()) => return Ok(()),
            // The command has closed its input or ended; its exit code tells the rest.
            Err(error) if is_closed(&error) => return Ok(()),
            Err(source) => {
                return Err(Failure::Io {
                    op: "pass standard input on",
                    source,
                });
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::WriteZero
    )
}

/// Tells the command whenever the terminal's size has changed.
async fn resize(control: &dyn ExecControl) -> Result<()> {
    let mut changes = signal(SignalKind::window_change()).map_err(|source| Failure::Io {
        op: "listen to the terminal's size",
        source,
    })?;
    while changes.recv().await.is_some() {
        if let Some(size) = terminal::size(&io::stdout()) {
            control.resize(size).await?;
        }
    }
    Ok(())
}

fn text_of(pieces: &[Output], stream: Stream) -> String {
    let mut bytes = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.stream == stream) {
        bytes.extend_from_slice(&piece.bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
