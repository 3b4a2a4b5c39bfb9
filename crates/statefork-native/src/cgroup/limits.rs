//! What a cgroup allows: memory, processors, processes, devices.

use std::io;
use std::path::Path;

use statefork_runtime::Limits;

use super::Cgroup;
use super::hierarchies::write;

/// The period that a share of the processors is counted over, in microseconds.
const PERIOD: u64 = 100_000;
/// The least share of it that the kernel takes.
const LEAST_QUOTA: u64 = 1_000;
/// How many processes and threads a container has at most.
const PROCESSES: &str = "32768";

/// The devices that a container may open. It may make nodes of any, as Docker's may.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",   // null
    "c 1:5 rwm",   // zero
    "c 1:7 rwm",   // full
    "c 1:8 rwm",   // random
    "c 1:9 rwm",   // urandom
    "c 5:0 rwm",   // tty
    "c 5:2 rwm",   // ptmx
    "c 136:* rwm", // pts
];

/// Sets the limits of a cgroup that has just been made.
pub(super) fn set(cgroup: &Cgroup, limits: &Limits) -> io::Result<()> {
    if let Some(bytes) = limits.memory {
        memory(cgroup, bytes)?;
    }
    if let Some(cpus) = limits.cpus {
        // A share beyond the largest number is none that anybody could use up.
        let quota = ((cpus * PERIOD as f64) as u64).max(LEAST_QUOTA);
        if let Some(folder) = cgroup.with("cpu") {
            write(&folder.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
            write(&folder.join("cpu.cfs_quota_us"), &quota.to_string())?;
        } else {
            write_v2(cgroup, "cpu.max", &format!("{quota} {PERIOD}"))?;
        }
    }
    if let Some(folder) = cgroup.with("pids") {
        write(&folder.join("pids.max"), PROCESSES)?;
    } else if let Some(folder) = cgroup.v2() {
        write_if_there(&folder.join("pids.max"), PROCESSES)?;
    }
    if let Some(folder) = cgroup.with("devices") {
        write(&folder.join("devices.deny"), "a")?;
        for device in DEVICES {
            write(&folder.join("devices.allow"), device)?;
        }
    }
    Ok(())
}

/// Limits memory, and with it swap, where the kernel counts that.
fn memory(cgroup: &Cgroup, bytes: u64) -> io::Result<()> {
    let value = bytes.to_string();
    if let Some(folder) = cgroup.with("memory") {
        write(&folder.join("memory.limit_in_bytes"), &value)?;
        // Memory and swap together.
        return write_if_there(&folder.join("memory.memsw.limit_in_bytes"), &value);
    }
    write_v2(cgroup, "memory.max", &value)?;
    match cgroup.v2() {
        Some(folder) => write_if_there(&folder.join("memory.swap.max"), "0"),
        None => Ok(()),
    }
}

/// Sets a limit in version 2, where nothing else can set it.
fn write_v2(cgroup: &Cgroup, file: &str, value: &str) -> io::Result<()> {
    let lacking = || {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this machine has no cgroups with {file}"),
        )
    };
    let folder = cgroup.v2().ok_or_else(lacking)?;
    match write(&folder.join(file), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(lacking()),
        written => written,
    }
}

/// Writes to a file that not every kernel has.
fn write_if_there(file: &Path, value: &str) -> io::Result<()> {
    match write(file, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}
