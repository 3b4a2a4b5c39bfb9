//! What can be wrong with what a configuration says.

use super::value::quoted;
use super::{ConfigErrorKind, ValueError};

/// What is wrong with the content of a file, a variable or a flag.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No YAML, or beyond the limits.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key {}{}", quoted(key), suggestion(*nearest, known))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// The valid key that looks most like it.
        nearest: Option<&'static str>,
        /// All that are valid there.
        known: &'static [&'static str],
    },
    /// A key that is given twice.
    #[error("key {} is given twice, first in line {first}", quoted(key))]
    DuplicateKey {
        /// The key, dotted.
        key: String,
        /// Line of the first.
        first: u64,
    },
    /// Another type is needed.
    #[error("{key} needs {expected}, not {found}")]
    WrongType {
        /// The key, dotted.
        key: String,
        /// What is needed, with its article.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A key without which its section means nothing.
    #[error("{section} needs {missing}")]
    Missing {
        /// The section's key, dotted.
        section: String,
        /// What it needs, in words.
        missing: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("{key} and {other} exclude each other")]
    Exclusive {
        /// The key that came second.
        key: String,
        /// The key that came first.
        other: String,
    },
    /// The same thing for the second time in a list.
    #[error("{key} has {} twice", quoted(value))]
    Repeated {
        /// The list's key, dotted.
        key: String,
        /// What is there twice.
        value: String,
    },
    /// A value that cannot be.
    #[error("{key} {}: {}", quoted(value.text()), value.reason())]
    Value {
        /// The key, dotted.
        key: String,
        /// What is wrong with it.
        value: ValueError,
    },
    /// A runtime that does not exist.
    #[error("unknown runtime {}; known: {}", quoted(name), known.join(", "))]
    UnknownRuntime {
        /// The name.
        name: String,
        /// All there are.
        known: &'static [&'static str],
    },
}

impl Problem {
    pub(super) fn kind(&self) -> ConfigErrorKind {
        match self {
            Self::Syntax { .. } => ConfigErrorKind::Syntax,
            Self::UnknownKey { .. } => ConfigErrorKind::UnknownKey,
            Self::UnknownRuntime { .. } => ConfigErrorKind::UnknownRuntime,
            Self::DuplicateKey { .. }
            | Self::WrongType { .. }
            | Self::Missing { .. }
            | Self::Exclusive { .. }
            | Self::Repeated { .. }
            | Self::Value { .. } => ConfigErrorKind::Value,
        }
    }
}

fn suggestion(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!(", did you mean \"{nearest}\"?"),
        None => format!("; valid here: {}", known.join(", ")),
    }
}
