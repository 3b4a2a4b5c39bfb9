//! The configuration: one YAML file, a few environment variables and flags, and where each value
//! came from.
//!
//! [`Config::load`] reads all of it. The file becomes a tree of nodes that know their line and
//! column (`node`); `document` walks the tree through a reader that knows the valid keys of each
//! level (`read`); and the texts of single values are read by the functions that also read the
//! command line's flags ([`parse_size`] and its siblings).

mod application;
mod document;
mod error;
mod file;
mod load;
mod node;
mod problem;
mod read;
mod show;
mod standby;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use statefork_runtime::RuntimeOptions;

pub use application::{Application, Build, Check, Hooks, MachineId, Readiness};
pub use error::{ConfigError, ConfigErrorKind, FileRefusal};
pub use file::parse_env_file;
pub use load::{Flags, Sources};
pub use problem::Problem;
pub use show::Shown;
pub use standby::{Candidates, Standby};
pub use value::{
    ValueError, ValueKind, Variables, parse_command, parse_cpus, parse_duration, parse_env,
    parse_hostname, parse_image, parse_machine_id, parse_mount, parse_mount_source, parse_name,
    parse_network, parse_port, parse_port_range, parse_security_option, parse_size, parse_standby,
    parse_tmpfs, parse_user, parse_workdir, set_env,
};

/// The environment's name where none is given.
pub const DEFAULT_ENVIRONMENT: &str = "default";
/// The runtime where none is given.
pub const DEFAULT_RUNTIME: &str = "native";

/// The configuration of one call: plain values, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The state directory, absolute.
    pub home: PathBuf,
    /// The environment's name.
    pub environment: String,
    /// The runtime's name, one of the known ones.
    pub runtime: String,
    /// The branch that is asked for; `None`: the environment's current one.
    pub branch: Option<String>,
    /// What `up` starts.
    pub application: Application,
    /// When the application counts as ready; `None`: a TCP connection to the first container
    /// port, and without ports at once (see [`Readiness::or_default`]).
    pub readiness: Option<Readiness>,
    /// Which containers are prepared ahead; `None`: one from each branch's head.
    pub standby: Option<Standby>,
    /// How much memory all prepared containers of the home may take, in bytes; `None`: a tenth of the
    /// machine's.
    pub standby_memory: Option<u64>,
    /// What is run in a container that comes from a snapshot.
    pub hooks: Hooks,
    /// How long a polite stop waits before it kills.
    pub stop_timeout: Duration,
    /// How long a command waits for another one's lock.
    pub lock_timeout: Duration,
    /// How long an application may be frozen before it is thawed, come what may.
    pub freeze_timeout: Duration,
    /// The limit of each call to a daemon.
    pub api_timeout: Duration,
    /// The sockets of the runtimes that the file has a section for, absolute.
    pub sockets: BTreeMap<String, PathBuf>,
    /// The storages of the embedded runtimes that the file has a section for, absolute.
    pub storages: BTreeMap<String, PathBuf>,
    /// The variables that `env` takes from the caller and that the caller has not set; they are
    /// not in `application.spec.env` (see [`Config::require_variables`]).
    pub unset: Vec<UnsetVariable>,
    /// The file that was read, absolute; `None` where there is none.
    pub file: Option<PathBuf>,
    /// Where the values came from, by dotted key (`readiness.timeout`). A key that is not here has
    /// its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Config {
    /// How the runtime of this name is opened; `helper` is the helper program.
    pub fn runtime_options(&self, name: &str, helper: PathBuf) -> RuntimeOptions {
        RuntimeOptions {
            socket: self.sockets.get(name).cloned(),
            api_timeout: self.api_timeout,
            storage: Some(match self.storages.get(name) {
                Some(storage) => storage.clone(),
                None => self.home.join(name),
            }),
            helper: Some(helper),
        }
    }

    /// Where the value of a dotted key came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Fails if a variable that `env` takes from the caller is not set: for those who start the
    /// application. Others need not have it.
    pub fn require_variables(&self) -> Result<(), ConfigError> {
        match self.unset.first() {
            None => Ok(()),
            Some(unset) => Err(ConfigError::Content {
                path: unset.path.clone(),
                line: unset.line,
                column: unset.column,
                problem: Box::new(Problem::Value {
                    key: "env".to_owned(),
                    value: ValueError::not_set(&unset.name),
                }),
            }),
        }
    }

    /// Whether somebody chose the runtime, or it is the built-in default.
    pub fn runtime_given(&self) -> bool {
        self.origin("runtime") != Origin::Default
    }
}

/// A variable that was to be taken from the caller, who has not set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsetVariable {
    /// Its name.
    pub name: String,
    /// The file that asks for it, absolute.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
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
