//! From the sources to a configuration: defaults, one file, environment variables, flags.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Document, known_runtime};
use super::file::read_trusted_text;
use super::value::{parse_name, resolve};
use super::{
    Application, Config, ConfigError, DEFAULT_ENVIRONMENT, DEFAULT_RUNTIME, Hooks, Origin, Problem,
    Variables,
};

/// The file of the machine.
const SYSTEM_FILE: &str = "/etc/statefork/statefork.yaml";
/// The file's name in the working directory.
const LOCAL_FILE: &str = "statefork.yaml";
/// Where root keeps its home.
const SYSTEM_HOME: &str = "/var/lib/statefork";

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `-e`, `--environment`.
    pub environment: Option<String>,
    /// `-r`, `--runtime`.
    pub runtime: Option<String>,
    /// `-b`, `--branch`.
    pub branch: Option<String>,
}

/// Everything that a configuration is made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--config`.
    pub config_file: Option<PathBuf>,
    /// What relative paths of flags and variables begin at, absolute.
    pub working_dir: PathBuf,
    /// The caller's environment variables.
    pub env: Variables,
    /// The caller.
    pub uid: u32,
    /// The other flags.
    pub flags: Flags,
    /// The names of the runtimes there are.
    pub known_runtimes: &'static [&'static str],
    /// The names of those of them that are no daemons.
    pub embedded_runtimes: &'static [&'static str],
}

impl Sources {
    /// The sources of this process: its working directory, environment variables and user.
    ///
    /// Errors: [`ConfigError::WorkingDirectory`].
    pub fn of_process(
        config_file: Option<PathBuf>,
        flags: Flags,
        known_runtimes: &'static [&'static str],
        embedded_runtimes: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            config_file,
            working_dir: std::env::current_dir()
                .map_err(|source| ConfigError::WorkingDirectory { source })?,
            env: std::env::vars_os().collect(),
            uid: rustix::process::geteuid().as_raw(),
            flags,
            known_runtimes,
            embedded_runtimes,
        })
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env
            .get(OsStr::new(name))
            .map(|value| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path; others are to be ignored (XDG Base Directory
    /// Specification 0.8, "Environment variables").
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.folder(variable)
            .or_else(|| self.folder("HOME").map(|home| home.join(below_home)))
    }

    fn default_home(&self) -> Option<PathBuf> {
        if self.uid == 0 {
            return Some(PathBuf::from(SYSTEM_HOME));
        }
        self.xdg("XDG_DATA_HOME", ".local/share")
            .map(|folder| folder.join("statefork"))
    }

    /// The places of the file when none is named, the first that exists counts.
    fn usual_files(&self) -> Vec<PathBuf> {
        let mut files = vec![PathBuf::from(LOCAL_FILE)];
        files.extend(
            self.xdg("XDG_CONFIG_HOME", ".config")
                .map(|folder| folder.join("statefork").join(LOCAL_FILE)),
        );
        files.push(PathBuf::from(SYSTEM_FILE));
        files
    }

    /// The file that counts, with its text.
    fn find_file(&self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        if let Some(named) = &self.config_file {
            return Ok(Some((named.clone(), self.read(named)?)));
        }
        for candidate in self.usual_files() {
            match self.read(&candidate) {
                Ok(text) => return Ok(Some((candidate, text))),
                Err(ConfigError::Read { source, .. }) if is_absent(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(&self, file: &Path) -> Result<String, ConfigError> {
        read_trusted_text(&resolve(&self.working_dir, file), file, self.uid)
    }

    fn apply_file(&self, shown: &Path, text: &str, config: &mut Config) -> Result<(), ConfigError> {
        let path = resolve(&self.working_dir, shown);
        Document {
            shown,
            path: &path,
            text,
            known_runtimes: self.known_runtimes,
            embedded_runtimes: self.embedded_runtimes,
            caller: &self.env,
        }
        .apply(config)?;
        config.file = Some(path);
        Ok(())
    }

    fn apply_variables(&self, config: &mut Config) -> Result<(), ConfigError> {
        let origin = |variable: &str| Origin::Environment {
            variable: variable.to_owned(),
        };
        if let Some(home) = self.variable("STATEFORK_HOME") {
            config.home = resolve(&self.working_dir, Path::new(home));
            config.came("home", origin("STATEFORK_HOME"));
        }
        // A name that is not UTF-8 is none; the replacement characters show where.
        let fail = |variable: &str, problem| ConfigError::Environment {
            variable: variable.to_owned(),
            problem: Box::new(problem),
        };
        if let Some(name) = self.variable("STATEFORK_ENVIRONMENT") {
            config.environment = parsed("environment", &name.to_string_lossy())
                .map_err(|problem| fail("STATEFORK_ENVIRONMENT", problem))?;
            config.came("environment", origin("STATEFORK_ENVIRONMENT"));
        }
        if let Some(name) = self.variable("STATEFORK_RUNTIME") {
            config.runtime = known_runtime(&name.to_string_lossy(), self.known_runtimes)
                .map_err(|problem| fail("STATEFORK_RUNTIME", problem))?;
            config.came("runtime", origin("STATEFORK_RUNTIME"));
        }
        if let Some(name) = self.variable("STATEFORK_BRANCH") {
            let branch = parsed("branch", &name.to_string_lossy())
                .map_err(|problem| fail("STATEFORK_BRANCH", problem))?;
            config.branch = Some(branch);
            config.came("branch", origin("STATEFORK_BRANCH"));
        }
        Ok(())
    }

    fn apply_flags(&self, config: &mut Config) -> Result<(), ConfigError> {
        let origin = |flag: &str| Origin::Flag {
            flag: flag.to_owned(),
        };
        let fail = |flag: &str, problem| ConfigError::Flag {
            flag: flag.to_owned(),
            problem: Box::new(problem),
        };
        if let Some(home) = &self.flags.home {
            config.home = resolve(&self.working_dir, home);
            config.came("home", origin("--home"));
        }
        if let Some(name) = &self.flags.environment {
            config.environment =
                parsed("environment", name).map_err(|problem| fail("--environment", problem))?;
            config.came("environment", origin("--environment"));
        }
        if let Some(name) = &self.flags.runtime {
            config.runtime = known_runtime(name, self.known_runtimes)
                .map_err(|problem| fail("--runtime", problem))?;
            config.came("runtime", origin("--runtime"));
        }
        if let Some(name) = &self.flags.branch {
            let branch = parsed("branch", name).map_err(|problem| fail("--branch", problem))?;
            config.branch = Some(branch);
            config.came("branch", origin("--branch"));
        }
        Ok(())
    }
}

impl Config {
    /// Puts a configuration together: built-in defaults, one file, `STATEFORK_HOME`,
    /// `STATEFORK_ENVIRONMENT`, `STATEFORK_RUNTIME`, `STATEFORK_BRANCH`, flags; later wins.
    ///
    /// The file is `--config FILE`, else `statefork.yaml` in the working directory, else
    /// `statefork/statefork.yaml` in `$XDG_CONFIG_HOME`, else `/etc/statefork/statefork.yaml`, else
    /// none.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::of_defaults();
        if let Some((file, text)) = sources.find_file()? {
            sources.apply_file(&file, &text, &mut config)?;
        }
        sources.apply_variables(&mut config)?;
        sources.apply_flags(&mut config)?;
        if config.home.as_os_str().is_empty() {
            config.home = sources.default_home().ok_or(ConfigError::NoHome)?;
        }
        Ok(config)
    }

    /// Reads a file and checks everything in it, whatever variables and flags say.
    pub fn check(file: &Path, sources: &Sources) -> Result<(), ConfigError> {
        let text = sources.read(file)?;
        sources.apply_file(file, &text, &mut Self::of_defaults())
    }

    fn of_defaults() -> Self {
        Self {
            home: PathBuf::new(),
            environment: DEFAULT_ENVIRONMENT.to_owned(),
            runtime: DEFAULT_RUNTIME.to_owned(),
            branch: None,
            application: Application::default(),
            readiness: None,
            standby: None,
            standby_memory: None,
            hooks: Hooks::default(),
            stop_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(10),
            freeze_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(120),
            sockets: BTreeMap::new(),
            storages: BTreeMap::new(),
            unset: Vec::new(),
            file: None,
            origins: BTreeMap::new(),
        }
    }

    fn came(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
    }
}

/// A name that is the value of `key`.
fn parsed(key: &str, name: &str) -> Result<String, Problem> {
    parse_name(name).map_err(|value| Problem::Value {
        key: key.to_owned(),
        value,
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
