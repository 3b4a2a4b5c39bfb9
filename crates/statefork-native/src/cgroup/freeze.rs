//! Freezing and thawing a cgroup.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::hierarchies::write;
use super::{Cgroup, is_gone};

/// How long it is looked without a pause whether all are frozen: mostly it is a few microseconds.
const SPIN: Duration = Duration::from_micros(200);
/// Between two looks after that.
const PAUSE: Duration = Duration::from_micros(100);
/// After this time it is thawed and tried again: a process that is amid `execve` waits for its other
/// threads, which may be frozen before they could end (version 1).
const ATTEMPT: Duration = Duration::from_millis(20);

/// Where a cgroup is frozen, and what is in the files then.
struct Freezer {
    folder: PathBuf,
    /// The file to write to, what freezes and what thaws.
    write: (&'static str, &'static str, &'static str),
    /// The file that tells, and its line once all are frozen.
    done: (&'static str, &'static str),
}

impl Cgroup {
    /// Freezes all who are in it and waits until they are frozen. Frozen: success. Errors:
    /// `TimedOut` where they are not within `timeout`; after an error they run.
    pub(crate) fn freeze(&self, timeout: Duration) -> io::Result<()> {
        let freezer = self.freezer()?;
        let begin = Instant::now();
        let state = File::open(freezer.folder.join(freezer.done.0))?;
        loop {
            freezer.set(freezer.write.1)?;
            let attempt = Instant::now();
            while attempt.elapsed() < ATTEMPT {
                match freezer.is_done(&state) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => {
                        freezer.set(freezer.write.2)?;
                        return Err(error);
                    }
                }
                if attempt.elapsed() < SPIN {
                    // They need a processor to come to a halt.
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
            freezer.set(freezer.write.2)?;
            if begin.elapsed() >= timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Thaws it. Running or absent: success.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        let freezer = self.freezer()?;
        match freezer.set(freezer.write.2) {
            Err(error) if is_gone(&error) => Ok(()),
            thawed => thawed,
        }
    }

    /// Whether all who are in it are frozen. `false` where it does not exist.
    pub(crate) fn is_frozen(&self) -> io::Result<bool> {
        let freezer = self.freezer()?;
        let done =
            File::open(freezer.folder.join(freezer.done.0)).and_then(|file| freezer.is_done(&file));
        match done {
            Err(error) if is_gone(&error) => Ok(false),
            done => done,
        }
    }

    /// Its freezer.
    fn freezer(&self) -> io::Result<Freezer> {
        if let Some(folder) = self.v2() {
            return Ok(Freezer {
                folder,
                write: ("cgroup.freeze", "1", "0"),
                done: ("cgroup.events", "frozen 1"),
            });
        }
        let folder = self.with("freezer").ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "this machine has no freezer of cgroups",
            )
        })?;
        Ok(Freezer {
            folder,
            write: ("freezer.state", "FROZEN", "THAWED"),
            done: ("freezer.state", "FROZEN"),
        })
    }
}

impl Freezer {
    /// Asks for a state.
    fn set(&self, value: &str) -> io::Result<()> {
        write(&self.folder.join(self.write.0), value)
    }

    /// Whether a freeze that was asked for is done, by the file that tells.
    fn is_done(&self, file: &File) -> io::Result<bool> {
        // It holds a few short lines.
        let mut text = [0; 256];
        let length = file.read_at(&mut text, 0)?;
        let mut lines = text[..length].split(|byte| *byte == b'\n');
        Ok(lines.any(|line| line == self.done.1.as_bytes()))
    }
}
