//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The error of everything here. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not safe to follow, or no file of text.
    #[error("use configuration {}: {refusal}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: FileRefusal,
    },
    /// What the file says is wrong.
    #[error("read {}:{line}:{column}: {problem}", path.display())]
    Content {
        /// The file as it was named.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1, in characters.
        column: u64,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// An environment variable of the caller is wrong.
    #[error("use {variable}: {problem}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// A flag is wrong.
    #[error("use {flag}: {problem}")]
    Flag {
        /// As it is written, with its dashes.
        flag: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// No home was given and there is no place for the default one.
    #[error(
        "find a home: neither XDG_DATA_HOME nor HOME is set to an absolute path; \
         give --home or STATEFORK_HOME"
    )]
    NoHome,
}

/// What code decides on; texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The file does not exist.
    Missing,
    /// The file cannot be read.
    Unreadable,
    /// Others could have written the file.
    Unsafe,
    /// It is no file of text: a folder, too large, not UTF-8.
    NotText,
    /// It is no YAML, or goes beyond the limits on it.
    Syntax,
    /// A key that does not exist.
    UnknownKey,
    /// A runtime that does not exist.
    UnknownRuntime,
    /// Any other wrong value, type or combination.
    Value,
    /// There is no place for the home.
    NoHome,
}

impl ConfigError {
    /// What kind of error it is.
    pub fn kind(&self) -> ConfigErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ConfigErrorKind::Missing
            }
            Self::Read { .. } => ConfigErrorKind::Unreadable,
            Self::Refused { refusal, .. } => match refusal {
                FileRefusal::Owner { .. } | FileRefusal::Writable { .. } => ConfigErrorKind::Unsafe,
                FileRefusal::NoFile
                | FileRefusal::TooLarge { .. }
                | FileRefusal::NotUtf8 { .. } => ConfigErrorKind::NotText,
            },
            Self::Content { problem, .. }
            | Self::Environment { problem, .. }
            | Self::Flag { problem, .. } => problem.kind(),
            Self::NoHome => ConfigErrorKind::NoHome,
        }
    }
}

/// Why a file is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileRefusal {
    /// It belongs to a stranger.
    #[error("its owner is user {owner}, neither you nor root; `chown {uid} {path}` mends it")]
    Owner {
        /// Who owns it.
        owner: u32,
        /// The caller.
        uid: u32,
        /// The file, as a shell takes it.
        path: String,
    },
    /// Others can write it.
    #[error("others can write it (mode {mode:04o}); `chmod go-w {path}` mends it")]
    Writable {
        /// Its permission bits.
        mode: u32,
        /// The file, as a shell takes it.
        path: String,
    },
    /// A folder, device or pipe.
    #[error("not a regular file")]
    NoFile,
    /// Larger than any configuration.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("not UTF-8 text at line {line}")]
    NotUtf8 {
        /// The line of the first wrong byte, from 1.
        line: u64,
    },
}

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
    #[error("unknown key \"{}\"{}", key.escape_debug(), suggestion(nearest.as_deref(), known))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// The valid key that looks most like it.
        nearest: Option<&'static str>,
        /// All that are valid there.
        known: &'static [&'static str],
    },
    /// A key that is given twice.
    #[error("key \"{}\" is given twice, first in line {first}", key.escape_debug())]
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
    #[error("{key} has {value} twice")]
    Repeated {
        /// The list's key, dotted.
        key: String,
        /// What is there twice.
        value: String,
    },
    /// A value that cannot be.
    #[error("{key} {text}: {reason}", text = value.quoted(), reason = value.reason())]
    Value {
        /// The key, dotted.
        key: String,
        /// What is wrong with it.
        value: ValueError,
    },
    /// A runtime that does not exist.
    #[error("unknown runtime \"{}\"; known: {}", name.escape_debug(), known.join(", "))]
    UnknownRuntime {
        /// The name.
        name: String,
        /// All there are.
        known: Vec<&'static str>,
    },
}

impl Problem {
    fn kind(&self) -> ConfigErrorKind {
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
    pub(crate) fn new(kind: ValueKind, text: &str, reason: impl Into<String>) -> Self {
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

    fn quoted(&self) -> String {
        const SHOWN: usize = 120;
        let mut text: String = self.text.chars().take(SHOWN).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        format!("\"{}\"", text.escape_debug())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {} {}: {}", self.kind, self.quoted(), self.reason)
    }
}

impl std::error::Error for ValueError {}
