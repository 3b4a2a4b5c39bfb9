//! What the command tells the helper to do, and what the helper says and writes down.
//!
//! The helper is another process of the same version: both ends change together, nothing is read
//! across versions but [`Run`] and [`Exit`], which lie in a container's folder.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use statefork_runtime::Limits;

/// What a container's folder holds: `containers/ID` of the storage.
pub(crate) mod file {
    /// The writable layer, the upper of the container's overlay.
    pub(crate) const UPPER: &str = "upper";
    /// What overlayfs works in.
    pub(crate) const WORK: &str = "work";
    /// Standard output of the first process, appended to.
    pub(crate) const STDOUT: &str = "stdout";
    /// Its standard error.
    pub(crate) const STDERR: &str = "stderr";
    /// [`Run`](super::Run), from the start on.
    pub(crate) const RUN: &str = "run.json";
    /// [`Exit`](super::Exit), from the end on.
    pub(crate) const EXIT: &str = "exit.json";
    /// `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` of the container, beside each other.
    pub(crate) const ETC: &str = "etc";
}

/// A container to be started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// `containers/ID`, absolute; its files are those of [`file`], `upper` and `work` exist.
    pub(crate) folder: PathBuf,
    /// The folder in which the layers lie, absolute.
    pub(crate) layers: PathBuf,
    /// The read-only layers, relative to `layers`, the uppermost first; at least one.
    pub(crate) lower: Vec<PathBuf>,
    /// The first process.
    pub(crate) process: ProcessPlan,
    /// Whether a process of ours is process 1, above the program.
    pub(crate) init: bool,
    /// At most 64 bytes.
    pub(crate) hostname: String,
    /// Mounts, to be made in this order; the sources exist.
    pub(crate) mounts: Vec<MountPlan>,
    /// The network.
    pub(crate) network: NetworkPlan,
    /// Limits that its cgroup sets.
    pub(crate) limits: Limits,
    /// The path of its cgroup below the root of each hierarchy, relative: `statefork/ID`.
    pub(crate) cgroup: PathBuf,
}

/// A process in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessPlan {
    /// Program and arguments, not empty; the program is looked for in the `PATH` of `env`, in the
    /// container.
    pub(crate) argv: Vec<String>,
    /// All of its environment variables, `PATH` and `HOME` apart where they lack: the usual `PATH`,
    /// and the user's home by the container's `/etc/passwd`.
    pub(crate) env: Vec<(String, String)>,
    /// Absolute, in the container; made (with its parents) for the first process where it does not exist.
    pub(crate) workdir: PathBuf,
    /// `USER[:GROUP]`, names or numbers, by the container's `/etc/passwd` and `/etc/group`;
    /// empty for root.
    pub(crate) user: String,
    /// Whether it gets no more rights by what it executes (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub(crate) no_new_privileges: bool,
}

/// A mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountPlan {
    /// What is mounted.
    pub(crate) source: MountFrom,
    /// Where, absolute, in the container; made where it does not exist, links followed inside.
    pub(crate) target: PathBuf,
    /// Whether the container cannot write there.
    pub(crate) read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum MountFrom {
    /// A file or folder of the host, absolute.
    Host(PathBuf),
    /// Empty memory of the container's own, of at most so many bytes.
    Memory(Option<u64>),
}

impl fmt::Display for MountFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => path.display().fmt(f),
            Self::Memory(_) => f.write_str("a tmpfs"),
        }
    }
}

/// The network of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetworkPlan {
    /// A namespace of its own, in which the command makes links before the program begins.
    Own,
    /// A namespace of its own with the loopback interface up, and nothing else.
    Loopback,
    /// The host's.
    Host,
}

/// A further process in a container that runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecPlan {
    /// The container's first process, on the host.
    pub(crate) init: ProcessRef,
    /// The path of its cgroup, as in [`Plan::cgroup`].
    pub(crate) cgroup: PathBuf,
    /// What to run. `workdir` must exist.
    pub(crate) process: ProcessPlan,
    /// Whether standard input, output and error are a terminal that is to control it.
    pub(crate) terminal: bool,
}

/// A process that cannot be taken for a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRef {
    /// Its number on the host.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the boot (proc_pid_stat(5), field 22).
    pub(crate) start: u64,
}

/// A container that has been started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// `/proc/sys/kernel/random/boot_id` at the start.
    pub(crate) boot: String,
    /// The helper, which waits for the container's end and writes it down.
    pub(crate) monitor: ProcessRef,
    /// The container's first process.
    pub(crate) init: ProcessRef,
}

/// How a container's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The exit code, 128 + N for signal N.
    pub(crate) code: i32,
}

/// What the helper says on its report descriptor, a line of JSON each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The container's namespaces are there, in this process. The helper waits for a byte on its
    /// standard input before the program is executed; at the end of that, it undoes everything.
    Made(ProcessRef),
    /// The program was executed; [`Run`] is in its file.
    Running(Run),
    /// (exec) The program was executed, as this process.
    Executed(ProcessRef),
    /// (exec) It ended so (128 + N for signal N).
    Ended(i32),
    /// Nothing was started, and nothing of the attempt is left but the files in the folder.
    Failed(Failure),
}

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What decides what the caller makes of it.
    pub(crate) kind: FailureKind,
    /// What did not work and what the system said, as a fragment that reads after "failed to".
    pub(crate) message: String,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    /// There is no such program in the container.
    ProgramNotFound,
    /// There is one that cannot be executed.
    ProgramNotExecutable,
    /// The user, the group or the working directory cannot be used; the message names it.
    Setting,
    /// (exec) The container does not run any more.
    NotRunning,
    /// A mount cannot be made; the message names it.
    Mount,
    /// The storage is full.
    StorageFull,
    /// Anything else that the system refused.
    System,
}
