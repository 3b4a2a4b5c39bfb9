//! What can go wrong in the orchestrator.

mod reason;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use statefork_runtime::{ErrorKind as RuntimeErrorKind, ObjectKind, PortRange, RuntimeError};
use statefork_shim::ShimError;

use crate::lock::Holder;
use crate::model::SnapshotId;

pub use reason::{HookFailure, Named, NotReadyReason};

/// Bytes that SQLite takes for the memory that the users of a database share.
const SHARED_MEMORY: u64 = 32 * 1024;

/// Result of the orchestrator.
pub type Result<T, E = CoreError> = std::result::Result<T, E>;

/// The error of every operation. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// An operation as a whole, with its cause.
    #[error("{operation}")]
    Operation {
        /// The verb with its object.
        operation: String,
        /// Why.
        #[source]
        source: Box<CoreError>,
    },
    /// A name that nothing has.
    #[error("find {what} {name:?}")]
    NotFound {
        /// What was looked for.
        what: Named,
        /// As given.
        name: String,
        /// A name that exists and looks like it.
        nearest: Option<String>,
    },
    /// A prefix that fits several snapshots.
    #[error("choose a snapshot: {prefix:?} fits {}", candidates.join(", "))]
    Ambiguous {
        /// As given.
        prefix: String,
        /// What it fits, at most ten.
        candidates: Vec<String>,
    },
    /// A text that is no revision.
    #[error("read revision {text:?}: {reason}")]
    InvalidRevision {
        /// As given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A text that is no name for an environment.
    #[error("use the name {name:?}: {reason}")]
    InvalidName {
        /// As given.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A name that something has already.
    #[error("use the name {name:?}: a {by} has it")]
    NameTaken {
        /// As given.
        name: String,
        /// What has it.
        by: Named,
    },
    /// An environment where a new one was to be made.
    #[error("make environment {environment:?}: it exists already")]
    EnvironmentExists {
        /// The environment.
        environment: String,
    },
    /// What an environment cannot be without.
    #[error("take the branch \"main\" away: every environment has it")]
    MainBranch,
    /// A snapshot that something stands on.
    #[error("do without snapshot {id}: {reason}")]
    SnapshotInUse {
        /// The snapshot.
        id: SnapshotId,
        /// What stands on it.
        reason: String,
    },
    /// A mount that a fork would write into beside others.
    #[error("give each fork its own files in {}: it is a mount that all of them would write into", target.display())]
    SharedMount {
        /// Where it is in the container.
        target: PathBuf,
    },
    /// A fork of a container that listens on the host itself.
    #[error("give each fork its own ports: its network is the host's")]
    HostNetwork,
    /// None of the ports that were asked for is free.
    #[error("find a free port in {range}")]
    NoFreePort {
        /// The ports of the host, and that of the container.
        range: PortRange,
    },
    /// The environment has never been brought up, or is down.
    #[error("find a container of environment {environment:?} on {runtime}: it is not up")]
    NotUp {
        /// The environment.
        environment: String,
        /// The runtime.
        runtime: &'static str,
    },
    /// The container was removed behind our back.
    #[error("find container {container}: it was removed by somebody else")]
    Lost {
        /// The container.
        container: String,
    },
    /// No image was named for a new environment.
    #[error("choose an image for environment {environment:?}: none is configured")]
    NoImage {
        /// The environment.
        environment: String,
    },
    /// The runtime builds no images, and nothing else that does was found.
    #[error("find a builder for {runtime}, which has none: {}", tried.join(", "))]
    NoBuilder {
        /// The runtime.
        runtime: &'static str,
        /// What was looked for, each with what was wrong.
        tried: Vec<String>,
    },
    /// Settings that cannot be used together.
    #[error("use {what}: {reason}")]
    InvalidSettings {
        /// Which.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The environment exists with other settings.
    #[error("change the settings of environment {environment:?}: {}", differences.join("; "))]
    SettingsDiffer {
        /// The environment.
        environment: String,
        /// What is different, in words.
        differences: Vec<String>,
        /// Whether `--recreate` would take the new settings.
        recreate_helps: bool,
    },
    /// The container did not become usable.
    #[error("wait until container {container} is ready: {reason}")]
    NotReady {
        /// The container.
        container: String,
        /// Why.
        reason: NotReadyReason,
        /// The last lines that it wrote.
        log: Vec<String>,
    },
    /// The hook failed in the new container.
    #[error("run the hook {program:?} in container {container}: {failure}")]
    HookFailed {
        /// Its program.
        program: String,
        /// The container.
        container: String,
        /// Why.
        failure: HookFailure,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// Another process holds the lock.
    #[error("lock {what} within {} s{}", after.as_secs_f64(), holders(holder))]
    Locked {
        /// What.
        what: String,
        /// Who holds it, as far as it says.
        holder: Option<Holder>,
        /// The limit.
        after: Duration,
    },
    /// Ctrl-C, or whatever else asked the operation to end.
    #[error("finish: interrupted")]
    Interrupted,
    /// The home cannot be used.
    #[error("use home {}: {reason}", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file or folder cannot be used.
    #[error("{op} {}", path.display())]
    Io {
        /// What was done, a verb.
        op: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program that was run ended with an error.
    #[error("run {command}: {status}")]
    Program {
        /// Its name and what it was to do.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of its output, oldest first.
        tail: Vec<String>,
    },
    /// The disk that the home lies on is full.
    #[error("write in home {}: its disk is full", home.display())]
    HomeFull {
        /// The home.
        home: PathBuf,
        /// What could not be written.
        #[source]
        source: Box<CoreError>,
    },
    /// The store failed.
    #[error("use the store")]
    Store(#[from] rusqlite::Error),
    /// The store holds something that this version cannot read.
    #[error("read {what} in the store: {reason}")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The branch's shim failed.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// Undoing a failed operation failed too.
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
}

/// Two errors: the one that ended an operation, and the one that undoing it ended with. The first
/// leads: it decides the kind, and its causes are the causes.
#[derive(Debug)]
pub struct CleanupError {
    first: Box<CoreError>,
    cleanup: Box<CoreError>,
}

impl fmt::Display for CleanupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (and then to {}", self.first, self.cleanup)?;
        let mut source = self.cleanup.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        f.write_str(")")
    }
}

impl Error for CleanupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.first.source()
    }
}

fn holders(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => format!(": {holder} holds it"),
        None => String::new(),
    }
}

/// What code decides on; texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A name that nothing has, a container that is not there.
    NotFound,
    /// A revision or a name that cannot be read.
    Usage,
    /// A name is taken, settings differ, somebody else holds it.
    Conflict,
    /// Interrupted.
    Interrupted,
    /// What a snapshot needs is gone or cannot be read.
    Damaged,
    /// The runtime cannot be reached, or a component is missing.
    Unavailable,
    /// The runtime cannot do this.
    Unsupported,
    /// The operation failed.
    Failed,
}

impl CoreError {
    /// Wraps an error in the operation that it ended.
    pub(crate) fn in_operation(self, operation: impl Into<String>) -> Self {
        Self::Operation {
            operation: operation.into(),
            source: Box::new(self),
        }
    }

    /// Adds the error of undoing to the error that made it necessary.
    pub(crate) fn and_then(self, undone: Result<()>) -> Self {
        match undone {
            Ok(()) => self,
            Err(cleanup) => Self::Cleanup(CleanupError {
                first: Box::new(self),
                cleanup: Box::new(cleanup),
            }),
        }
    }

    /// Says what is behind a failure of the store or of a file in the home where the home's disk is
    /// full.
    pub fn in_home(self, home: &Path) -> Self {
        match self {
            Self::Operation { operation, source } => source.in_home(home).in_operation(operation),
            Self::Cleanup(CleanupError { first, cleanup }) => Self::Cleanup(CleanupError {
                first: Box::new(first.in_home(home)),
                cleanup,
            }),
            error if error.is_for_space(home) => Self::HomeFull {
                home: home.to_owned(),
                source: Box::new(error),
            },
            error => error,
        }
    }

    fn is_for_space(&self, home: &Path) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Store(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => true,
                // All that it says where its shared memory has no space.
                Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen) => {
                    rustix::fs::statvfs(home)
                        .is_ok_and(|disk| disk.f_bavail * disk.f_frsize < SHARED_MEMORY)
                }
                _ => false,
            },
            Self::Io { path, source, .. } => {
                path.starts_with(home)
                    && matches!(
                        source.kind(),
                        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                    )
            }
            _ => false,
        }
    }

    /// Whether the runtime could not be connected to, which is all that is wrong.
    pub(crate) fn found_nobody(&self) -> bool {
        match self {
            Self::Operation { source, .. } => source.found_nobody(),
            Self::Runtime(error) => matches!(error, RuntimeError::Unreachable { .. }),
            _ => false,
        }
    }

    /// Whether the operation may have left something half done: undoing failed, or the runtime
    /// could not be asked any more, which may have done what its answer did not tell.
    pub(crate) fn leaves_undone(&self) -> bool {
        match self {
            Self::Operation { source, .. } => source.leaves_undone(),
            Self::Cleanup(_) => true,
            Self::Runtime(error) => matches!(
                error,
                RuntimeError::Unreachable { .. }
                    | RuntimeError::Cleanup { .. }
                    | RuntimeError::Daemon { status: None, .. }
            ),
            _ => false,
        }
    }

    /// The error that decides: the innermost below operations and clean-ups.
    pub fn root(&self) -> &Self {
        match self {
            Self::Operation { source, .. } => source.root(),
            Self::Cleanup(error) => error.first.root(),
            other => other,
        }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self.root() {
            Self::Operation { .. } | Self::Cleanup(_) => ErrorKind::Failed,
            Self::NotFound { .. } | Self::NotUp { .. } | Self::Lost { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. }
            | Self::InvalidRevision { .. }
            | Self::InvalidName { .. }
            | Self::NoImage { .. }
            | Self::InvalidSettings { .. } => ErrorKind::Usage,
            Self::SettingsDiffer { .. }
            | Self::Locked { .. }
            | Self::NameTaken { .. }
            | Self::EnvironmentExists { .. }
            | Self::MainBranch
            | Self::NoFreePort { .. }
            | Self::SnapshotInUse { .. } => ErrorKind::Conflict,
            Self::SharedMount { .. } | Self::HostNetwork => ErrorKind::Unsupported,
            Self::NotReady { .. }
            | Self::HookFailed { .. }
            | Self::Io { .. }
            | Self::Program { .. }
            | Self::Store(_) => ErrorKind::Failed,
            Self::NoBuilder { .. } => ErrorKind::Unavailable,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Home { .. } | Self::HomeFull { .. } => ErrorKind::Failed,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Runtime(error) => runtime_kind(error),
            Self::Shim(error) => shim_kind(error),
        }
    }
}

fn runtime_kind(error: &RuntimeError) -> ErrorKind {
    match error.kind() {
        RuntimeErrorKind::Unreachable
        | RuntimeErrorKind::PermissionDenied
        | RuntimeErrorKind::ProgramMissing => ErrorKind::Unavailable,
        RuntimeErrorKind::NotFound(ObjectKind::Capture) | RuntimeErrorKind::Damaged => {
            ErrorKind::Damaged
        }
        RuntimeErrorKind::NotFound(_) => ErrorKind::NotFound,
        RuntimeErrorKind::Conflict | RuntimeErrorKind::WrongState => ErrorKind::Conflict,
        RuntimeErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Failed,
    }
}

fn shim_kind(error: &ShimError) -> ErrorKind {
    match error {
        ShimError::PortInUse { .. } => ErrorKind::Conflict,
        ShimError::HelperMissing { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    }
}
