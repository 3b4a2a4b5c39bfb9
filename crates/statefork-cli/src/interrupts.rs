//! Ctrl-C and the other signals that ask a process to end.
//!
//! The first signal asks the running operation to end, undone; the second ends the process at once.
//! A thread of its own waits for them, so that neither waits for what the main thread does.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rustix::termios::Termios;
use statefork_core::environment::Cancel;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit_code;
use crate::failure::{Failure, Result};
use crate::terminal;

/// What the signals meet.
#[derive(Clone, Default)]
pub(crate) struct Interrupts(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The operation that runs.
    current: Option<Interrupt>,
    /// Whether it was asked to end.
    asked: bool,
    /// Whether the whole process was asked to end, not only its operation.
    ending: bool,
    /// Whether Ctrl-C without an operation leaves the process alone: at the shell's prompt.
    at_prompt: bool,
    /// How the terminal was, while it is otherwise.
    terminal: Option<Termios>,
}

/// One operation's end on demand.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    /// For the orchestrator.
    pub(crate) cancel: Cancel,
    token: CancellationToken,
}

impl Interrupt {
    /// `Interrupted` once somebody has asked.
    pub(crate) fn check(&self) -> Result<()> {
        match self.token.is_cancelled() {
            true => Err(Failure::Interrupted),
            false => Ok(()),
        }
    }

    /// Gives `work` up when somebody asks.
    pub(crate) async fn or<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(Failure::Interrupted),
            output = work => output.map_err(Into::into),
        }
    }
}

/// An operation that signals end instead of the process, until this is dropped.
pub(crate) struct Running<'a> {
    interrupts: &'a Interrupts,
    interrupt: Interrupt,
}

impl Running<'_> {
    /// Its end on demand.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.interrupts.lock();
        state.current = None;
        state.asked = false;
    }
}

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self> {
        let fail = |source| Failure::Io {
            op: "listen to signals",
            source,
        };
        let interrupts = Self::default();
        let (ready, listening) = mpsc::channel();
        let shared = interrupts.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || shared.wait(&ready))
            .map_err(fail)?;
        // The sender lives until it has sent, so a closed channel is a thread that has panicked.
        let closed = |_| io::Error::other("the thread that listens has ended");
        listening.recv().map_err(closed).flatten().map_err(fail)?;
        Ok(interrupts)
    }

    /// An operation begins.
    pub(crate) fn run(&self) -> Running<'_> {
        let interrupt = Interrupt::default();
        let mut state = self.lock();
        state.current = Some(interrupt.clone());
        state.asked = false;
        Running {
            interrupts: self,
            interrupt,
        }
    }

    /// Whether the process was asked to end.
    pub(crate) fn ending(&self) -> bool {
        self.lock().ending
    }

    /// From now on Ctrl-C between two operations leaves the process alone.
    pub(crate) fn at_prompt(&self) {
        self.lock().at_prompt = true;
    }

    /// Keeps the modes that the terminal gets back when a signal ends the process; returns those
    /// that were kept before.
    pub(crate) fn remember_terminal(&self, modes: Option<Termios>) -> Option<Termios> {
        std::mem::replace(&mut self.lock().terminal, modes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, ready: &mpsc::Sender<io::Result<()>>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        let listening = runtime.and_then(|runtime| {
            let streams = {
                let _entered = runtime.enter();
                let listen = |kind| match is_ignored(kind) {
                    true => Ok(None),
                    false => signal(kind).map(Some),
                };
                (
                    listen(SignalKind::interrupt())?,
                    listen(SignalKind::terminate())?,
                    listen(SignalKind::hangup())?,
                )
            };
            Ok((runtime, streams))
        });
        let (runtime, (mut interrupt, mut terminate, mut hangup)) = match listening {
            Ok(listening) => listening,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        runtime.block_on(async {
            loop {
                let only_the_operation = tokio::select! {
                    () = next(&mut interrupt) => true,
                    () = next(&mut terminate) => false,
                    () = next(&mut hangup) => false,
                };
                self.arrived(only_the_operation);
            }
        });
    }

    fn arrived(&self, only_the_operation: bool) {
        let mut state = self.lock();
        state.ending |= !(only_the_operation && state.at_prompt);
        match &state.current {
            Some(interrupt) if !state.asked => {
                interrupt.cancel.cancel();
                interrupt.token.cancel();
                state.asked = true;
                if io::stderr().is_terminal() {
                    let _ = writeln!(io::stderr(), "\nstopping; once more stops at once");
                }
            }
            None if state.at_prompt && only_the_operation => {}
            _ => {
                if let Some(modes) = &state.terminal {
                    // The process ends whether the terminal still listens or not.
                    let _ = terminal::restore(modes);
                }
                std::process::exit(exit_code::INTERRUPTED.into());
            }
        }
    }
}

async fn next(stream: &mut Option<tokio::signal::unix::Signal>) {
    let arrived = match stream {
        Some(stream) => stream.recv().await,
        None => None,
    };
    if arrived.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Whether whoever started us wants a signal to be ignored: `nohup`, or a shell's `&`
/// (proc_pid_status(5), "SigIgn").
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (kind.as_raw_value() - 1)) != 0
}
