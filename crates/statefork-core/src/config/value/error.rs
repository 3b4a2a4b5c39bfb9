//! What is wrong with a single value.

use std::fmt;

/// What a text was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueKind {
    /// A number of bytes.
    Size,
    /// A time.
    Duration,
    /// A mount.
    Mount,
    /// An environment variable.
    EnvVar,
    /// A network.
    Network,
    /// A number of processors.
    Cpus,
    /// A user.
    User,
    /// A working directory.
    Workdir,
    /// A host name.
    Hostname,
    /// A port or port mapping.
    Port,
    /// The name of an environment, branch or tag.
    Name,
    /// A command.
    Command,
    /// A path.
    Path,
    /// An image's name.
    Image,
    /// A text to look for in the output.
    LogText,
    /// A readiness check.
    Check,
    /// A security option.
    SecurityOption,
    /// What containers are prepared from.
    Standby,
    /// A choice of machine id.
    MachineId,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Mount => "mount",
            Self::EnvVar => "environment variable",
            Self::Network => "network",
            Self::Cpus => "number of processors",
            Self::User => "user",
            Self::Workdir => "working directory",
            Self::Hostname => "host name",
            Self::Port => "port",
            Self::Name => "name",
            Self::Command => "command",
            Self::Path => "path",
            Self::Image => "image",
            Self::LogText => "log text",
            Self::Check => "readiness check",
            Self::SecurityOption => "security option",
            Self::Standby => "standby",
            Self::MachineId => "machine id",
        })
    }
}

/// A text that cannot be read as a value. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    kind: ValueKind,
    /// Never the value of an environment variable.
    text: String,
    reason: String,
}

impl ValueError {
    /// A variable that is to be taken from the caller, who has not set it.
    pub(in crate::config) fn not_set(name: &str) -> Self {
        Self::new(
            ValueKind::EnvVar,
            name,
            "not set in your environment (NAME=VALUE gives it a value)",
        )
    }

    pub(in crate::config) fn new(kind: ValueKind, text: &str, reason: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.to_owned(),
            reason: reason.into(),
        }
    }

    /// What it was read as.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Which form is needed, or why the value cannot be.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The text, without the value of an environment variable.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read {} {}: {}",
            self.kind,
            quoted(&self.text),
            self.reason
        )
    }
}

impl std::error::Error for ValueError {}

/// A text of the user in quotes, escaped and not longer than a line.
pub(in crate::config) fn quoted(text: &str) -> String {
    const SHOWN: usize = 120;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", shown.escape_debug())
}
