//! From an error of the system to the [`Failure`] that the command is told.

use std::io;

use crate::plan::{Failure, FailureKind};

/// What a step of the helper gives.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Says what was attempted when it fails.
pub(super) trait Attempt<T> {
    /// `what` reads after "failed to". A full storage is told as that, whatever was attempted.
    fn or_fail(self, kind: FailureKind, what: &str) -> Result<T>;

    /// The same for what only the system can refuse.
    fn or_system(self, what: &str) -> Result<T>
    where
        Self: Sized,
    {
        self.or_fail(FailureKind::System, what)
    }
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn or_fail(self, kind: FailureKind, what: &str) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            Failure {
                kind: if full { FailureKind::StorageFull } else { kind },
                message: format!("{what}: {error}"),
            }
        })
    }
}

/// A failure that no system call is behind.
pub(super) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
    }
}
