//! What a daemon leaves behind: found, taken away where that is ours to do, else named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::identity::{self, Identity};
use super::layout::{Kind, Layout};
use crate::process::{command, run};

impl Layout {
    /// The containerd that a running dockerd has started for itself.
    pub(crate) fn containerd(&self, kind: Kind) -> Option<Identity> {
        (kind == Kind::Docker).then_some(())?;
        let text = fs::read_to_string(self.containerd_pid_file()).ok()?;
        Identity::of(text.trim().parse().ok()?)
    }

    /// Removes pid files that a killed dockerd or an earlier boot has left. A new dockerd believes
    /// them if any process has that pid, even one of another program or one that only waits to be
    /// reaped: it refuses to start, or waits in vain for a containerd.
    ///
    /// # Errors
    ///
    /// When a dockerd that does not answer runs.
    pub(crate) fn remove_stale_pid_files(&self, kind: Kind) -> Result<()> {
        if kind != Kind::Docker {
            return Ok(());
        }
        for (program, path) in [
            ("dockerd", self.docker_pid_file()),
            ("containerd", self.containerd_pid_file()),
        ] {
            let Ok(pid) = fs::read_to_string(&path) else {
                continue;
            };
            let pid = pid.trim();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let runs = name.trim() == program && pid.parse().ok().and_then(Identity::of).is_some();
            if runs && program == "dockerd" {
                bail!(
                    "{program} runs as process {pid} but does not answer on {}",
                    self.socket(kind).display()
                );
            }
            if !runs {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Shims that a dockerd which had to be killed could not end.
    pub(crate) fn shims(&self, kind: Kind) -> Vec<Identity> {
        let address = self.exec_root().join("containerd/containerd.sock");
        let address = address.display().to_string();
        identity::find(|args| {
            kind == Kind::Docker
                && args[0].contains("containerd-shim")
                && args
                    .windows(2)
                    .any(|pair| pair[0] == "-address" && pair[1] == address)
        })
    }

    /// Unmounts what a killed daemon has left mounted; a polite end leaves nothing.
    pub(crate) fn unmount(&self, kind: Kind) {
        for mount in self.mounts(kind) {
            if let Err(error) = run(command("umount").arg("--lazy").arg(&mount)) {
                println!("{kind}: {error:#}");
            }
        }
    }

    /// What is still there of the daemon, in words.
    pub(crate) fn leftovers(&self, kind: Kind) -> Vec<String> {
        let mut left: Vec<String> = self
            .mounts(kind)
            .iter()
            .map(|m| format!("mount {m}"))
            .collect();
        if kind == Kind::Docker && !self.is_apart() && Path::new("/sys/class/net/docker0").exists()
        {
            left.push("bridge docker0".to_owned());
        }
        if kind == Kind::Podman {
            // Podman's containers do not need the service, and are not ours to stop.
            let (containers, execs) = self.podman_monitors();
            if containers > 0 {
                left.push(format!("{containers} running containers"));
            }
            if execs > 0 {
                left.push(format!(
                    "{execs} monitors of ended exec sessions, which end by themselves in 5 min"
                ));
            }
        }
        left
    }

    /// How many containers, and how many exec sessions, have a conmon.
    fn podman_monitors(&self) -> (usize, usize) {
        let data = self.state().join("podman-data");
        let mut containers = BTreeSet::new();
        let mut execs = BTreeSet::new();
        identity::find(|args| {
            let ours = args.iter().any(|arg| Path::new(arg).starts_with(&data)) == self.is_apart();
            let id = args
                .windows(2)
                .find(|pair| pair[0] == "-u")
                .map(|pair| pair[1]);
            if let Some(id) = id
                && ours
                && args[0].ends_with("/conmon")
            {
                let monitors = if is_exec_monitor(args) {
                    &mut execs
                } else {
                    &mut containers
                };
                monitors.insert(id.to_owned());
            }
            false
        });
        (containers.len(), execs.len())
    }

    /// Mount points below the daemon's own directories, the innermost first.
    fn mounts(&self, kind: Kind) -> Vec<String> {
        let roots: Vec<PathBuf> = match (kind, self.is_apart()) {
            (Kind::Podman, false) => return Vec::new(),
            (Kind::Podman, true) => vec![
                self.state().join("podman-data"),
                self.state().join("podman-run"),
            ],
            (Kind::Docker, true) => vec![self.state().join("docker-data"), self.exec_root()],
            (Kind::Docker, false) => vec![
                PathBuf::from("/var/lib/docker"),
                PathBuf::from("/run/docker"),
            ],
        };
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut mounts: Vec<String> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| roots.iter().any(|root| Path::new(point).starts_with(root)))
            .map(str::to_owned)
            .collect();
        mounts.reverse();
        mounts
    }
}

/// Whether this is the conmon of an exec session. Podman lets it stay for 5 min after the session has
/// ended, and even after its container was removed.
pub(crate) fn is_exec_monitor(args: &[&str]) -> bool {
    args.first()
        .is_some_and(|program| program.ends_with("/conmon"))
        && args.contains(&"-e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_another_program_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path())).unwrap();
        let file = dir.path().join("docker.pid");
        fs::write(&file, std::process::id().to_string()).unwrap();
        layout.remove_stale_pid_files(Kind::Docker).unwrap();
        assert!(!file.exists());
        layout.remove_stale_pid_files(Kind::Docker).unwrap();
    }
}
