//! Driving processes of the fake, and [`Exec`] over them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use statefork_runtime::{
    ContainerId, ContainerState, Exec, ExecControl, ExecExit, ExecRequest, Output, OutputStream,
    Result, Stream, TerminalSize,
};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::{mpsc, watch};

use super::program::{Process, Progress};
use super::state::{Shared, State};

/// What a process that was killed exits with: 128 + SIGKILL.
pub(super) const KILLED: i32 = 137;

/// A run of a container: over once it ended or the container was started again.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) container: ContainerId,
    pub(super) number: u64,
}

impl Run {
    /// The container's state, or `None` when this run is over.
    fn state(&self, state: &State) -> Option<ContainerState> {
        state
            .containers
            .get(&self.container)
            .filter(|container| container.run == self.number && container.is_up())
            .map(|container| container.state)
    }

    /// Waits until the container runs and is not paused; `false` when the run is over.
    async fn until_running(&self, shared: &Shared) -> bool {
        shared
            .until(|state| match self.state(state) {
                Some(ContainerState::Paused) => None,
                up => Some(up.is_some()),
            })
            .await
    }

    async fn until_over(&self, shared: &Shared) {
        shared
            .until(|state| self.state(state).is_none().then_some(()))
            .await;
    }
}

/// Where a process writes: its container's log, or the stream of an exec.
pub(super) enum Sink {
    /// The container's log.
    Log,
    /// Whoever reads the exec's output.
    Reader(mpsc::UnboundedSender<Output>),
}

/// Lets a process of a container run as far as it gets without waiting.
pub(super) fn advance(
    state: &mut State,
    container: &ContainerId,
    process: &mut Process,
    sink: &Sink,
) -> Progress {
    let Some(stored) = state.containers.get_mut(container) else {
        return Progress::Ended(KILLED);
    };
    let mut said = Vec::new();
    let progress = process.advance(
        &mut stored.tree,
        &mut state.volumes,
        &mut |stream, bytes| {
            said.push(Output { stream, bytes });
        },
    );
    if matches!(sink, Sink::Log) {
        stored.polite = progress == Progress::Serving;
    }
    for output in said {
        match sink {
            Sink::Log => stored.write_log(output.stream, &output.bytes),
            Sink::Reader(reader) => {
                if reader.send(output).is_err() {
                    // Nobody reads any more; the process goes on, as with a real runtime.
                    break;
                }
            }
        }
    }
    progress
}

/// Drives a process from `progress` to its end; gives its exit code.
pub(super) async fn drive(
    shared: Arc<Shared>,
    run: Run,
    process: Arc<Mutex<Process>>,
    sink: Sink,
    mut stdin: Option<DuplexStream>,
    mut progress: Progress,
) -> i32 {
    loop {
        match progress {
            Progress::Ended(code) => return code,
            Progress::Serving => {
                run.until_over(&shared).await;
                return KILLED;
            }
            Progress::Asleep(duration) => tokio::select! {
                () = tokio::time::sleep(duration) => {}
                () = run.until_over(&shared) => return KILLED,
            },
            Progress::Copying => {
                if let Some(stdin) = &mut stdin {
                    tokio::select! {
                        () = copy(stdin, &sink, &shared, &run) => {}
                        () = run.until_over(&shared) => return KILLED,
                    }
                }
            }
        }
        if !run.until_running(&shared).await {
            return KILLED;
        }
        progress = shared.write(|state| {
            let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
            advance(state, &run.container, &mut process, &sink)
        });
    }
}

async fn copy(stdin: &mut DuplexStream, sink: &Sink, shared: &Shared, run: &Run) {
    let mut buffer = vec![0; 64 * 1024];
    // An end or a failure of the writer's side are both the end of the input.
    while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
        // A paused process writes nothing.
        if !run.until_running(shared).await {
            return;
        }
        let output = Output {
            stream: Stream::Stdout,
            bytes: Bytes::copy_from_slice(&buffer[..count]),
        };
        if let Sink::Reader(reader) = sink
            && reader.send(output).is_err()
        {
            return;
        }
    }
}

/// Starts a further process in a container that runs.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    run: Run,
    process: Process,
    request: &ExecRequest,
) -> Exec {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (exit_sender, exit) = watch::channel(None);
    let (input, stdin) = if request.stdin {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (Some(ours), Some(theirs))
    } else {
        (None, None)
    };
    let process = Arc::new(Mutex::new(process));
    let control = FakeExecControl {
        process: Some(Arc::clone(&process)),
        exit,
    };
    let terminal = request.terminal.is_some();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let sink = Sink::Reader(sender);
        let start = Progress::Asleep(std::time::Duration::ZERO);
        let code = drive(shared, run, process, sink, stdin, start).await;
        exit_sender.send_replace(Some(ExecExit::Code(code)));
    });
    Exec {
        output: reader_stream(receiver, terminal),
        input: input.map(|input| Box::new(input) as _),
        control: Box::new(control),
    }
}

/// A command whose program is not there or no program: it ends at once.
pub(super) fn refused(exit: ExecExit, stdin: bool) -> Exec {
    let (sender, exit) = watch::channel(Some(exit));
    drop(sender);
    Exec {
        output: Box::pin(stream::empty()),
        input: stdin.then(|| Box::new(tokio::io::sink()) as _),
        control: Box::new(FakeExecControl {
            process: None,
            exit,
        }),
    }
}

fn reader_stream(receiver: mpsc::UnboundedReceiver<Output>, terminal: bool) -> OutputStream {
    Box::pin(stream::unfold(receiver, move |mut receiver| async move {
        let mut output = receiver.recv().await?;
        if terminal {
            output.stream = Stream::Stdout;
        }
        Some((Ok(output), receiver))
    }))
}

struct FakeExecControl {
    process: Option<Arc<Mutex<Process>>>,
    exit: watch::Receiver<Option<ExecExit>>,
}

#[async_trait]
impl ExecControl for FakeExecControl {
    async fn resize(&self, size: TerminalSize) -> Result<()> {
        if let Some(process) = &self.process {
            process
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .resize(size);
        }
        Ok(())
    }

    async fn wait(&self) -> Result<ExecExit> {
        let mut exit = self.exit.clone();
        // A driver that went without a word was torn down with its async runtime: killed.
        let ended = exit.wait_for(Option::is_some).await;
        Ok(match ended {
            Ok(exit) => exit.unwrap_or(ExecExit::Code(KILLED)),
            Err(_) => ExecExit::Code(KILLED),
        })
    }
}
