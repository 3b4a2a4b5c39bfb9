//! The dead man's switch: a command that froze an application and died has another one run that
//! looks after it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::log::Log;
use crate::routes::ControlId;
use crate::worker::{Workers, run};

/// The guards of all control connections.
#[derive(Debug)]
pub(crate) struct Guards {
    workers: Arc<Workers>,
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
    /// None yet.
    pub(crate) fn new(workers: Arc<Workers>, log: Log) -> Self {
        Self {
            workers,
            log,
            guards: Mutex::new(HashMap::new()),
        }
    }

    /// [`Request::Guard`](crate::protocol::Request::Guard).
    pub(crate) fn set(
        &self,
        owner: ControlId,
        if_dead: Vec<String>,
        if_late: Vec<String>,
        limit: Duration,
    ) -> io::Result<()> {
        let late = self.workers.prepare(&if_late)?;
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
        match self.workers.prepare(&guard.if_dead) {
            Ok(worker) => run(worker, "a command died", self.log.clone()),
            Err(error) => self
                .log
                .line(format_args!("failed to prepare a worker: {error}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ControlId, Guard>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
