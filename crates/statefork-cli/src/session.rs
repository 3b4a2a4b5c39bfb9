//! What the commands of one process share: configuration, home, streams, signals.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use statefork_core::Home;
use statefork_core::config::{Config, Flags, Sources};
use statefork_runtime::Runtime;

use crate::arguments::Globals;
use crate::failure::{Failure, Result};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::runtimes;
use crate::standard_input::Input;

/// The variable that says where the helper program is.
const HELPER_VARIABLE: &str = "STATEFORK_SHIM";
/// The helper program's name.
const HELPER: &str = "statefork-shim";

/// Shared by all commands. Configuration and home are opened by the first that needs them.
pub(crate) struct Session {
    pub(crate) globals: Globals,
    pub(crate) output: Output,
    pub(crate) interrupts: Interrupts,
    pub(crate) input: Input,
    config: OnceCell<Config>,
    home: OnceCell<Arc<Home>>,
}

impl Session {
    /// Nothing is read or opened yet.
    pub(crate) fn new(globals: Globals, output: Output, interrupts: Interrupts) -> Self {
        Self {
            globals,
            output,
            interrupts,
            input: Input::Inherited,
            config: OnceCell::new(),
            home: OnceCell::new(),
        }
    }

    /// What the configuration is made from.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let flags = Flags {
            home: self.globals.home.clone(),
            environment: self.globals.environment.clone(),
            runtime: self.globals.runtime.clone(),
        };
        let file = self.globals.config.clone();
        Ok(Sources::of_process(file, flags, &runtimes::NAMES)?)
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::load(&self.sources()?)?;
        tracing::debug!(file = ?config.file, runtime = config.runtime, "loaded the configuration");
        Ok(self.config.get_or_init(|| config))
    }

    /// The environment's name, if the configuration could be read.
    pub(crate) fn environment_name(&self) -> Option<&str> {
        self.config.get().map(|config| config.environment.as_str())
    }

    /// The home, opened.
    pub(crate) fn home(&self) -> Result<Arc<Home>> {
        if let Some(home) = self.home.get() {
            return Ok(home.clone());
        }
        let home = Arc::new(Home::open(&self.config()?.home)?);
        tracing::debug!(path = %home.path().display(), "opened the home");
        Ok(self.home.get_or_init(|| home).clone())
    }

    /// The configured runtime, opened. Nobody is contacted.
    pub(crate) fn runtime(&self) -> Result<Arc<dyn Runtime>> {
        let config = self.config()?;
        let factory = runtimes::by_name(&config.runtime)
            .ok_or_else(|| Failure::usage(format!("unknown runtime {:?}", config.runtime)))?;
        Ok((factory.open)(&config.runtime_options(factory.name))?)
    }

    /// The helper program: where `STATEFORK_SHIM` says, else beside this program.
    pub(crate) fn helper(&self) -> Result<PathBuf> {
        if let Some(path) = std::env::var_os(HELPER_VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(PathBuf::from(path));
        }
        let program = std::env::current_exe().and_then(|path| path.canonicalize());
        let program = program.map_err(|source| Failure::Io {
            op: "find the program that runs",
            source,
        })?;
        Ok(program.with_file_name(HELPER))
    }
}
