//! Processes that cannot be taken for later ones with their numbers.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;

use crate::plan::ProcessRef;
use crate::sys;

/// What identifies this boot of the machine: `/proc/sys/kernel/random/boot_id`.
pub(crate) fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

impl ProcessRef {
    /// The process that has this number now, which may have ended and not been waited for; `None`
    /// where there is none.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(Stat::of(pid)?.map(|stat| Self {
            pid,
            start: stat.start,
        }))
    }

    /// Whether it has not ended. One that has ended and that nobody has waited for is not alive.
    pub(crate) fn alive(&self) -> io::Result<bool> {
        let stat = Stat::of(self.pid)?;
        Ok(stat.is_some_and(|stat| stat.start == self.start && !stat.ended()))
    }

    /// Sends it a signal. `false` where it is not alive.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pidfd) = self.open()? else {
            return Ok(false);
        };
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, at most for `timeout`; whether it has.
    pub(crate) async fn wait_end(&self, timeout: Duration) -> io::Result<bool> {
        let Some(pidfd) = self.open()? else {
            return Ok(true);
        };
        let pidfd = sys::watch(pidfd, Interest::READABLE)?;
        match tokio::time::timeout(timeout, pidfd.readable()).await {
            Ok(ready) => ready.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// A descriptor of it, if it is alive.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after the descriptor was opened: the number cannot pass to another since.
        Ok(self.alive()?.then_some(pidfd))
    }
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
struct Stat {
    /// Field 3.
    state: char,
    /// Field 22.
    start: u64,
}

impl Stat {
    /// Reads it; `None` where there is no such process.
    fn of(pid: u32) -> io::Result<Option<Self>> {
        let text = match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The name in parentheses may hold anything; nothing after it holds a parenthesis.
        let text = String::from_utf8_lossy(&text);
        let parse = || {
            let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
            let state = fields.next()?.chars().next()?;
            // Field 4 comes next, so that 22 is the 18 after it.
            let start = fields.nth(18)?.parse().ok()?;
            Some(Self { state, start })
        };
        match parse() {
            Some(stat) => Ok(Some(stat)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has another form"),
            )),
        }
    }

    /// Whether it has ended and was not waited for.
    fn ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Whether an error of reading below `/proc/PID` says that there is no such process.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, ProcessRef) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessRef::of(child.id()).unwrap().unwrap();
        (child, process)
    }

    #[tokio::test]
    async fn a_process_is_known_until_it_ends() {
        let (mut child, process) = sleeper();
        assert!(process.alive().unwrap());
        assert!(!process.wait_end(Duration::from_millis(5)).await.unwrap());

        assert!(process.signal(Signal::KILL).unwrap());
        assert!(process.wait_end(Duration::from_secs(5)).await.unwrap());
        assert!(!process.alive().unwrap(), "not waited for");
        assert!(!process.signal(Signal::KILL).unwrap());

        child.wait().unwrap();
        assert_eq!(ProcessRef::of(process.pid).unwrap(), None);
        assert!(process.wait_end(Duration::ZERO).await.unwrap());
    }

    #[test]
    fn another_process_with_its_number_is_left_alone() {
        let (mut child, process) = sleeper();
        let earlier = ProcessRef {
            start: process.start - 1,
            ..process
        };
        assert!(!earlier.alive().unwrap());
        assert!(!earlier.signal(Signal::KILL).unwrap());
        assert!(process.alive().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn numbers_of_no_process_are_absent() {
        let nobody = ProcessRef {
            pid: u32::MAX,
            start: 0,
        };
        assert_eq!(ProcessRef::of(u32::MAX).unwrap(), None);
        assert!(!nobody.alive().unwrap());
        assert!(!nobody.signal(Signal::TERM).unwrap());
    }

    #[test]
    fn the_boot_has_an_id() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
