//! What a tried thing says: it worked, it does not work here, or the runtime is not there at all.

use std::error::Error;

use crate::{ContainerState, ErrorKind, Result, RuntimeError, Support};

/// Why a tried thing did not work.
pub(super) enum Failure {
    /// The runtime's error.
    Runtime(RuntimeError),
    /// It was done without an error and had another effect.
    Other(String),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

/// The outcome of a tried thing.
pub(super) type Outcome = std::result::Result<(), Failure>;

/// The answer that an outcome gives; an error where nothing was found out, since the runtime is
/// not there.
pub(super) fn support(outcome: Outcome) -> Result<Support> {
    Ok(match outcome {
        Ok(()) => Support::Yes,
        Err(Failure::Other(reason)) => Support::no(reason),
        Err(Failure::Runtime(error)) => {
            let mend = match &error {
                RuntimeError::ProgramMissing { package, .. } => {
                    Some(format!("apt-get install {package}"))
                }
                _ => None,
            };
            Support::No {
                reason: reason(error)?,
                mend,
            }
        }
    })
}

/// Compares a container's state with what it should be; `what` names the container.
pub(super) fn expect(what: &str, state: ContainerState, wanted: ContainerState) -> Outcome {
    if state == wanted {
        Ok(())
    } else {
        Err(Failure::Other(format!("{what} is {state}, not {wanted}")))
    }
}

/// The text of an error with its sources; the error itself where the runtime is not there.
pub(super) fn reason(error: RuntimeError) -> Result<String> {
    if matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::PermissionDenied
    ) {
        return Err(error);
    }
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Ok(text)
}
