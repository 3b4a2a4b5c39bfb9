//! The failure of a command, and how it is told.

use std::error::Error;
use std::io;

use serde::Serialize;
use statefork_core::CoreError;
use statefork_core::config::{ConfigError, ValueError};
use statefork_runtime::{PortParseError, RuntimeError};

use crate::hints;
use crate::kind::Kind;
use crate::style::Style;
use crate::text::printable;

/// Result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command failed. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line cannot be read.
    #[error("read the command line: {message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A value on the command line cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A port of a protocol that cannot be published.
    #[error(transparent)]
    Protocol(PortParseError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operation failed.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The runtime failed while its output was read.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The system refused something.
    #[error("{op}")]
    Io {
        /// What was done, a verb with its object.
        op: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("write to standard output")]
    Output(#[source] io::Error),
    /// Ctrl-C or a signal.
    #[error("finish: interrupted")]
    Interrupted,
}

/// A failure as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument {
    /// The error.
    error: ErrorBody,
}

/// What a failure consists of.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output: Vec<String>,
}

impl Failure {
    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// Whether the reader of standard output went away, which is no reason to complain.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The orchestrator's error that decides, if it is one of its errors.
    pub(crate) fn root(&self) -> Option<&CoreError> {
        match self {
            Self::Core(error) => Some(error.root()),
            _ => None,
        }
    }

    /// The runtime's error that decides, if it is one of its errors.
    pub(crate) fn runtime(&self) -> Option<&RuntimeError> {
        match self {
            Self::Runtime(error) => Some(error),
            _ => match self.root() {
                Some(CoreError::Runtime(error)) => Some(error),
                _ => None,
            },
        }
    }

    /// The errors beneath, outermost first; one that only repeats what was said is left out.
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut said = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !said.contains(&text) {
                causes.push(text.clone());
            }
            said = text;
            source = cause.source();
        }
        causes
    }

    /// The last lines that the application or the builder wrote.
    fn output(&self) -> &[String] {
        match (self.root(), self.runtime()) {
            (Some(CoreError::NotReady { log, .. }), _) => log,
            (Some(CoreError::HookFailed { tail, .. }), _) => tail,
            (Some(CoreError::Program { tail, .. }), _) => tail,
            (_, Some(RuntimeError::BuildFailed { tail, .. })) => tail,
            _ => &[],
        }
    }

    /// The failure for people.
    pub(crate) fn text(&self, style: Style) -> String {
        let mut text = format!(
            "{} failed to {}\n",
            style.error("error:"),
            printable(&self.to_string())
        );
        for cause in self.causes() {
            text.push_str(&format!("  caused by: {}\n", printable(&cause)));
        }
        let output = self.output();
        if !output.is_empty() {
            text.push_str("  its last output:\n");
        }
        for line in output {
            text.push_str(&format!("  | {}\n", printable(line)));
        }
        if let Some(hint) = hints::hint(self) {
            text.push_str(&format!("{} {}\n", style.hint("hint:"), printable(&hint)));
        }
        text
    }

    /// The failure with its causes on one line.
    pub(crate) fn one_line(&self) -> String {
        let causes = self.causes();
        let words = std::iter::once(format!("failed to {self}")).chain(causes);
        printable(&words.collect::<Vec<_>>().join(": ").replace('\n', " "))
    }

    /// The failure for programs.
    pub(crate) fn document(&self, exit_code: u8) -> ErrorDocument {
        ErrorDocument {
            error: self.body(exit_code),
        }
    }

    /// The same as a part of another document.
    pub(crate) fn body(&self, exit_code: u8) -> ErrorBody {
        ErrorBody {
            kind: Kind::of(self).as_str(),
            message: format!("failed to {self}"),
            causes: self.causes(),
            hint: hints::hint(self),
            exit_code,
            output: self.output().to_vec(),
        }
    }
}
