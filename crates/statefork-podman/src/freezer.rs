//! The kernel's freezer of a container (Linux, cgroup-v1/freezer-subsystem and cgroup-v2, "Freezer").
//!
//! A service that was killed between the OCI runtime's freeze and its own note of it says for ever
//! that the container runs, and neither thaws nor freezes it any more.

use std::io;
use std::path::PathBuf;

/// Where a process's freezer is, and what is in the file while it is frozen and while it is not.
struct Freezer {
    file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
}

/// Thaws the processes that are frozen together with this one, which must not be 0.
pub(crate) fn thaw(pid: u32) -> io::Result<()> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for freezer in freezers(&cgroups) {
        match std::fs::read_to_string(&freezer.file) {
            Ok(state) if state.trim() == freezer.frozen => {
                std::fs::write(&freezer.file, freezer.thawed)?;
            }
            Ok(_) => {}
            // The root has none, and of two hierarchies only one has.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The freezers that `/proc/PID/cgroup` leads to, of either version.
fn freezers(cgroups: &str) -> Vec<Freezer> {
    let of = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "freezer" => Some(Freezer {
                file: format!("/sys/fs/cgroup/freezer{path}/freezer.state").into(),
                frozen: "FROZEN",
                thawed: "THAWED",
            }),
            "" => Some(Freezer {
                file: format!("/sys/fs/cgroup{path}/cgroup.freeze").into(),
                frozen: "1",
                thawed: "0",
            }),
            _ => None,
        }
    };
    cgroups.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_version_has_its_file() {
        let found = freezers("5:memory:/m\n4:freezer:/libpod_parent/a\n0::/b\n");
        let files: Vec<_> = found
            .iter()
            .map(|freezer| freezer.file.display().to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/freezer/libpod_parent/a/freezer.state",
                "/sys/fs/cgroup/b/cgroup.freeze"
            ]
        );
    }
}
