//! What can go wrong in a runtime.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::ContainerState;

/// Result of a contract method.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// The error of the library beneath, kept as the source.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// What a capture needs in the runtime.
    Capture,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Capture => "capture",
        })
    }
}

/// The error of every contract method. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody answers at the endpoint.
    #[error("reach {runtime} at {endpoint}")]
    Unreachable {
        /// The runtime's name.
        runtime: &'static str,
        /// Where it was looked for.
        endpoint: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The endpoint is there and we may not use it.
    #[error("open {endpoint}: permission denied")]
    PermissionDenied {
        /// The runtime's name.
        runtime: &'static str,
        /// The socket.
        endpoint: String,
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// The object does not exist.
    #[error("find {object} {name}")]
    NotFound {
        /// What was looked for.
        object: ObjectKind,
        /// Its id or name.
        name: String,
    },
    /// The name is taken, or the object is in use.
    #[error("use {object} {name}: {reason}")]
    Conflict {
        /// What is in the way.
        object: ObjectKind,
        /// Its id or name.
        name: String,
        /// By what or whom.
        reason: String,
    },
    /// The container's state does not allow the operation.
    #[error("{op} container {container}, which is {state}")]
    WrongState {
        /// What was asked, a verb.
        op: &'static str,
        /// The container.
        container: String,
        /// Its state.
        state: ContainerState,
    },
    /// The runtime cannot do this here.
    #[error("{op}: {reason}")]
    Unsupported {
        /// What was asked, a verb with its object.
        op: &'static str,
        /// Why not, in words that a person can act on.
        reason: String,
    },
    /// The runtime refuses a setting.
    #[error("use {what}: {reason}")]
    Invalid {
        /// The setting, with its value.
        what: String,
        /// Why it is refused.
        reason: String,
    },
    /// A program that the runtime needs for a setting is not installed.
    #[error("{op}: {runtime} needs the program {program}, which is not installed")]
    ProgramMissing {
        /// What was asked.
        op: &'static str,
        /// The runtime's name.
        runtime: &'static str,
        /// The program.
        program: &'static str,
        /// The package of Debian and its descendants that has it.
        package: &'static str,
    },
    /// The container was made, its process could not be started; the container was removed.
    #[error("start {command}: {reason}")]
    StartFailed {
        /// The command as far as known.
        command: String,
        /// What the OCI runtime said.
        reason: String,
    },
    /// A build ended with an error.
    #[error("build the image: {reason}")]
    BuildFailed {
        /// The builder's own error.
        reason: String,
        /// The last lines of its output, oldest first.
        tail: Vec<String>,
    },
    /// The runtime's storage is full.
    #[error("{op}: no space left in the storage of {runtime}")]
    StorageFull {
        /// What was asked.
        op: &'static str,
        /// The runtime's name.
        runtime: &'static str,
    },
    /// No answer in time.
    #[error("{op} within {} s", after.as_secs_f64())]
    TimedOut {
        /// What was asked.
        op: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// Stored data cannot be read: made by another version, or damaged.
    #[error("read {what}: {reason}")]
    Damaged {
        /// Which data.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The daemon refused or failed in a way that no other variant names.
    #[error("{op}: {message}")]
    Daemon {
        /// What was asked.
        op: &'static str,
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// The daemon's message, or the transport's.
        message: String,
        /// The client library's error, where there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// Removing what a failed call had made failed too: both errors, the first one leading.
    #[error("{first}; what it had made could not be removed: {cleanup}")]
    Cleanup {
        /// The error that came first, and decides the kind.
        #[source]
        first: Box<RuntimeError>,
        /// The failure of the clean-up.
        cleanup: Box<RuntimeError>,
    },
}

/// What code decides on; texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`RuntimeError::Unreachable`].
    Unreachable,
    /// [`RuntimeError::PermissionDenied`].
    PermissionDenied,
    /// [`RuntimeError::NotFound`].
    NotFound(ObjectKind),
    /// [`RuntimeError::Conflict`].
    Conflict,
    /// [`RuntimeError::WrongState`].
    WrongState,
    /// [`RuntimeError::Unsupported`].
    Unsupported,
    /// [`RuntimeError::Invalid`].
    Invalid,
    /// [`RuntimeError::ProgramMissing`].
    ProgramMissing,
    /// [`RuntimeError::StartFailed`].
    StartFailed,
    /// [`RuntimeError::BuildFailed`].
    BuildFailed,
    /// [`RuntimeError::StorageFull`].
    StorageFull,
    /// [`RuntimeError::TimedOut`].
    TimedOut,
    /// [`RuntimeError::Damaged`].
    Damaged,
    /// [`RuntimeError::Daemon`].
    Daemon,
}

impl RuntimeError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Self::NotFound { object, .. } => ErrorKind::NotFound(*object),
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::WrongState { .. } => ErrorKind::WrongState,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::ProgramMissing { .. } => ErrorKind::ProgramMissing,
            Self::StartFailed { .. } => ErrorKind::StartFailed,
            Self::BuildFailed { .. } => ErrorKind::BuildFailed,
            Self::StorageFull { .. } => ErrorKind::StorageFull,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Daemon { .. } => ErrorKind::Daemon,
            Self::Cleanup { first, .. } => first.kind(),
        }
    }

    /// Adds the error of removing what the failed call had made, if that failed too.
    pub fn and_then(self, undone: crate::Result<()>) -> Self {
        match undone {
            Ok(()) => self,
            Err(cleanup) => Self::Cleanup {
                first: Box::new(self),
                cleanup: Box::new(cleanup),
            },
        }
    }

    /// Whether the same call may succeed a moment later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Daemon { status, .. } => matches!(status, Some(429 | 502 | 503 | 504)),
            Self::Cleanup { first, .. } => first.is_transient(),
            _ => false,
        }
    }
}
