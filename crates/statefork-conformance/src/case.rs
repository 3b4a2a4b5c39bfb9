//! What a case is, and how it says that a runtime breaks the contract.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use futures_util::future::BoxFuture;
use statefork_runtime::{Capabilities, ErrorKind, Result, RuntimeError, Support};

use crate::fixture::Fixture;

/// The outcome of a case.
pub(crate) type Outcome<T = ()> = std::result::Result<T, Failure>;

/// One promise of the contract, and how it is tried.
pub struct Case {
    /// Which part of the contract it belongs to.
    pub group: Group,
    /// What must hold, as one word of words.
    pub name: &'static str,
    /// What the runtime must be able to do for it.
    pub needs: &'static [Need],
    pub(crate) run: for<'a> fn(&'a Fixture) -> BoxFuture<'a, Outcome>,
}

/// A part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Starting, stopping, pausing and removing.
    Lifecycle,
    /// Settings of a container.
    Spec,
    /// Looking up, importing, building, preparing and removing images.
    Images,
    /// Capturing and launching.
    Capture,
    /// Bind mounts, volumes and what differs from the image.
    Mounts,
    /// What containers do not share.
    Isolation,
    /// Copying files out and in.
    Copy,
    /// Telling the settings of a container that somebody made.
    Adopt,
    /// Running a further command.
    Exec,
    /// Reading the output.
    Logs,
    /// Finding what is ours, and leaving nothing behind.
    Cleanup,
    /// Kinds of errors.
    Errors,
    /// Several calls at once, and calls that are dropped.
    Concurrency,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifecycle => "lifecycle",
            Self::Spec => "spec",
            Self::Images => "images",
            Self::Capture => "capture",
            Self::Mounts => "mounts",
            Self::Isolation => "isolation",
            Self::Copy => "copy",
            Self::Adopt => "adopt",
            Self::Exec => "exec",
            Self::Logs => "logs",
            Self::Cleanup => "cleanup",
            Self::Errors => "errors",
            Self::Concurrency => "concurrency",
        })
    }
}

/// What a case needs besides what every runtime can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// [`Capabilities::pause`].
    Pause,
    /// [`Capabilities::limits`].
    Limits,
    /// [`Capabilities::build`].
    Build,
    /// [`Capabilities::reachable`].
    Reachable,
    /// [`Capabilities::publish`].
    Publish,
    /// [`Capabilities::programs`].
    Programs,
    /// [`Capabilities::init`].
    Init,
    /// A daemon at a socket that the enrolment's `open` connects to.
    Daemon,
}

impl Need {
    /// Why a runtime with these capabilities does not have it; `None` if it has.
    pub fn missing(self, capabilities: &Capabilities, daemon: bool) -> Option<String> {
        let support = match self {
            Self::Pause => &capabilities.pause,
            Self::Limits => &capabilities.limits,
            Self::Build => &capabilities.build,
            Self::Reachable => &capabilities.reachable,
            Self::Publish => &capabilities.publish,
            Self::Programs => &capabilities.programs,
            Self::Init => &capabilities.init,
            Self::Daemon if daemon => &Support::Yes,
            Self::Daemon => return Some("needs daemon: there is none".into()),
        };
        match support {
            Support::Yes => None,
            // One line: it becomes part of a line of the listing.
            Support::No { reason, .. } => {
                Some(format!("needs {self}: {reason}").replace(['\n', '\r'], " "))
            }
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Limits => "limits",
            Self::Build => "build",
            Self::Reachable => "reachable",
            Self::Publish => "publish",
            Self::Programs => "programs",
            Self::Init => "init",
            Self::Daemon => "daemon",
        })
    }
}

/// How a runtime broke the contract: what was seen, and where in the case.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    at: &'static Location<'static>,
}

impl Failure {
    #[track_caller]
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            at: Location::caller(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.at.file(), self.at.line(), self.text)
    }
}

impl From<RuntimeError> for Failure {
    #[track_caller]
    fn from(error: RuntimeError) -> Self {
        Self::new(chain(&error))
    }
}

impl From<std::io::Error> for Failure {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    #[track_caller]
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// An error with its sources and its kind.
pub(crate) fn chain(error: &RuntimeError) -> String {
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    format!("{text} [{:?}]", error.kind())
}

/// A call that must fail with one of `kinds`.
#[track_caller]
pub(crate) fn fails_with<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Outcome {
    match result {
        Err(error) if kinds.contains(&error.kind()) => Ok(()),
        Err(error) => Err(Failure::new(format!(
            "{what}: {}, not {kinds:?}",
            chain(&error)
        ))),
        Ok(_) => Err(Failure::new(format!("{what}: success, not {kinds:?}"))),
    }
}

/// Ends the case unless the condition holds; the text says what was seen instead.
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::case::Failure::new(format!($($text)+)));
        }
    };
}

/// Ends the case unless what was seen equals what was promised.
macro_rules! check_eq {
    ($seen:expr, $promised:expr, $($text:tt)+) => {
        match (&$seen, &$promised) {
            (seen, promised) if *seen == *promised => {}
            (seen, promised) => {
                return Err($crate::case::Failure::new(format!(
                    "{}: {seen:?}, not {promised:?}",
                    format_args!($($text)+)
                )));
            }
        }
    };
}

/// The cases of a group: the names of async functions over a fixture, each with its needs.
macro_rules! cases {
    ($group:ident: $($name:ident $([$($need:ident),+])?,)+) => {
        &[$($crate::case::Case {
            group: $crate::case::Group::$group,
            name: stringify!($name),
            needs: &[$($($crate::case::Need::$need),+)?],
            run: |fixture| Box::pin($name(fixture)),
        }),+]
    };
}

pub(crate) use {cases, check, check_eq};
