//! What can go wrong between a command and a shim.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::Failure;

/// Result of the client's methods.
pub type Result<T, E = ShimError> = std::result::Result<T, E>;

/// The error of the client. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The helper program is not where it was said to be, or cannot be executed.
    #[error("run the helper program {}", path.display())]
    HelperMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The helper ran and no shim came of it.
    #[error("start the shim of {}: {reason}", dir.display())]
    StartFailed {
        /// The shim's directory.
        dir: PathBuf,
        /// What the helper said.
        reason: String,
    },
    /// Another socket listens on a port that was asked for.
    #[error("listen on {address}: the port is in use")]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The user may not listen on a port that was asked for.
    #[error("listen on {address}: permission denied")]
    PortDenied {
        /// Where.
        address: SocketAddr,
    },
    /// The host has no such address.
    #[error("listen on {address}: this host has no such address")]
    AddressNotAvailable {
        /// Where.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The shim speaks another version of the protocol. An older one is replaced by
    /// [`Shim::ensure`](crate::Shim::ensure); each can be shut down.
    #[error("use the shim of {}: it was started by StateFork {build} and speaks another protocol", dir.display())]
    Version {
        /// The shim's directory.
        dir: PathBuf,
        /// Version of the shim's program.
        build: String,
    },
    /// The shim said something that the protocol does not allow, or refused what we said.
    #[error("talk to the shim of {}: {reason}", dir.display())]
    Protocol {
        /// The shim's directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refused something, or the shim ended in between.
    #[error("{op} {}", path.display())]
    Io {
        /// What was tried, a verb with its preposition.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The shim did not do it in time.
    #[error("{op} the shim of {} within {} s", dir.display(), after.as_secs_f64())]
    TimedOut {
        /// What was asked, a verb.
        op: &'static str,
        /// The shim's directory.
        dir: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
}

/// What code decides on; texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShimErrorKind {
    /// [`ShimError::HelperMissing`].
    HelperMissing,
    /// [`ShimError::StartFailed`].
    StartFailed,
    /// [`ShimError::PortInUse`].
    PortInUse,
    /// [`ShimError::PortDenied`].
    PortDenied,
    /// [`ShimError::AddressNotAvailable`].
    AddressNotAvailable,
    /// [`ShimError::Listen`].
    Listen,
    /// [`ShimError::Version`].
    Version,
    /// [`ShimError::Protocol`].
    Protocol,
    /// [`ShimError::Io`].
    Io,
    /// [`ShimError::TimedOut`].
    TimedOut,
}

impl ShimError {
    /// What kind of error it is.
    pub fn kind(&self) -> ShimErrorKind {
        match self {
            Self::HelperMissing { .. } => ShimErrorKind::HelperMissing,
            Self::StartFailed { .. } => ShimErrorKind::StartFailed,
            Self::PortInUse { .. } => ShimErrorKind::PortInUse,
            Self::PortDenied { .. } => ShimErrorKind::PortDenied,
            Self::AddressNotAvailable { .. } => ShimErrorKind::AddressNotAvailable,
            Self::Listen { .. } => ShimErrorKind::Listen,
            Self::Version { .. } => ShimErrorKind::Version,
            Self::Protocol { .. } => ShimErrorKind::Protocol,
            Self::Io { .. } => ShimErrorKind::Io,
            Self::TimedOut { .. } => ShimErrorKind::TimedOut,
        }
    }

    /// The error for a failure that the shim of `dir` reported.
    pub(crate) fn from_failure(failure: Failure, dir: PathBuf) -> Self {
        match failure {
            Failure::PortInUse { address } => Self::PortInUse { address },
            Failure::PortDenied { address } => Self::PortDenied { address },
            Failure::AddressNotAvailable { address } => Self::AddressNotAvailable { address },
            Failure::Listen { address, errno } => Self::Listen {
                address,
                source: errno
                    .map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error),
            },
            Failure::Refused { reason } => Self::Protocol { dir, reason },
        }
    }
}
