//! A helper that thaws a container if the process that froze it dies.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};

use super::{Helper, null};
use crate::helper::{DONE, GUARD};

/// A helper that is there until this is dropped.
pub(crate) struct Guard {
    _helper: Helper,
    word: File,
}

impl Guard {
    /// Starts it for the container of a cgroup. From then on a death of this process, at whatever moment,
    /// has the container thawed.
    pub(crate) fn start(helper: &Path, cgroup: &Path) -> io::Result<Self> {
        let (word_end, word) = pipe_with(PipeFlags::CLOEXEC)?;
        let null = null()?;
        let stdio = [word_end, null.try_clone()?, null];
        Ok(Self {
            _helper: Helper::start(helper, GUARD, &cgroup, stdio)?,
            word: word.into(),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.word.write_all(&[DONE]) {
            // It then thaws what is not frozen.
            tracing::warn!(%error, "a helper could not be told that all is done");
        }
    }
}
