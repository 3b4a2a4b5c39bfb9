//! Locks between processes: `flock` on files of the home.
//!
//! A changing operation holds its environment shared and its branch exclusive; one that takes the
//! whole environment (`down`) holds the environment exclusive. A lock is never held between
//! operations, and ends with its process. The descriptors are close-on-exec.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{CoreError, Result};
use crate::process::ProcessIdentity;

/// Who holds a lock, as the lock's file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessIdentity,
    /// What it does.
    pub command: String,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            command,
            since,
        } = self;
        write!(f, "process {} ({command}, since {since:.0})", process.pid)
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    /// Beside others.
    Shared,
    /// Alone.
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// What to lock and for whom.
#[derive(Clone, Debug)]
pub(crate) struct LockRequest<'a> {
    /// The lock's file.
    pub(crate) path: PathBuf,
    /// What it protects, in words.
    pub(crate) what: String,
    /// How.
    pub(crate) mode: LockMode,
    /// What the holder does.
    pub(crate) command: &'a str,
    /// How long to wait.
    pub(crate) timeout: Duration,
}

const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(50);

impl Lock {
    /// Takes the lock, waiting up to the request's limit.
    pub(crate) async fn acquire(request: LockRequest<'_>) -> Result<Self> {
        Self::acquire_since(Instant::now(), &request).await
    }

    /// The same, in turn with all others that come through `gate`, the path of another lock: who
    /// waits for it exclusive goes before those who come later, however many share it.
    pub(crate) async fn acquire_in_turn(request: LockRequest<'_>, gate: PathBuf) -> Result<Self> {
        let begun = Instant::now();
        let turn = LockRequest {
            path: gate,
            mode: LockMode::Exclusive,
            ..request.clone()
        };
        let _turn = Self::acquire_since(begun, &turn).await?;
        Self::acquire_since(begun, &request).await
    }

    async fn acquire_since(begun: Instant, request: &LockRequest<'_>) -> Result<Self> {
        let io = |op, source| CoreError::Io {
            op,
            path: request.path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&request.path)
            .map_err(|source| io("open lock", source))?;
        let operation = match request.mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let mut wait = FIRST_WAIT;
        loop {
            match flock(&file, operation) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < request.timeout => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(CoreError::Locked {
                        what: request.what.clone(),
                        holder: read_holder(&request.path),
                        after: request.timeout,
                    });
                }
                Err(source) => return Err(io("lock", source.into())),
            }
        }
        // Only one holder can be named, so a shared lock names nobody: its branch's lock does.
        if request.mode == LockMode::Exclusive {
            let holder = Holder {
                process: ProcessIdentity::current().map_err(|source| io("describe", source))?,
                command: request.command.to_owned(),
                since: Timestamp::now(),
            };
            write_holder(&mut file, &holder).map_err(|source| io("write lock", source))?;
        }
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    let text = serde_json::to_vec(holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Who the lock's file names, if that process still runs: what is read may be half written or left
/// over, since a reader holds no lock.
pub(crate) fn read_holder(path: &Path) -> Option<Holder> {
    let mut text = Vec::new();
    File::open(path).ok()?.read_to_end(&mut text).ok()?;
    let holder: Holder = serde_json::from_slice(&text).ok()?;
    holder.process.is_alive().then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &Path, mode: LockMode) -> LockRequest<'static> {
        LockRequest {
            path: path.to_owned(),
            what: "branch main".into(),
            mode,
            command: "restore",
            timeout: Duration::from_millis(30),
        }
    }

    #[tokio::test]
    async fn an_exclusive_lock_keeps_others_out_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::acquire(request(&path, LockMode::Exclusive))
            .await
            .unwrap();
        let error = Lock::acquire(request(&path, LockMode::Shared))
            .await
            .unwrap_err();
        let CoreError::Locked { holder, .. } = &error else {
            panic!("{error}");
        };
        let holder = holder.as_ref().unwrap();
        assert_eq!(holder.process.pid, std::process::id());
        assert_eq!(holder.command, "restore");
        drop(held);
        Lock::acquire(request(&path, LockMode::Shared))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_for_all_goes_before_those_who_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let gate = || folder.path().join("gate");
        let shared = || Lock::acquire_in_turn(request(&path, LockMode::Shared), gate());
        let first = shared().await.unwrap();
        let alone = LockRequest {
            timeout: Duration::from_secs(10),
            command: "down",
            ..request(&path, LockMode::Exclusive)
        };
        let alone = tokio::spawn(Lock::acquire_in_turn(alone, gate()));
        while read_holder(&gate()).is_none_or(|holder| holder.command != "down") {
            tokio::time::sleep(FIRST_WAIT).await;
        }
        let CoreError::Locked { holder, .. } = shared().await.unwrap_err() else {
            panic!("it was not held");
        };
        assert_eq!(holder.unwrap().command, "down");
        drop(first);
        drop(alone.await.unwrap().unwrap());
        shared().await.unwrap();
    }

    #[tokio::test]
    async fn shared_locks_live_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _one = Lock::acquire(request(&path, LockMode::Shared))
            .await
            .unwrap();
        let _two = Lock::acquire(request(&path, LockMode::Shared))
            .await
            .unwrap();
        assert!(
            Lock::acquire(request(&path, LockMode::Exclusive))
                .await
                .is_err()
        );
    }
}
