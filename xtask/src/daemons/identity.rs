//! Who a process is: a pid alone may have been given to another one since.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since boot (proc(5), field 22 of `stat`).
    pub(crate) start_time: u64,
    /// The boot that both belong to.
    pub(crate) boot_id: String,
}

impl Identity {
    /// The process that has this pid now, unless there is none or it has ended already.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        // A zombie that waits for its parent runs nothing any more.
        (state != 'Z' && state != 'X').then(|| Self {
            pid,
            start_time,
            boot_id: boot_id(),
        })
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Whether it was started since the machine was.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }

    /// Asks the process to end, waits for at most `patience`, then kills it.
    ///
    /// # Errors
    ///
    /// When it may not be signalled, or outlives SIGKILL by 10 s.
    pub(crate) fn stop(&self, patience: Duration) -> Result<()> {
        if !self.signal(Signal::TERM)? || self.wait(patience) {
            return Ok(());
        }
        self.kill()
    }

    /// Kills the process and waits until it has ended.
    ///
    /// # Errors
    ///
    /// When it may not be signalled, or outlives SIGKILL by 10 s.
    pub(crate) fn kill(&self) -> Result<()> {
        if self.signal(Signal::KILL)? && !self.wait(Duration::from_secs(10)) {
            anyhow::bail!("process {} outlives SIGKILL", self.pid);
        }
        Ok(())
    }

    /// The processes that it has started and that still run.
    pub(crate) fn children(&self) -> Vec<Self> {
        let pid = self.pid.to_string();
        let listed = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .collect::<Vec<_>>()
            .join(" ");
        listed
            .split_whitespace()
            .filter_map(|child| Self::of(child.parse().ok()?))
            .collect()
    }

    /// Sends a signal; `false` if the process has ended.
    fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(false);
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(false);
        };
        // Checked after the descriptor is open: from here on it cannot mean another process.
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("send a signal to process {}", self.pid))
            }
        }
    }

    fn wait(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// All processes whose command line satisfies a predicate.
pub(crate) fn find(mut matches: impl FnMut(&[&str]) -> bool) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&bytes);
            let args: Vec<&str> = line.split_terminator('\0').collect();
            !args.is_empty() && matches(&args)
        })
        .filter_map(Identity::of)
        .collect()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The state letter and the start time. The command name before them may hold spaces and
/// parentheses, so fields are counted from the last closing one.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn stat_is_read_past_a_command_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4242 1000 5";
        assert_eq!(parse_stat(stat), Some(('S', 4242)));
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        let other = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive());
        other.stop(Duration::ZERO).expect("nothing to stop");
    }

    #[test]
    fn children_are_those_of_this_process() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(own.children().iter().any(|identity| identity.pid == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!own.children().iter().any(|identity| identity.pid == pid));
    }

    #[test]
    fn a_process_that_ignores_the_polite_signal_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; while :; do sleep 0.05; done"])
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(100));
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        identity.stop(Duration::from_millis(200)).unwrap();
        assert!(!identity.is_alive());
        child.wait().unwrap();
    }
}
