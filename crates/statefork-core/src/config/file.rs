//! Reading a file of text that decides what we do.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use statefork_runtime::EnvVar;

use super::value::{EnvFileFault, read_env_lines};
use super::{ConfigError, FileRefusal, Problem, Variables};

/// Larger than any configuration.
const LARGEST: u64 = 1 << 20;

/// Reads a regular file of UTF-8 text, at most 1 MiB. `shown` is its name in errors.
pub(super) fn read_text(path: &Path, shown: &Path) -> Result<String, ConfigError> {
    read_opened(&open(path, shown)?, shown)
}

/// Reads a file as [`read_text`] does, if nobody but the caller and root can have written it.
pub(super) fn read_trusted_text(
    path: &Path,
    shown: &Path,
    uid: u32,
) -> Result<String, ConfigError> {
    let file = open(path, shown)?;
    let metadata = file
        .metadata()
        .map_err(|source| unreadable(shown, source))?;
    let refuse = |refusal| {
        Err(ConfigError::Refused {
            path: shown.to_owned(),
            refusal,
        })
    };
    let quoted = || shell_words::quote(&shown.to_string_lossy()).into_owned();
    if metadata.uid() != uid && metadata.uid() != 0 {
        return refuse(FileRefusal::Owner {
            owner: metadata.uid(),
            uid,
            path: quoted(),
        });
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(FileRefusal::Writable {
            mode: metadata.mode() & 0o7777,
            path: quoted(),
        });
    }
    read_opened(&file, shown)
}

/// Reads the environment variables of a file, as `docker run --env-file` does: a line holds
/// `NAME=VALUE`, or `NAME` alone for the caller's value; empty lines and those that begin with `#`
/// count for nothing.
pub fn parse_env_file(path: &Path, caller: &Variables) -> Result<Vec<EnvVar>, ConfigError> {
    let text = read_text(path, path)?;
    let variables = read_env_lines(&text, caller).map_err(|fault| fault.located(path))?;
    Ok(variables
        .into_iter()
        .map(|(_, variable)| variable)
        .collect())
}

impl EnvFileFault {
    /// The error of the file at `path`.
    pub(super) fn located(self, path: &Path) -> ConfigError {
        ConfigError::Content {
            path: path.to_owned(),
            line: self.line,
            column: 1,
            problem: Box::new(Problem::Value {
                key: "environment variable".to_owned(),
                value: self.error,
            }),
        }
    }
}

/// Opens a regular file; what it is is asked of the descriptor, so that it cannot change between.
fn open(path: &Path, shown: &Path) -> Result<File, ConfigError> {
    // Without NONBLOCK a pipe would hold us here until somebody writes.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| unreadable(shown, error.into()))?
        .into();
    let metadata = file
        .metadata()
        .map_err(|source| unreadable(shown, source))?;
    if !metadata.is_file() {
        return Err(ConfigError::Refused {
            path: shown.to_owned(),
            refusal: FileRefusal::NoFile,
        });
    }
    Ok(file)
}

fn read_opened(file: &File, shown: &Path) -> Result<String, ConfigError> {
    let refuse = |refusal| {
        Err(ConfigError::Refused {
            path: shown.to_owned(),
            refusal,
        })
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(shown, source))?;
    if bytes.len() as u64 > LARGEST {
        return refuse(FileRefusal::TooLarge { limit: LARGEST });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count() as u64;
            refuse(FileRefusal::NotUtf8 { line })
        }
    }
}

fn unreadable(shown: &Path, source: io::Error) -> ConfigError {
    ConfigError::Read {
        path: shown.to_owned(),
        source,
    }
}
