//! What the commands of one process share: configuration, home, streams, signals.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use statefork_core::Home;
use statefork_core::config::{Config, Flags, Sources};
use statefork_core::environment::{Builder, Programs};
use statefork_runtime::{Runtime, RuntimeOptions};

use crate::arguments::Globals;
use crate::failure::{Failure, Result};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::runtimes::{self, Factory};
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
    /// The shell's own branch.
    branch: RefCell<Option<String>>,
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
            branch: RefCell::new(None),
        }
    }

    /// What the configuration is made from.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let flags = Flags {
            home: self.globals.home.clone(),
            environment: self.globals.environment.clone(),
            runtime: self.globals.runtime.clone(),
            branch: self.globals.branch.clone(),
        };
        let file = self.globals.config.clone();
        Ok(Sources::of_process(
            file,
            flags,
            &runtimes::NAMES,
            &runtimes::EMBEDDED,
        )?)
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

    /// The branch that commands work on: the shell's own, else the one that was asked for; `None`:
    /// the environment's current one.
    pub(crate) fn branch(&self) -> Result<Option<String>> {
        let own = self.branch.borrow().clone();
        match own {
            Some(own) => Ok(Some(own)),
            None => Ok(self.config()?.branch.clone()),
        }
    }

    /// From now on commands of this process work on this branch, whatever the current one is.
    pub(crate) fn set_branch(&self, name: &str) {
        self.branch.replace(Some(name.to_owned()));
    }

    /// Tells a failure for want of space in the home from others.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        match (failure, self.config()) {
            (Failure::Core(error), Ok(config)) => error.in_home(&config.home).into(),
            (failure, _) => failure,
        }
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
        let factory = self.factory()?;
        Ok((factory.open)(&self.runtime_options(factory)?)?)
    }

    /// How the configured runtime is made.
    pub(crate) fn factory(&self) -> Result<&'static Factory> {
        let name = &self.config()?.runtime;
        runtimes::by_name(name).ok_or_else(|| Failure::usage(format!("unknown runtime {name:?}")))
    }

    /// How a runtime is opened.
    pub(crate) fn runtime_options(&self, factory: &Factory) -> Result<RuntimeOptions> {
        let options = self
            .config()?
            .runtime_options(factory.name, helper(&program()?));
        Ok(options)
    }

    /// The daemons that may build images for a runtime that is none, in the order of the list.
    pub(crate) fn builders(&self) -> Result<Vec<Builder>> {
        let is_embedded = |name: &str| runtimes::EMBEDDED.contains(&name);
        if !is_embedded(self.factory()?.name) {
            return Ok(Vec::new());
        }
        let others = runtimes::ALL.iter();
        let builders = others
            .filter(|factory| !is_embedded(factory.name))
            .map(|factory| {
                let options = self.runtime_options(factory)?;
                let open = factory.open;
                Ok(Builder {
                    name: factory.name,
                    open: Arc::new(move || open(&options)),
                })
            });
        builders.collect()
    }

    /// The programs beside this one, and this one as a worker for the environment.
    pub(crate) fn programs(&self) -> Result<Programs> {
        let program = program()?;
        Ok(Programs {
            worker: self.worker(&program)?,
            helper: helper(&program),
        })
    }

    /// This program with the arguments that name the home, from wherever it is run.
    fn worker(&self, program: &Path) -> Result<Vec<String>> {
        let config = self.config()?;
        let mut words = vec![utf8(program)?];
        words.extend(["--home".to_owned(), utf8(&config.home)?]);
        if let Some(file) = &config.file {
            words.extend(["--config".to_owned(), utf8(file)?]);
        }
        Ok(words)
    }
}

/// The program that runs.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    program.map_err(|source| Failure::Io {
        op: "find the program that runs",
        source,
    })
}

/// The helper program: where `STATEFORK_SHIM` says, else beside this program.
fn helper(program: &Path) -> PathBuf {
    match std::env::var_os(HELPER_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => program.with_file_name(HELPER),
    }
}

/// A path for a command that is handed over as JSON.
fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "the path {} cannot be used: it is no UTF-8",
            path.display()
        ))
    })
}
