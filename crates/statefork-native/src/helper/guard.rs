//! Thaws a container if the process that froze it dies.

use std::io::{self, Read};
use std::path::PathBuf;

use super::{DONE, Reports};
use crate::cgroup::Cgroup;

/// Waits for the command's word, or for its death, after which it thaws the container of the cgroup.
pub(super) fn run(cgroup: PathBuf, reports: Reports) -> io::Result<()> {
    drop(reports);
    let mut word = Vec::new();
    io::stdin().read_to_end(&mut word)?;
    if word == [DONE] {
        return Ok(());
    }
    match Cgroup::new(&cgroup)?.thaw() {
        // The container has gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        thawed => thawed,
    }
}
