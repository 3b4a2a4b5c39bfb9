//! Namespaces of our own: whatever is killed in there, the machine's own daemons, networks and mounts
//! are not touched, what is counted is ours alone, and all of it ends with us.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::interrupt::{self, Heed};
use crate::process::{command, is_root};

/// Prepares the namespaces and runs a program in them. `/run` and `/dev/shm` hold what two sets of
/// daemons would otherwise share. The folder becomes a mount, so that the mounts below it can be
/// told from those of the machine. The shell does not give way to the program: as process 1 it reaps
/// what the killed leave, which a Rust program that waits for its own children only would not.
const PREPARE: &str = "\
mount -t tmpfs -o mode=0755 tmpfs /run || exit
mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit
mount --bind \"$1\" \"$1\" || exit
ip link set lo up || exit
shift
\"$@\" || exit
";

/// Runs this program with other arguments in namespaces of its own. Their processes end with it.
pub(super) fn run(folder: &Path, arguments: &[OsString]) -> Result<()> {
    if !is_root() {
        bail!("namespaces and a daemon of its own take root");
    }
    let mut enclosed = command("unshare");
    enclosed
        .args(["--net", "--mount", "--propagation=slave"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", PREPARE, "sh"])
        .arg(folder)
        .arg(std::env::current_exe()?)
        .args(arguments);
    let status = interrupt::run(&mut enclosed, Heed::Interrupts)?;
    interrupt::check()?;
    if !status.success() {
        bail!("the enclosed part ended with {status}");
    }
    Ok(())
}

/// Lets everything in the enclosure go on that is frozen. What is frozen outlives SIGKILL, and then
/// the enclosure would never end.
pub(super) fn thaw() {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        // `0::PATH` is the group of version 2, `N:freezer:PATH` that of version 1 (cgroups(7)).
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        for group in groups.lines() {
            let mut fields = group.splitn(3, ':').skip(1);
            let (Some(controller), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            // Neither exists for a group that cannot be frozen, such as the root.
            let _ = match controller {
                "" => fs::write(format!("/sys/fs/cgroup{path}/cgroup.freeze"), "0"),
                "freezer" => fs::write(
                    format!("/sys/fs/cgroup/freezer{path}/freezer.state"),
                    "THAWED",
                ),
                _ => continue,
            };
        }
    }
}
