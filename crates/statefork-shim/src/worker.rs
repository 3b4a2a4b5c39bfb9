//! Programs that the shim runs: where a command died, and for work that nobody waits for.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;
use tokio::process::{Child, Command};

use crate::directory::Directory;
use crate::log::Log;

/// How nice work in the background is to everything else (setpriority(2)).
const NICENESS: i32 = 10;

/// What runs programs. Each is in a process group of its own and goes on when the shim ends.
#[derive(Debug)]
pub(crate) struct Workers {
    /// What a program writes goes to its end.
    output: File,
    log: Log,
    background: Mutex<Background>,
}

/// Work in the background.
#[derive(Debug, Default)]
struct Background {
    /// Whether a program is at it.
    working: bool,
    /// What comes next.
    next: Option<Vec<String>>,
}

impl Workers {
    /// None runs yet. Errors: the log of `directory` cannot be opened.
    pub(crate) fn new(directory: &Directory, log: Log) -> io::Result<Self> {
        Ok(Self {
            output: directory.open_log()?,
            log,
            background: Mutex::default(),
        })
    }

    /// A program with its arguments, to be run.
    pub(crate) fn prepare(&self, argv: &[String]) -> io::Result<Command> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no program"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(self.output.try_clone()?)
            .stderr(self.output.try_clone()?)
            .process_group(0);
        Ok(command)
    }

    /// [`Request::Work`](crate::protocol::Request::Work).
    pub(crate) fn work(self: &Arc<Self>, argv: &[String]) -> io::Result<()> {
        let mut background = self.background();
        if background.working {
            background.next = Some(argv.to_vec());
            return Ok(());
        }
        let worker = self.begin(argv)?;
        background.working = true;
        tokio::spawn(Arc::clone(self).attend(worker));
        Ok(())
    }

    fn begin(&self, argv: &[String]) -> io::Result<Child> {
        let worker = self.prepare(argv)?.spawn()?;
        let pid = worker.id().and_then(|pid| i32::try_from(pid).ok());
        // Threads that it makes later inherit it, and it has just begun.
        let nice = rustix::process::setpriority_process(pid.and_then(Pid::from_raw), NICENESS);
        if let Err(errno) = nice {
            self.log
                .line(format_args!("failed to make a worker nice: {errno}"));
        }
        Ok(worker)
    }

    /// Waits for a program in the background, and begins what has been asked for meanwhile.
    async fn attend(self: Arc<Self>, mut worker: Child) {
        loop {
            match worker.wait().await {
                Ok(status) => self
                    .log
                    .line(format_args!("work in the background ended with {status}")),
                Err(error) => self
                    .log
                    .line(format_args!("failed to wait for a worker: {error}")),
            }
            let mut background = self.background();
            let Some(argv) = background.next.take() else {
                background.working = false;
                return;
            };
            match self.begin(&argv) {
                Ok(next) => worker = next,
                Err(error) => {
                    self.log
                        .line(format_args!("failed to start a worker: {error}"));
                    background.working = false;
                    return;
                }
            }
        }
    }

    fn background(&self) -> std::sync::MutexGuard<'_, Background> {
        self.background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a program, and tells how it ended.
pub(crate) fn run(mut worker: Command, why: &'static str, log: Log) {
    tokio::spawn(async move {
        match worker.status().await {
            Ok(status) => log.line(format_args!(
                "{why}: the worker for that ended with {status}"
            )),
            Err(error) => log.line(format_args!("{why}: failed to run the worker: {error}")),
        }
    });
}
