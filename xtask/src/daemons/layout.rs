//! Where each daemon has its socket, data, log and record, and with which arguments it starts.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::find_program;

/// The usual state directory.
const STATE_DIR: &str = "/run/statefork-daemons";

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// dockerd, with a containerd of its own.
    Docker,
    /// `podman system service`.
    Podman,
}

impl Kind {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// The program that is started.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Podman => "podman",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// Where a set of daemons lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The machine's usual set.
    Usual,
    /// In a directory and a network namespace of its own.
    Apart,
    /// In a directory of its own; we are in namespaces of our own already.
    Enclosed,
}

/// Paths of one set of daemons.
#[derive(Debug)]
pub(crate) struct Layout {
    state: PathBuf,
    place: Place,
}

impl Layout {
    /// The machine's usual set, or one that lies apart in a directory of its own.
    pub(crate) fn new(apart: Option<&Path>) -> Result<Self> {
        Ok(Self {
            state: std::path::absolute(apart.unwrap_or(Path::new(STATE_DIR)))?,
            place: match apart {
                Some(_) => Place::Apart,
                None => Place::Usual,
            },
        })
    }

    /// One in a directory, for a process that is in namespaces of its own. Its containers outlive
    /// their daemon.
    pub(crate) fn enclosed(state: &Path) -> Result<Self> {
        Ok(Self {
            state: std::path::absolute(state)?,
            place: Place::Enclosed,
        })
    }

    /// Whether this is not the machine's usual set.
    pub(crate) fn is_apart(&self) -> bool {
        self.place != Place::Usual
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Makes the state directory, for its owner only.
    ///
    /// # Errors
    ///
    /// When it belongs to somebody else, whose records we would trust.
    pub(crate) fn create(&self) -> Result<()> {
        let shown = self.state.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state)
            .with_context(|| format!("create {shown}"))?;
        let owner = fs::symlink_metadata(&self.state)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            bail!("{shown} belongs to user {owner}");
        }
        fs::set_permissions(&self.state, Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// The daemon's API socket.
    pub(crate) fn socket(&self, kind: Kind) -> PathBuf {
        match (self.is_apart(), kind) {
            (false, Kind::Docker) => PathBuf::from("/var/run/docker.sock"),
            (false, Kind::Podman) => PathBuf::from("/run/podman/podman.sock"),
            (true, _) => self.state.join(format!("{kind}.sock")),
        }
    }

    /// The daemon's output.
    pub(crate) fn log(&self, kind: Kind) -> PathBuf {
        self.state.join(format!("{kind}.log"))
    }

    /// The data of a daemon that is not of the machine's usual set.
    pub(crate) fn data(&self, kind: Kind) -> PathBuf {
        self.state.join(format!("{kind}-data"))
    }

    /// What we remember of the daemon.
    pub(crate) fn record(&self, kind: Kind) -> PathBuf {
        self.state.join(format!("{kind}.json"))
    }

    /// The program and its arguments.
    pub(crate) fn command_line(&self, kind: Kind) -> Vec<OsString> {
        let program = find_program(kind.program()).unwrap_or_else(|| kind.program().into());
        let mut line = Vec::new();
        if self.place == Place::Apart {
            // A second dockerd would otherwise take the first one's bridge and rules for its own.
            // unshare too replaces itself with what it runs, so the pid stays the same.
            line.extend(["unshare", "--net"].map(OsString::from));
        }
        line.push(program.into_os_string());
        let mut add = |args: &[&str]| line.extend(args.iter().map(OsString::from));
        let dir = |name: &str| self.state.join(name).display().to_string();
        let address = format!("unix://{}", self.socket(kind).display());
        match kind {
            Kind::Docker => {
                // Checkpoints are an experimental feature of the daemon.
                add(&["--experimental", "--host", &address]);
                if self.place == Place::Enclosed {
                    add(&["--live-restore"]);
                }
                if self.is_apart() {
                    add(&["--data-root", &dir("docker-data")]);
                    add(&["--exec-root", &dir("docker-exec")]);
                    add(&["--pidfile", &dir("docker.pid")]);
                }
            }
            Kind::Podman => {
                if self.is_apart() {
                    add(&["--root", &dir("podman-data")]);
                    add(&["--runroot", &dir("podman-run")]);
                }
                // Debian 12's crun refuses hybrid cgroups; runc takes v1, v2 and both.
                add(&["--runtime", "runc"]);
                if !Path::new("/run/systemd/system").exists() {
                    add(&["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
                }
                add(&["system", "service", "--time", "0", &address]);
            }
        }
        line
    }

    /// Where dockerd writes its pid.
    pub(crate) fn docker_pid_file(&self) -> PathBuf {
        if self.is_apart() {
            self.state.join("docker.pid")
        } else {
            PathBuf::from("/var/run/docker.pid")
        }
    }

    /// Where dockerd writes its containerd's pid.
    pub(crate) fn containerd_pid_file(&self) -> PathBuf {
        self.exec_root().join("containerd/containerd.pid")
    }

    /// dockerd's directory for what runs.
    pub(crate) fn exec_root(&self) -> PathBuf {
        if self.is_apart() {
            self.state.join("docker-exec")
        } else {
            PathBuf::from("/var/run/docker")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_apart_shares_no_path_with_the_usual_one() {
        let apart = Layout::new(Some(Path::new("/tmp/apart"))).unwrap();
        for kind in Kind::ALL {
            assert!(apart.socket(kind).starts_with("/tmp/apart"));
            let line = apart.command_line(kind);
            assert_eq!(line[0], "unshare");
            // After `unshare --net PROGRAM`.
            for arg in line.iter().skip(3) {
                let arg = arg.to_string_lossy();
                let path = arg.trim_start_matches("unix://");
                assert!(
                    !path.starts_with('/') || path.starts_with("/tmp/apart"),
                    "{arg}"
                );
            }
        }
    }

    #[test]
    fn the_state_directory_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        Layout::new(Some(&state)).unwrap().create().unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    }
}
