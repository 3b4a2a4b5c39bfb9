//! The streams of a command that runs in a container: passed on, or collected for a document.

use std::io;

use statefork_runtime::{Exec, ExecControl, Output, Stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::logs::{collect, print};
use crate::failure::{Failure, Result};
use crate::standard_input::{Input, StandardInput};
use crate::terminal;

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote to standard output, if that was collected.
    pub(crate) stdout: String,
    /// What it wrote to standard error, if that was collected.
    pub(crate) stderr: String,
}

/// How the streams are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Where standard input comes from.
    pub(crate) input: Input,
    /// The command's terminal follows the size of ours.
    pub(crate) terminal: bool,
    /// Collect the output instead of passing it on.
    pub(crate) collect: bool,
}

impl Streams {
    /// Attends to a command until it ends.
    pub(crate) async fn attend(self, exec: Exec) -> Result<Ended> {
        let Exec {
            output,
            input: into,
            control,
        } = exec;
        let feed = async {
            if let Some(into) = into {
                feed(self.input, into).await?;
            }
            std::future::pending::<Result<()>>().await
        };
        let resize = async {
            if self.terminal {
                resize(control.as_ref()).await?;
            }
            std::future::pending::<Result<()>>().await
        };
        let read = async {
            match self.collect {
                true => collect(output).await,
                false => print(output).await.map(|()| Vec::new()),
            }
        };
        let pieces = tokio::select! {
            pieces = read => pieces?,
            // Neither ends but by failing.
            Err(failure) = feed => return Err(failure),
            Err(failure) = resize => return Err(failure),
        };
        Ok(Ended {
            code: control.wait().await?.code(),
            stdout: text_of(&pieces, Stream::Stdout),
            stderr: text_of(&pieces, Stream::Stderr),
        })
    }
}

/// An exit code of wait(2), 0 to 255, as ours.
pub(crate) fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
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
