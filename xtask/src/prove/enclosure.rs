//! Namespaces of our own: whatever is killed in there, the machine's own daemons, networks and mounts
//! are not touched, what is counted is ours alone, and all of it ends with us.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::daemons::identity::Identity;
use crate::interrupt::{self, Heed};
use crate::process::{command, is_root, this_program};

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
        .arg(this_program()?)
        .args(arguments)
        // What a daemon had there when it was killed goes with the rest.
        .env("TMPDIR", folder);
    let status = interrupt::run(&mut enclosed, Heed::Interrupts)?;
    interrupt::check()?;
    if !status.success() {
        bail!("the enclosed part ended with {status}");
    }
    Ok(())
}

/// Ends what still runs in containers: thaws it, since what is frozen outlives SIGKILL and the enclosure
/// would never end, and removes the control groups, which are the machine's and would stay.
pub(super) fn end_containers() -> Result<()> {
    let own = groups("self");
    let mut emptied = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(process) = name
            .to_str()
            .and_then(|pid| Identity::of(pid.parse().ok()?))
        else {
            continue;
        };
        let groups: BTreeSet<PathBuf> = groups(&process.pid.to_string())
            .difference(&own)
            .cloned()
            .collect();
        if groups.is_empty() {
            continue;
        }
        for group in &groups {
            for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                if group.join(file).exists() {
                    fs::write(group.join(file), thawed)?;
                }
            }
        }
        process.kill()?;
        emptied.extend(groups);
    }
    for group in emptied {
        // One of several containers, such as that of all of Podman's monitors, is not empty.
        match fs::remove_dir(&group) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) =>
            {
                return Err(error).with_context(|| format!("remove {}", group.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The control groups of a process: of each controller of version 1, and of version 2, which may be
/// the whole or beside the others (cgroups(7)).
fn groups(process: &str) -> BTreeSet<PathBuf> {
    let listed = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let mut groups = BTreeSet::new();
    for line in listed.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controller), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        let mounts = match controller {
            "" => vec![".", "unified"],
            controller => vec![controller.trim_start_matches("name=")],
        };
        let mounts = mounts
            .iter()
            .map(|mount| Path::new("/sys/fs/cgroup").join(mount));
        groups.extend(
            mounts
                .map(|mount| mount.join(path))
                .filter(|group| group.exists()),
        );
    }
    groups
}
