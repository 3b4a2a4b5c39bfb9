//! From what the client library says to the contract's errors.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bollard::errors::Error;
use statefork_runtime::{BoxError, RuntimeError};

use crate::{NAME, message};

/// A call that failed. What its status means depends on the call, so that the caller looks at
/// [`Failure::status`] first and leaves the rest to the conversion.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) op: &'static str,
    pub(crate) endpoint: String,
    pub(crate) cause: Cause,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The library's error, the daemon's answer included.
    Api(Error),
    /// The socket cannot be looked at or connected to.
    Socket(io::Error),
    /// A connection broke.
    Connection(io::Error),
    /// No answer in this time.
    TimedOut(Duration),
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl Failure {
    /// The HTTP status of the daemon's answer, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match &self.cause {
            Cause::Api(Error::DockerResponseServerError { status_code, .. }) => Some(*status_code),
            _ => None,
        }
    }

    /// What the daemon said, in an answer or amid a stream; `None` if it said nothing.
    pub(crate) fn said(&self) -> Option<&str> {
        match &self.cause {
            Cause::Api(Error::DockerResponseServerError { message, .. }) => Some(message),
            Cause::Api(Error::DockerStreamError { error }) => Some(error),
            _ => None,
        }
    }

    /// Whether the daemon answered with a refusal, whatever it is, other than for lack of space.
    pub(crate) fn is_refusal(&self) -> bool {
        self.said()
            .is_some_and(|said| !message::is_storage_full(said))
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        let Failure {
            op,
            endpoint,
            cause,
        } = failure;
        let error = match cause {
            Cause::TimedOut(after) => return Self::TimedOut { op, after },
            Cause::Socket(error) => return not_there(endpoint, error.kind(), Box::new(error)),
            Cause::Connection(error) => {
                return Self::Daemon {
                    op,
                    status: None,
                    message: "the connection broke".to_owned(),
                    source: Some(Box::new(error)),
                };
            }
            Cause::Api(error) => error,
        };
        let (status, message) = match &error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => (Some(*status_code), message.clone()),
            Error::DockerStreamError { error } => (None, error.clone()),
            other => match connect_error(other) {
                Some(kind) => return not_there(endpoint, kind, Box::new(error)),
                // Its own text would repeat that of its causes.
                None if other.source().is_some() => (None, "no whole answer came".to_owned()),
                None => (None, other.to_string()),
            },
        };
        if message::is_storage_full(&message) {
            return Self::StorageFull { op, runtime: NAME };
        }
        Self::Daemon {
            op,
            status,
            // The message is all of an answer's error; only a transport's has causes.
            source: error
                .source()
                .is_some()
                .then(|| Box::new(error) as BoxError),
            message,
        }
    }
}

/// The system's error if no connection could be made.
fn connect_error(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::HyperLegacyError { err } if err.is_connect() => {}
        Error::SocketNotFoundError(_) => return Some(ErrorKind::NotFound),
        _ => return None,
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = cause.source();
    }
    Some(ErrorKind::Other)
}

fn not_there(endpoint: String, kind: ErrorKind, source: BoxError) -> RuntimeError {
    if kind == ErrorKind::PermissionDenied {
        RuntimeError::PermissionDenied {
            runtime: NAME,
            endpoint,
            source,
        }
    } else {
        RuntimeError::Unreachable {
            runtime: NAME,
            endpoint,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statefork_runtime::ErrorKind as Kind;

    fn error(cause: Cause) -> RuntimeError {
        let failure = Failure {
            op: "create the container",
            endpoint: "unix:///var/run/docker.sock".into(),
            cause,
        };
        failure.into()
    }

    fn answer(status_code: u16, message: &str) -> Cause {
        Cause::Api(Error::DockerResponseServerError {
            status_code,
            message: message.into(),
        })
    }

    #[test]
    fn a_full_storage_is_told_from_other_failures() {
        let full = "mkdir /var/lib/docker/overlay2/0a: no space left on device";
        assert_eq!(error(answer(500, full)).kind(), Kind::StorageFull);
        let amid = Cause::Api(Error::DockerStreamError { error: full.into() });
        assert_eq!(error(amid).kind(), Kind::StorageFull);
        let other = error(answer(500, "layer does not exist"));
        assert_eq!(other.kind(), Kind::Daemon);
        assert_eq!(
            other.to_string(),
            "create the container: layer does not exist"
        );
        assert!(other.source().is_none());
        assert!(error(answer(503, "starting")).is_transient());
    }

    #[test]
    fn a_socket_says_why_it_cannot_be_used() {
        let refused = |kind: ErrorKind| error(Cause::Socket(kind.into())).kind();
        assert_eq!(refused(ErrorKind::PermissionDenied), Kind::PermissionDenied);
        assert_eq!(refused(ErrorKind::ConnectionRefused), Kind::Unreachable);
        assert_eq!(refused(ErrorKind::NotFound), Kind::Unreachable);
        let silent = error(Cause::TimedOut(Duration::from_secs(2)));
        assert_eq!(silent.to_string(), "create the container within 2 s");
    }
}
