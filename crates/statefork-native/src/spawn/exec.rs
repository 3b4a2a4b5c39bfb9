//! A further process in a container: its streams, its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use statefork_runtime::{
    Exec, ExecControl, ExecExit, Output, OutputStream, RuntimeError, Stream, TerminalSize,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::terminal::Terminal;
use super::{Helper, StartError, null, system, unexpected};
use crate::helper::EXEC;
use crate::plan::{ExecPlan, FailureKind, Report};

/// What the process's end is called where it cannot be told.
const WAIT: &str = "wait for the command's end";

/// Starts a process in a container that runs. On return it has begun, or its program is not there or
/// cannot be executed: that is its end ([`ExecExit`]).
///
/// Without `terminal` it has pipes, and no standard input unless `stdin`. The output ends with the
/// process, although one that it has left behind may write on. The process goes on whatever becomes
/// of what is returned.
///
/// Errors: [`StartError::Refused`] for a user or working directory
/// ([`FailureKind::Setting`](crate::plan::FailureKind::Setting)), and for a container that does not
/// run ([`FailureKind::NotRunning`](crate::plan::FailureKind::NotRunning)).
pub(crate) async fn exec(
    helper: &Path,
    mut plan: ExecPlan,
    stdin: bool,
    terminal: Option<TerminalSize>,
) -> Result<Exec, StartError> {
    plan.terminal = terminal.is_some();
    let (said, end) = watch::channel(None);
    let streams = match terminal {
        Some(size) => Streams::terminal(&plan, size, &end)?,
        None => Streams::pipes(stdin, &end).map_err(StartError::Helper)?,
    };
    let mut helper =
        Helper::start(helper, EXEC, &plan, streams.theirs).map_err(StartError::Helper)?;
    match helper.hear().await? {
        Report::Executed(_) => {
            tokio::spawn(async move {
                // Where nobody hears it any more, nobody waits.
                drop(said.send(Some(exit(helper.hear().await))));
            });
        }
        Report::Failed(failure) if failure.kind == FailureKind::ProgramNotFound => {
            said.send_replace(Some(Ok(ExecExit::NotFound)));
        }
        Report::Failed(failure) if failure.kind == FailureKind::ProgramNotExecutable => {
            said.send_replace(Some(Ok(ExecExit::NotExecutable)));
        }
        other => return Err(unexpected(other)),
    }
    Ok(Exec {
        output: streams.output,
        input: streams.input,
        control: Box::new(Control {
            terminal: streams.control,
            end,
        }),
    })
}

/// The end that a last report tells.
fn exit(report: Result<Report, StartError>) -> Result<ExecExit, String> {
    match report {
        Ok(Report::Ended(code)) => Ok(ExecExit::Code(code)),
        Ok(other) => Err(unexpected(other).to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The ends of a process's standard streams.
struct Streams {
    theirs: [OwnedFd; 3],
    output: OutputStream,
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    control: Option<Terminal>,
}

impl Streams {
    /// Pipes.
    fn pipes(stdin: bool, end: &End) -> io::Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let (in_end, input): (_, Option<Box<dyn AsyncWrite + Send + Unpin>>) = if stdin {
            let (read, write) = pipe()?;
            let sender = pipe::Sender::from_owned_fd(write)?;
            (read, Some(Box::new(sender)))
        } else {
            (null()?, None)
        };
        let (out, out_end) = pipe()?;
        let (err, err_end) = pipe()?;
        let out = pipe::Receiver::from_owned_fd(out)?;
        let err = pipe::Receiver::from_owned_fd(err)?;
        Ok(Self {
            theirs: [in_end, out_end, err_end],
            output: stream::select(
                chunks(out, Stream::Stdout, end),
                chunks(err, Stream::Stderr, end),
            )
            .boxed(),
            input,
            control: None,
        })
    }

    /// A terminal of the container's.
    fn terminal(plan: &ExecPlan, size: TerminalSize, end: &End) -> Result<Self, StartError> {
        let (terminal, theirs) = Terminal::open(&plan.init)?;
        terminal.resize(size).map_err(StartError::Helper)?;
        let duplicate = || rustix::io::dup(theirs.as_fd()).map_err(system);
        Ok(Self {
            theirs: [duplicate()?, duplicate()?, duplicate()?],
            output: chunks(terminal.clone(), Stream::Stdout, end),
            input: Some(Box::new(terminal.clone())),
            control: Some(terminal),
        })
    }
}

/// How a process ended, once it has.
type End = watch::Receiver<Option<Result<ExecExit, String>>>;

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// What comes from a stream, until its end or the process's.
fn chunks(
    reader: impl AsyncRead + AsFd + Send + Unpin + 'static,
    stream: Stream,
    end: &End,
) -> BoxStream<'static, statefork_runtime::Result<Output>> {
    stream::try_unfold(
        (reader, end.clone()),
        move |(mut reader, mut end)| async move {
            let read = piece(&mut reader, &mut end).await;
            let bytes = read.map_err(|error| failed("read the command's output", &error))?;
            Ok((!bytes.is_empty()).then(|| (Output { stream, bytes }, (reader, end))))
        },
    )
    .boxed()
}

/// The next piece; none at the end.
async fn piece(reader: &mut (impl AsyncRead + AsFd + Unpin), end: &mut End) -> io::Result<Bytes> {
    let mut buffer = vec![0; PIECE];
    let length = tokio::select! {
        biased;
        length = reader.read(&mut buffer) => length?,
        // What it wrote before its end is there by now. A sender that is gone has heard nothing more.
        _ = end.wait_for(Option::is_some) => {
            match rustix::io::read(reader.as_fd(), &mut buffer[..]) {
                Err(Errno::AGAIN | Errno::IO) => 0,
                length => length?,
            }
        }
    };
    buffer.truncate(length);
    Ok(buffer.into())
}

/// An error of what goes on after the start.
fn failed(op: &'static str, error: &impl ToString) -> RuntimeError {
    RuntimeError::Daemon {
        op,
        status: None,
        message: error.to_string(),
        source: None,
    }
}

/// The controls of a process.
struct Control {
    terminal: Option<Terminal>,
    end: End,
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: TerminalSize) -> statefork_runtime::Result<()> {
        match &self.terminal {
            Some(terminal) => terminal
                .resize(size)
                .map_err(|error| failed("resize the command's terminal", &error)),
            None => Ok(()),
        }
    }

    async fn wait(&self) -> statefork_runtime::Result<ExecExit> {
        let mut end = self.end.clone();
        let end = end
            .wait_for(Option::is_some)
            .await
            .map_err(|error| failed(WAIT, &error))?;
        match &*end {
            Some(Ok(exit)) => Ok(*exit),
            Some(Err(message)) => Err(failed(WAIT, message)),
            None => Err(failed(WAIT, &"there is none")),
        }
    }
}
