//! The kernel's freezer of a container (Linux, cgroup-v1/freezer-subsystem and cgroup-v2, "Freezer"):
//! for backends whose daemon may be mistaken about who is frozen.
//!
//! A daemon that was killed amid a freeze or a thaw may never learn of it, or may learn of an
//! earlier one later, and then says the contrary of what is so.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ContainerId;
use crate::cgroup::{self, Cgroup};

/// How often a freeze is tried.
const ATTEMPTS: u32 = 100;
/// How often it is looked whether one is done.
const LOOKS: u32 = 10;
/// Between two looks, and how long what could not be frozen runs before the next attempt.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a container's freezer is, and what is in the file in either state.
struct Freezer {
    file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
    /// What is in which file beside it once all processes are frozen.
    done: (&'static str, &'static str),
}

impl Freezer {
    /// Whether a freeze that was asked for is done.
    fn is_done(&self) -> io::Result<bool> {
        let (file, line) = self.done;
        let said = std::fs::read_to_string(self.file.with_file_name(file))?;
        Ok(said.lines().any(|said| said == line))
    }
}

/// Whether a container is frozen. `pid` is a process of it, `container` its full id.
///
/// `None` where that cannot be told: there is no such process, its cgroup is not named after the
/// container, as where its daemon counts processes in another namespace, or it is being frozen.
pub fn is_frozen(pid: u32, container: &ContainerId) -> io::Result<Option<bool>> {
    let Some(freezer) = of(pid, container)? else {
        return Ok(None);
    };
    let state = std::fs::read_to_string(&freezer.file)?;
    Ok(match state.trim() {
        state if state == freezer.frozen => Some(true),
        state if state == freezer.thawed => Some(false),
        _ => None,
    })
}

/// Freezes a container and waits until it is frozen; nothing where [`is_frozen`] cannot tell.
///
/// A process that is amid `execve` waits for its other threads, which may be frozen before they could
/// end: it is then thawed for a moment and tried again. After an error, which is `TimedOut` where that
/// never succeeds, the container runs.
pub async fn freeze(pid: u32, container: &ContainerId) -> io::Result<()> {
    let Some(freezer) = of(pid, container)? else {
        return Ok(());
    };
    for _ in 0..ATTEMPTS {
        std::fs::write(&freezer.file, freezer.frozen)?;
        for _ in 0..LOOKS {
            if freezer.is_done()? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::fs::write(&freezer.file, freezer.thawed)?;
        tokio::time::sleep(PAUSE).await;
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Thaws a container; nothing where [`is_frozen`] cannot tell.
pub fn thaw(pid: u32, container: &ContainerId) -> io::Result<()> {
    match of(pid, container)? {
        Some(freezer) => std::fs::write(&freezer.file, freezer.thawed),
        None => Ok(()),
    }
}

/// The freezer of a container's process.
fn of(pid: u32, container: &ContainerId) -> io::Result<Option<Freezer>> {
    for freezer in freezers(&cgroup::of(pid, container)?) {
        // Of two hierarchies only one has the file.
        if freezer.file.try_exists()? {
            return Ok(Some(freezer));
        }
    }
    Ok(None)
}

/// The freezers of a container's own cgroups, of either version.
fn freezers(cgroups: &[Cgroup]) -> Vec<Freezer> {
    let of = |Cgroup { controllers, path }: &Cgroup| match controllers.as_str() {
        "freezer" => Some(Freezer {
            file: format!("/sys/fs/cgroup/freezer{path}/freezer.state").into(),
            frozen: "FROZEN",
            thawed: "THAWED",
            done: ("freezer.state", "FROZEN"),
        }),
        "" => Some(Freezer {
            file: format!("/sys/fs/cgroup{path}/cgroup.freeze").into(),
            frozen: "1",
            thawed: "0",
            done: ("cgroup.events", "frozen 1"),
        }),
        _ => None,
    };
    cgroups.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::named_after;

    #[test]
    fn either_version_has_its_file() {
        let container = ContainerId::new("0a1b");
        let cgroups = "5:memory:/m/0a1b\n4:freezer:/libpod_parent/libpod-0a1b\n0::/docker/0a1b\n";
        let found = freezers(&named_after(cgroups, &container));
        let files: Vec<_> = found
            .iter()
            .map(|freezer| freezer.file.display().to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/freezer/libpod_parent/libpod-0a1b/freezer.state",
                "/sys/fs/cgroup/docker/0a1b/cgroup.freeze"
            ]
        );
    }

    #[test]
    fn another_container_or_none_has_none() {
        let cgroups = "4:freezer:/docker/0a1b\n0::/\n";
        assert!(freezers(&named_after(cgroups, &ContainerId::new("0a1c"))).is_empty());
        assert!(freezers(&named_after(cgroups, &ContainerId::new(""))).is_empty());
        let nobody = is_frozen(u32::MAX, &ContainerId::new("0a1b"));
        assert_eq!(nobody.unwrap(), None);
    }
}
