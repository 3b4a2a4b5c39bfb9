//! Containers: what runs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Adoption, ByteStream, ContainerId, ContainerPort, Exec, ExecRequest, ImageId, Labels,
    ObjectKind, OutputStream, Result, RuntimeError, Usage, usage,
};

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Exited {
        /// The exit code (128 + N for signal N); `None` where the runtime lost it.
        code: Option<i32>,
    },
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Exited { code: Some(code) } => write!(f, "exited ({code})"),
            Self::Exited { code: None } => f.write_str("exited (unknown)"),
        }
    }
}

/// What a mount of a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume of the runtime.
    Volume,
    /// Memory; empty after a restore of files.
    Tmpfs,
}

/// A mount that a container has: a path that a capture does not hold. The runtime's own
/// (`/etc/hosts`, `/proc`, `/dev`, …) are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// Where, in the container.
    pub path: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Whether the container can write there.
    pub writable: bool,
}

/// A container as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a leading slash.
    pub name: String,
    /// The image that it was made from.
    pub image: ImageId,
    /// Its state.
    pub state: ContainerState,
    /// Process id of its first process on the host, while it runs or is paused.
    pub pid: Option<u32>,
    /// Its address, where it has one of its own; while it runs or is paused.
    pub address: Option<IpAddr>,
    /// What the runtime publishes for it, by container port.
    pub published: Vec<(ContainerPort, SocketAddr)>,
    /// Its mounts, sorted by path.
    pub mounts: Vec<ContainerMount>,
    /// Its labels.
    pub labels: Labels,
}

/// Which part of a container's output to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines of what is there.
    pub tail: Option<u32>,
}

/// How a path differs from the image that the container was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or attributes are others (a folder counts when an entry of it changed).
    Modified,
    /// It is gone.
    Deleted,
}

/// A changed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Absolute, in the container.
    pub path: PathBuf,
    /// How.
    pub kind: ChangeKind,
}

/// Containers of a runtime. They are made by [`Captures::launch`](crate::Captures::launch).
#[async_trait]
pub trait Containers: Send + Sync {
    /// The container as it is now, by id or name. `None` when it is gone.
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>>;

    /// Starts a container that is created or exited, with its changes. Running: success.
    ///
    /// Afterwards it was running at least for an instant. Errors: `NotFound`; `StartFailed`, and
    /// then the container is still there, as it was; `WrongState` for a paused one.
    async fn start(&self, container: &ContainerId) -> Result<()>;

    /// Asks the first process to end (the image's stop signal), waits up to `grace`, then kills.
    /// Works on a paused container. Not running: success. Errors: `NotFound`.
    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()>;

    /// Kills all its processes. Works on a paused container. Not running: success; on return it
    /// no longer runs. Errors: `NotFound`.
    async fn kill(&self, container: &ContainerId) -> Result<()>;

    /// Kills it if it runs or is paused, removes it with its writable layer and the anonymous
    /// volumes made for it (never a named one). Absent: success; on return it is gone.
    async fn remove(&self, container: &ContainerId) -> Result<()>;

    /// Freezes all its processes. Paused: success. Errors: `NotFound`; `WrongState` if it does not
    /// run; `Unsupported`.
    async fn pause(&self, container: &ContainerId) -> Result<()>;

    /// Thaws it. Running: success. Errors: `NotFound`; `WrongState` if it does not run.
    async fn unpause(&self, container: &ContainerId) -> Result<()>;

    /// What its processes take of the machine now, frozen or not. `None` where it has none, or where
    /// that cannot be told. What is provided asks the kernel of this machine. Errors: `NotFound`.
    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>> {
        let found = self.inspect(container).await?;
        let found = found.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Container,
            name: container.to_string(),
        })?;
        let Some(pid) = found.pid else {
            return Ok(None);
        };
        usage(pid, &found.id).map_err(|source| RuntimeError::Daemon {
            op: "ask the kernel what a container takes",
            status: None,
            message: source.to_string(),
            source: Some(source.into()),
        })
    }

    /// Runs a further command in a running container; on return it has begun. That the program does
    /// not exist is no error of this call but an [`ExecExit`](crate::ExecExit).
    ///
    /// Errors: `NotFound`; `WrongState` if the container does not run; `Invalid` for a user or a
    /// working directory that does not exist.
    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec>;

    /// What its first process wrote, oldest first; also of an exited container. Errors:
    /// `NotFound`.
    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream>;

    /// What differs from the image that it was made from, sorted by path; paths on mounts are not
    /// listed. Errors: `NotFound`.
    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>>;

    /// One file or folder of a container in whatever state, as a tar stream. `path` is absolute and
    /// has no `..`.
    ///
    /// The entry is named by the last component of `path`; a folder's entries follow below that
    /// name. Symbolic links on the way are followed inside the container; one at the end is not, it
    /// is the entry itself. Contents, kinds, modes, times and targets of links are those of the
    /// container. Owners count for nothing: some runtimes replace them by the container's user.
    ///
    /// What lies on a bind mount or a volume is taken from there, if `path` is on it or the
    /// container is up; a mount below `path` may be an empty folder if it is not. What the
    /// container sees on a mount in memory (tmpfs), in `/proc`, `/sys` and `/dev` may be missing,
    /// or is refused with `WrongState` while the container is not up.
    ///
    /// The stream is not one instant of a container that runs, and ends with an error where the
    /// connection breaks. Errors: `NotFound`; `Invalid` naming the path if there is nothing, if it
    /// is not absolute, has `..`, is no UTF-8 or is the root, which has no name.
    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream>;

    /// Unpacks a tar stream, plain, in a folder of a container in whatever state. `folder` is
    /// absolute, has no `..`, and exists; symbolic links to it are followed inside the container.
    ///
    /// Contents, kinds, modes, numeric owners, times and targets of links become those of the
    /// archive. What is there already is replaced; a folder is merged with one of the same name,
    /// and is never replaced by something that is no folder. No entry gets out of `folder`.
    ///
    /// What lies on a bind mount or a volume is written there; a mount in memory (tmpfs) may be
    /// written beneath, so that the container does not see it, or is refused with `WrongState`
    /// while the container is not up.
    ///
    /// After an error, entries before the one that failed may have been unpacked. Errors:
    /// `NotFound`; `Invalid` naming the path if it does not exist or is no folder, lies on a
    /// read-only mount, is not absolute, has `..` or is no UTF-8, and for a stream that is no tar
    /// or that the runtime does not unpack there; `StorageFull`.
    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()>;

    /// The settings with which a container was made, by whomever, as those that it would be
    /// launched with again. Looks only, in whatever state the container is. `None` when there is
    /// no such container.
    ///
    /// Errors: `NotFound(Image)` if the image that it was made from is gone.
    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>>;
}
