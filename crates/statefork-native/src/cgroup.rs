//! The cgroup of a container (Linux, cgroup-v2; cgroup-v1): its limits, who is in it, freezing and
//! killing them.
//!
//! A machine has hierarchies of either version, or both. A container has a cgroup in the one of
//! version 2, where there is one, and in those of version 1 that have a controller it needs. All of
//! them have the same path, relative to the root of each hierarchy's mount.

mod freeze;
mod hierarchies;
mod limits;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use statefork_runtime::Limits;

use hierarchies::{Hierarchies, remove_folder, write};

/// How long [`Cgroup::remove`] waits for those who are ending.
const REMOVE_TIME: Duration = Duration::from_secs(5);
/// How long a kill by signals waits for the freeze before it.
const FREEZE_TIME: Duration = Duration::from_secs(1);
/// How often such a kill is tried where the freeze does not succeed.
const KILL_ROUNDS: u32 = 10;
/// Between two looks at what takes longer.
const PAUSE: Duration = Duration::from_millis(1);

/// A container's cgroup, which may or may not exist.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    /// Relative to the roots.
    path: PathBuf,
    hierarchies: &'static Hierarchies,
}

impl Cgroup {
    /// The cgroup with this path, relative to the root of each hierarchy's mount, such as
    /// `statefork/ID`. An error where there is no hierarchy at all.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            hierarchies: Hierarchies::of_this_machine()?,
        })
    }

    /// Makes it with these limits, in place of an empty one that was left behind. After an error
    /// nothing is left. Errors: `ResourceBusy` where somebody is in it.
    pub(crate) fn create(&self, limits: &Limits) -> io::Result<()> {
        for folder in self.folders() {
            remove_folder(&folder)?;
        }
        let made = self
            .hierarchies
            .make(&self.path, limits)
            .and_then(|()| limits::set(self, limits));
        if let Err(error) = made {
            // It is empty: nobody has been told of it. What could not be removed now, the next
            // attempt removes; the first error is the one to tell.
            for folder in self.folders() {
                drop(remove_folder(&folder));
            }
            return Err(error);
        }
        Ok(())
    }

    /// Whether all its limits are those of version 2, as on most machines.
    pub(crate) fn is_all_in_v2(&self) -> bool {
        self.hierarchies.v1.is_empty()
    }

    /// Its folder in the hierarchy of version 2, to clone a process into; `None` where there is no
    /// such hierarchy.
    pub(crate) fn v2_fd(&self) -> io::Result<Option<OwnedFd>> {
        let Some(folder) = self.v2() else {
            return Ok(None);
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Some(rustix::fs::open(folder, flags, Mode::empty())?))
    }

    /// Moves the calling process, which has one thread, into it. With `in_v2` it is there already
    /// as far as version 2 goes.
    pub(crate) fn join(&self, in_v2: bool) -> io::Result<()> {
        if let (Some(folder), false) = (self.v2(), in_v2) {
            write(&folder.join("cgroup.procs"), "0")?;
        }
        for folder in self.v1() {
            // A thread that moves itself does not wait for all others of the machine, as the move
            // of a process does.
            match write(&folder.join("tasks"), "0") {
                // The container has no limit there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                joined => joined?,
            }
        }
        Ok(())
    }

    /// Who is in it, by numbers of the reader's pid namespace. Empty where it does not exist.
    pub(crate) fn pids(&self) -> io::Result<Vec<Pid>> {
        let Some(folder) = self.folders().into_iter().next() else {
            return Ok(Vec::new());
        };
        let text = match std::fs::read_to_string(folder.join("cgroup.procs")) {
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            text => text?,
        };
        let pids = text.lines().filter_map(|line| line.parse().ok());
        Ok(pids.filter_map(Pid::from_raw).collect())
    }

    /// Kills all who are in it, frozen or not. They end soon, not at once. Absent: success.
    pub(crate) fn kill(&self) -> io::Result<()> {
        if let Some(folder) = self.v2() {
            match write(&folder.join("cgroup.kill"), "1") {
                Ok(()) => return self.thaw(),
                // There is none (before Linux 5.14 there is no such file), or it is gone.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // Frozen, so that none is born meanwhile. Where that does not succeed, those who are born
        // are killed in the next round.
        for _ in 0..KILL_ROUNDS {
            let frozen = self.freeze(FREEZE_TIME);
            for pid in self.pids()? {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.thaw()?;
            match frozen {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) if is_gone(&error) => return Ok(()),
                frozen => return frozen,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Whether it exists, in whatever hierarchy.
    #[cfg(test)]
    pub(crate) fn exists(&self) -> bool {
        self.folders().iter().any(|folder| folder.exists())
    }

    /// Removes it; waits a few seconds for those who are ending. Absent: success.
    ///
    /// The folder that it lies in is removed too if nothing else is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let begin = Instant::now();
        for folder in self.folders() {
            while let Err(error) = remove_folder(&folder) {
                let busy = error.kind() == io::ErrorKind::ResourceBusy;
                if !busy || begin.elapsed() > REMOVE_TIME {
                    return Err(error);
                }
                std::thread::sleep(PAUSE);
            }
        }
        self.hierarchies.remove_parents(&self.path)
    }

    /// Its folder in the hierarchy of version 2.
    fn v2(&self) -> Option<PathBuf> {
        let root = self.hierarchies.v2.as_ref()?;
        Some(root.join(&self.path))
    }

    /// Its folders in those of version 1, whether they exist or not.
    fn v1(&self) -> Vec<PathBuf> {
        let roots = self.hierarchies.v1.iter();
        roots.map(|(root, _)| root.join(&self.path)).collect()
    }

    /// Its folder in the hierarchy of version 1 that has a controller; `None` where none has.
    fn with(&self, controller: &str) -> Option<PathBuf> {
        let mut roots = self.hierarchies.v1.iter();
        let (root, _) =
            roots.find(|(_, controllers)| controllers.iter().any(|name| name == controller))?;
        Some(root.join(&self.path))
    }

    /// All its folders, whether they exist or not; one that has everybody in it comes first.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<_> = self.v2().into_iter().collect();
        folders.extend(self.with("freezer"));
        for folder in self.v1() {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

/// Whether an error says that a cgroup or a file of it does not exist (any more).
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}
