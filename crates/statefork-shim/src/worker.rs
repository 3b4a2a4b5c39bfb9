//! Programs that the shim runs: where a command died, and for work that nobody waits for.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;
use tokio::process::Command;

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
    /// Whether one works in the background.
    working: Arc<AtomicBool>,
}

impl Workers {
    /// None runs yet. Errors: the log of `directory` cannot be opened.
    pub(crate) fn new(directory: &Directory, log: Log) -> io::Result<Self> {
        Ok(Self {
            output: directory.open_log()?,
            log,
            working: Arc::new(AtomicBool::new(false)),
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
    pub(crate) fn work(&self, argv: &[String]) -> io::Result<()> {
        if self.working.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut worker = self.prepare(argv)?.spawn()?;
        self.working.store(true, Ordering::Relaxed);
        let pid = worker.id().and_then(|pid| i32::try_from(pid).ok());
        // Threads that it makes later inherit it, and it has just begun.
        let nice = rustix::process::setpriority_process(pid.and_then(Pid::from_raw), NICENESS);
        if let Err(errno) = nice {
            self.log
                .line(format_args!("failed to make a worker nice: {errno}"));
        }
        let (log, working) = (self.log.clone(), Arc::clone(&self.working));
        tokio::spawn(async move {
            let ended = worker.wait().await;
            working.store(false, Ordering::Relaxed);
            match ended {
                Ok(status) => log.line(format_args!("work in the background ended with {status}")),
                Err(error) => log.line(format_args!("failed to wait for a worker: {error}")),
            }
        });
        Ok(())
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
