//! The configuration: one YAML file, a few environment variables and flags, and where each value
//! came from.
//!
//! [`Config::load`] reads all of it. The file becomes a tree of nodes that know their line and
//! column ([`node`]), a reader that knows the valid keys of each level walks the tree ([`read`]),
//! and the texts of single values are read by the functions that also read the command line's
//! flags ([`parse_size`] and its siblings).

mod application;
mod error;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use statefork_runtime::RuntimeOptions;

pub use application::{Application, Build, Check, Readiness};
pub use error::{ConfigError, ConfigErrorKind, FileRefusal, Problem, ValueError, ValueKind};

/// The environment's name where none is given.
pub const DEFAULT_ENVIRONMENT: &str = "default";
/// The runtime where none is given.
pub const DEFAULT_RUNTIME: &str = "docker";

/// The configuration of one call: plain values, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The state directory, absolute.
    pub home: PathBuf,
    /// The environment's name.
    pub environment: String,
    /// The runtime's name, one of the known ones.
    pub runtime: String,
    /// What `up` starts.
    pub application: Application,
    /// When the application counts as ready; `None`: a TCP connection to the first container
    /// port, and without ports at once (see [`Readiness::or_default`]).
    pub readiness: Option<Readiness>,
    /// How long a polite stop waits before it kills.
    pub stop_timeout: Duration,
    /// How long a command waits for another one's lock.
    pub lock_timeout: Duration,
    /// The limit of each call to a daemon.
    pub api_timeout: Duration,
    /// The sockets of the runtimes that the file has a section for, absolute.
    pub sockets: BTreeMap<String, PathBuf>,
    /// The file that was read, absolute; `None` where there is none.
    pub file: Option<PathBuf>,
    /// Where the values came from, by dotted key (`readiness.timeout`). A key that is not here has
    /// its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Config {
    /// How the runtime of this name is opened.
    pub fn runtime_options(&self, name: &str) -> RuntimeOptions {
        RuntimeOptions {
            socket: self.sockets.get(name).cloned(),
            api_timeout: self.api_timeout,
        }
    }

    /// Where the value of a dotted key came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Whether somebody chose the runtime, or it is the built-in default.
    pub fn runtime_given(&self) -> bool {
        self.origin("runtime") != Origin::Default
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
    },
    /// An environment variable of the caller.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag of the command line.
    Flag {
        /// As it is written, with its dashes.
        flag: String,
    },
}
