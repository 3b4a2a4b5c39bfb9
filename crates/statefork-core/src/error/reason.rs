//! What errors tell apart: what was named, why a container is not usable, how a hook failed.

use std::fmt;
use std::time::Duration;

/// What a person named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A snapshot, by a revision.
    Snapshot,
    /// An environment.
    Environment,
    /// An image.
    Image,
    /// A branch.
    Branch,
    /// A tag.
    Tag,
    /// A container.
    Container,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Environment => "environment",
            Self::Image => "image",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Container => "container",
        })
    }
}

/// Why a container did not become usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReadyReason {
    /// The check did not pass in time.
    TimedOut {
        /// What was checked.
        check: String,
        /// The limit.
        after: Duration,
    },
    /// Its first process ended.
    Exited {
        /// The exit code, where it is known.
        code: Option<i32>,
    },
    /// It was removed meanwhile.
    Removed,
}

impl fmt::Display for NotReadyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { check, after } => {
                write!(f, "{check} did not answer within {} s", after.as_secs_f64())
            }
            Self::Exited { code: Some(code) } => write!(f, "it exited with code {code}"),
            Self::Exited { code: None } => f.write_str("it exited"),
            Self::Removed => f.write_str("it was removed by somebody else"),
        }
    }
}

/// Why a hook counts as failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookFailure {
    /// It ended with this code, which is not 0.
    Exited {
        /// 128 + N for signal N.
        code: i32,
    },
    /// The container has no such program.
    NotFound,
    /// The container has it, and it cannot be executed.
    NotExecutable,
    /// It did not end in time.
    TimedOut {
        /// The limit.
        after: Duration,
    },
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "it exited with code {code}"),
            Self::NotFound => f.write_str("there is no such program"),
            Self::NotExecutable => f.write_str("it cannot be executed"),
            Self::TimedOut { after } => {
                write!(f, "it did not end within {} s", after.as_secs_f64())
            }
        }
    }
}
