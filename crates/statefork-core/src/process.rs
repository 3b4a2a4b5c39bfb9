//! Which process this is, so that a later one can tell whether it still runs.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The kernel's flag of a process that is ending (`PF_EXITING` in `linux/sched.h`). It is set before
/// its descriptors close and stays while it waits to be reaped.
const EXITING: u32 = 0x4;
/// Between two looks at whether one that was killed has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A process, told apart from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Its number.
    pub pid: u32,
    /// Its start, in clock ticks since boot (proc(5), `/proc/PID/stat`, field 22).
    pub started: u64,
}

impl ProcessIdentity {
    /// This process.
    pub fn current() -> std::io::Result<Self> {
        let pid = std::process::id();
        Ok(Self {
            boot: boot_id()?,
            pid,
            started: Stat::read(pid)?.started,
        })
    }

    /// No process: it runs in no boot.
    pub(crate) fn nobody() -> Self {
        Self {
            boot: String::new(),
            pid: 0,
            started: 0,
        }
    }

    /// Whether it still runs. What cannot be read does not, nor does one whose parent has not
    /// reaped it yet: it holds nothing any more, and who waited for its locks must find it dead.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
            && Stat::read(self.pid)
                .is_ok_and(|stat| stat.started == self.started && stat.flags & EXITING == 0)
    }
}

impl ProcessIdentity {
    /// Kills it, if it still runs, and waits until it has ended; not this process itself.
    pub(crate) async fn kill(&self) -> std::io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let (Some(pid), true) = (pid, self.pid != std::process::id()) else {
            return Ok(());
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            process => process?,
        };
        // Only now: what the descriptor means stays what it is.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        while self.is_alive() {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// What is read of `/proc/PID/stat` (proc(5)).
struct Stat {
    /// Field 9.
    flags: u32,
    /// Field 22.
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text)
            .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat cannot be read")))
    }

    fn parse(text: &str) -> Option<Self> {
        // The command's name, field 2, is in parentheses and may hold anything.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some(Self {
            flags: fields.nth(6)?.parse().ok()?,
            started: fields.nth(12)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_an_earlier_namesake_does_not() {
        let this = ProcessIdentity::current().unwrap();
        assert!(this.is_alive());
        let earlier = ProcessIdentity {
            started: this.started + 1,
            ..this
        };
        assert!(!earlier.is_alive());
    }
    #[test]
    fn one_that_was_killed_is_dead_before_it_is_reaped() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let process = ProcessIdentity {
            pid,
            started: Stat::read(pid).unwrap().started,
            ..ProcessIdentity::current().unwrap()
        };
        assert!(process.is_alive());
        let tokio = tokio::runtime::Builder::new_current_thread();
        let tokio = { tokio }.enable_time().build().unwrap();
        tokio.block_on(process.kill()).unwrap();
        // Its output ends when its descriptors close, which is what a shim sees of a command.
        let mut output = Vec::new();
        std::io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut output).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
