//! Running a further command in a container.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use std::path::PathBuf;

use crate::{EnvVar, Result};

/// Which stream bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes that a process wrote, in the order in which the runtime delivered them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where.
    pub stream: Stream,
    /// What; not necessarily whole lines or characters.
    pub bytes: Bytes,
}

/// Output as it comes; ends when the process has closed its streams (or, for logs, when there is
/// no more).
pub type OutputStream = BoxStream<'static, Result<Output>>;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Program and arguments, not empty. The program is looked for in the container's `PATH`.
    pub argv: Vec<String>,
    /// Added to the container's environment variables.
    pub env: Vec<EnvVar>,
    /// `USER[:GROUP]`; the container's own unless given.
    pub user: Option<String>,
    /// The container's own unless given.
    pub workdir: Option<PathBuf>,
    /// Whether standard input is connected; else the process reads end of file at once.
    pub stdin: bool,
    /// A terminal of this size instead of pipes.
    pub terminal: Option<TerminalSize>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecExit {
    /// It ran and ended with this code (128 + N for signal N).
    Code(i32),
    /// There is no such program: 127 by convention.
    NotFound,
    /// The program cannot be executed: 126 by convention.
    NotExecutable,
}

impl ExecExit {
    /// The exit code by the convention of shells and container tools.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::NotFound => 127,
            Self::NotExecutable => 126,
        }
    }
}

/// A running command.
pub struct Exec {
    /// What it writes. Read it to the end before [`ExecControl::wait`].
    pub output: OutputStream,
    /// Its standard input, if it was asked for; shutting it down is end of file.
    pub input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its controls.
    pub control: Box<dyn ExecControl>,
}

/// Controls of a running command.
#[async_trait]
pub trait ExecControl: Send + Sync {
    /// Tells the command's terminal its new size. Without a terminal: no effect.
    async fn resize(&self, size: TerminalSize) -> Result<()>;

    /// How it ended; waits until it has.
    async fn wait(&self) -> Result<ExecExit>;
}
