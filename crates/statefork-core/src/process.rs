//! Which process this is, so that a later one can tell whether it still runs.

use serde::{Deserialize, Serialize};

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
            started: start_time(pid)?,
        })
    }

    /// Whether it still runs. What cannot be read does not.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
            && start_time(self.pid).is_ok_and(|started| started == self.started)
    }
}

fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

fn start_time(pid: u32) -> std::io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name, field 2, is in parentheses and may hold anything.
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat cannot be read")))
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
}
