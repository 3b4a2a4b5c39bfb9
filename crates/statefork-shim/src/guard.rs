//! The dead man's switch: a command that froze an application and died has another one run that
//! looks after it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::directory::Directory;
use crate::log::Log;
use crate::routes::ControlId;

/// The guards of all control connections.
#[derive(Debug)]
pub(crate) struct Guards {
    /// What a worker writes goes to its end.
    output: File,
    log: Log,
    guards: Mutex<HashMap<ControlId, Guard>>,
}

#[derive(Debug)]
struct Guard {
    if_dead: Vec<String>,
    limit: JoinHandle<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.limit.abort();
    }
}

impl Guards {
    /// None yet. Errors: the log of `directory` cannot be opened.
    pub(crate) fn new(directory: &Directory, log: Log) -> io::Result<Self> {
        Ok(Self {
            output: directory.open_log()?,
            log,
            guards: Mutex::new(HashMap::new()),
        })
    }

    /// [`Request::Guard`](crate::protocol::Request::Guard).
    pub(crate) fn set(
        &self,
        owner: ControlId,
        if_dead: Vec<String>,
        if_late: Vec<String>,
        limit: Duration,
    ) -> io::Result<()> {
        let late = self.worker(&if_late)?;
        let log = self.log.clone();
        let limit = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            run(late, "a freeze reached its limit", log);
        });
        self.lock().insert(owner, Guard { if_dead, limit });
        Ok(())
    }

    /// [`Request::Unguard`](crate::protocol::Request::Unguard).
    pub(crate) fn clear(&self, owner: ControlId) {
        self.lock().remove(&owner);
    }

    /// The end of a control connection.
    pub(crate) fn control_ended(&self, owner: ControlId) {
        let Some(guard) = self.lock().remove(&owner) else {
            return;
        };
        match self.worker(&guard.if_dead) {
            Ok(worker) => run(worker, "a command died", self.log.clone()),
            Err(error) => self
                .log
                .line(format_args!("failed to prepare a worker: {error}")),
        }
    }

    fn worker(&self, argv: &[String]) -> io::Result<Command> {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<ControlId, Guard>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a worker, and tells how it ended.
fn run(mut worker: Command, why: &'static str, log: Log) {
    tokio::spawn(async move {
        match worker.status().await {
            Ok(status) => log.line(format_args!(
                "{why}: the worker for that ended with {status}"
            )),
            Err(error) => log.line(format_args!("{why}: failed to run the worker: {error}")),
        }
    });
}
