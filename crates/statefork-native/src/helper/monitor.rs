//! The parent of a container's first process: waits for its end and writes that down.
//!
//! It is small and holds nothing: one process of it per container stays in memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::create::write_json;
use crate::cgroup::Cgroup;
use crate::plan::{Exit, file};

/// A container that runs.
pub(super) struct Monitor {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Its cgroup.
    pub(super) cgroup: Cgroup,
    /// Its first process.
    pub(super) init: OwnedFd,
}

impl Monitor {
    /// Waits for its end.
    ///
    /// The cgroup goes before the end is written down: whoever reads that it has ended may start it
    /// again, in a cgroup of the same path.
    pub(super) fn run(self) -> io::Result<()> {
        let code = wait_for(&self.init)?;
        drop(self.init);
        let removed = self.cgroup.kill().and_then(|()| self.cgroup.remove());
        match write_json(&self.folder, file::EXIT, &Exit { code }) {
            // The container has been removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
        removed
    }
}

/// Waits for the end of a child. Its exit code, 128 + N for signal N.
pub(super) fn wait_for(child: &OwnedFd) -> io::Result<i32> {
    loop {
        let status = rustix::io::retry_on_intr(|| {
            waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED)
        })?;
        if let Some(code) = status.as_ref().and_then(code) {
            return Ok(code);
        }
    }
}

/// The exit code that a status stands for.
fn code(status: &WaitIdStatus) -> Option<i32> {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}
