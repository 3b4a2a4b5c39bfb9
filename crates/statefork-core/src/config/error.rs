//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::Problem;

/// The error of everything here. Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not safe to follow, or no file of text.
    #[error("use {}: {refusal}", path.display())]
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
    /// The working directory, which relative paths begin at, cannot be found.
    #[error("find the working directory")]
    WorkingDirectory {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What code decides on; texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The file does not exist.
    Missing,
    /// The file, or the working directory, cannot be read.
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
            Self::Read { .. } | Self::WorkingDirectory { .. } => ConfigErrorKind::Unreadable,
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
