//! What is done at a moment that was set ahead: the end of a branch that ends by itself.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use crate::log::Log;
use crate::worker::{Workers, run};

/// Between two looks at the wall clock, which may be set while nobody looks.
const LOOK: Duration = Duration::from_secs(30);

/// The one moment that was set.
#[derive(Debug)]
pub(crate) struct Expiry {
    workers: Arc<Workers>,
    log: Log,
    waiting: Mutex<Option<JoinHandle<()>>>,
}

impl Expiry {
    /// None was set yet.
    pub(crate) fn new(workers: Arc<Workers>, log: Log) -> Self {
        Self {
            workers,
            log,
            waiting: Mutex::new(None),
        }
    }

    /// [`Request::Expire`](crate::protocol::Request::Expire).
    pub(crate) fn set(&self, at_ms: u64, command: &[String]) -> io::Result<()> {
        let worker = self.workers.prepare(command)?;
        let log = self.log.clone();
        let next = tokio::spawn(async move {
            let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
            // A moment beyond what the clock can tell never comes.
            while let Some(left) = moment.map_or(Some(LOOK), left_until) {
                tokio::time::sleep(left.min(LOOK)).await;
            }
            run(worker, "a branch ends", log);
        });
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = waiting.replace(next) {
            former.abort();
        }
        Ok(())
    }
}

/// The time until a moment; `None` once it has come.
fn left_until(moment: SystemTime) -> Option<Duration> {
    moment
        .duration_since(SystemTime::now())
        .ok()
        .filter(|left| !left.is_zero())
}
