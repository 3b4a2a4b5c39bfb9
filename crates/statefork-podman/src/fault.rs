//! What went wrong with a request, before it is known what it means.

use std::error::Error;
use std::io;
use std::time::Duration;

use statefork_runtime::BoxError;

use crate::cause::{self, Cause};

/// The failure of a request, whichever client made it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The socket could not be connected to.
    Connect(io::Error),
    /// The service answered with an error.
    Refused {
        /// HTTP status.
        status: u16,
        /// Its message, without the repeated cause.
        message: String,
        /// Why.
        cause: Cause,
    },
    /// The connection or the answer broke.
    Broken(BoxError),
    /// No answer in time.
    Late(Duration),
}

impl Fault {
    /// From the parts of the service's answer; `cause` may be empty.
    pub(crate) fn refused(status: u16, message: &str, cause: &str) -> Self {
        Self::Refused {
            status,
            message: message.trim().to_owned(),
            cause: Cause::of(message, cause),
        }
    }

    /// From an error of the connection or of reading the answer.
    pub(crate) fn broken(error: impl Into<BoxError>) -> Self {
        Self::Broken(error.into())
    }

    /// Why the service refused; `Other` for every other failure.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Refused { cause, .. } => *cause,
            _ => Cause::Other,
        }
    }

    /// What the service said, or what broke.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            Self::Connect(error) => error.to_string(),
            Self::Broken(error) => chain(&**error),
            Self::Late(after) => format!("no answer within {} s", after.as_secs_f64()),
        }
    }
}

impl From<podman_api::Error> for Fault {
    fn from(error: podman_api::Error) -> Self {
        match error {
            podman_api::Error::Fault { code, message } => {
                let (message, cause) = cause::split(&message);
                Self::refused(code.as_u16(), message, cause)
            }
            error => match connect_error(&error) {
                Some(error) => Self::Connect(error),
                None => Self::broken(error),
            },
        }
    }
}

/// The system's error, if the socket could not be connected to.
fn connect_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::PermissionDenied
            )
        {
            return Some(io::Error::new(error.kind(), error.to_string()));
        }
        next = error.source();
    }
    None
}

/// An error with its sources, as one text.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}
