//! The keys of a configuration file.

mod application;
mod hooks;
mod readiness;
mod standby;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node::{self, Fault, Value};
use super::read::{Field, Section};
use super::value::{parse_duration, parse_name, resolve};
use super::{Config, ConfigError, Origin, Problem, ValueKind, Variables};

/// All keys, in the order of the documentation.
const KEYS: &[&str] = &[
    "environment",
    "runtime",
    "home",
    "image",
    "build",
    "entrypoint",
    "command",
    "env",
    "env_file",
    "user",
    "workdir",
    "hostname",
    "ports",
    "mounts",
    "network",
    "memory",
    "cpus",
    "init",
    "no_new_privileges",
    "machine_id",
    "readiness",
    "standby",
    "hooks",
    "stop",
    "lock_timeout",
    "freeze_timeout",
    "api_timeout",
    "runtimes",
];

/// A configuration file that was read.
pub(super) struct Document<'a> {
    /// As it was named.
    pub(super) shown: &'a Path,
    /// Absolute.
    pub(super) path: &'a Path,
    /// Its content.
    pub(super) text: &'a str,
    /// The runtimes there are.
    pub(super) known_runtimes: &'static [&'static str],
    /// Those of them that are no daemons.
    pub(super) embedded_runtimes: &'static [&'static str],
    /// The caller's environment variables.
    pub(super) caller: &'a Variables,
}

impl Document<'_> {
    /// Writes what the file says over what `config` holds.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let root = node::parse(self.text).map_err(|fault| self.locate(fault))?;
        let section = match &root {
            Some(node) => Section::root(node, KEYS).map_err(|fault| self.locate(fault))?,
            None => None,
        };
        let Some(section) = section else {
            return Ok(());
        };
        for field in section.fields() {
            self.record(config, &field);
        }
        let files = self
            .settings(&section, config)
            .and_then(|()| application::apply(self, &section, config))
            .and_then(|()| readiness::apply(&section, config))
            .and_then(|()| standby::apply(&section, config))
            .and_then(|()| hooks::apply(&section, config))
            .and_then(|()| variables::files(self, &section))
            .map_err(|fault| self.locate(fault))?;
        for file in files {
            variables::apply_file(self, &file, config)?;
        }
        variables::apply(self, &section, config).map_err(|fault| self.locate(fault))
    }

    fn settings(&self, root: &Section<'_>, config: &mut Config) -> Result<(), Fault> {
        if let Some(field) = root.get("environment") {
            config.environment = field.parse(parse_name)?;
        }
        if let Some(field) = root.get("runtime") {
            config.runtime = known_runtime(field.text()?, self.known_runtimes)
                .map_err(|problem| Fault::new(field.node.at, problem))?;
        }
        if let Some(field) = root.get("home") {
            config.home = self.file_path(&field)?;
        }
        if let Some(field) = root.get("stop")
            && let Some(field) = field.section(&["timeout"])?.get("timeout")
        {
            config.stop_timeout = field.parse_word(parse_duration)?;
        }
        if let Some(field) = root.get("lock_timeout") {
            config.lock_timeout = field.parse_word(parse_duration)?;
        }
        if let Some(field) = root.get("freeze_timeout") {
            config.freeze_timeout = positive_duration(&field)?;
        }
        if let Some(field) = root.get("api_timeout") {
            config.api_timeout = positive_duration(&field)?;
        }
        if let Some(field) = root.get("runtimes") {
            for runtime in field.section(self.known_runtimes)?.fields() {
                let name = runtime.key.trim_start_matches("runtimes.").to_owned();
                if self.embedded_runtimes.contains(&name.as_str()) {
                    if let Some(storage) = runtime.section(&["storage"])?.get("storage") {
                        config.storages.insert(name, self.file_path(&storage)?);
                    }
                } else if let Some(socket) = runtime.section(&["socket"])?.get("socket") {
                    config.sockets.insert(name, self.socket(&socket)?);
                }
            }
        }
        Ok(())
    }

    /// A socket's path, bare or as a `unix://` URL.
    fn socket(&self, field: &Field<'_>) -> Result<PathBuf, Fault> {
        let text = field.text()?;
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.contains("://") {
            return Err(field.not("only UNIX sockets are supported", text, ValueKind::Path));
        }
        self.path_of(field, path)
    }

    /// A path of the host, relative to the file's folder.
    fn file_path(&self, field: &Field<'_>) -> Result<PathBuf, Fault> {
        self.path_of(field, field.text()?)
    }

    fn path_of(&self, field: &Field<'_>, path: &str) -> Result<PathBuf, Fault> {
        if path.is_empty() {
            return Err(field.not("a path is needed", path, ValueKind::Path));
        }
        if path.starts_with('~') {
            let reason = "~ is not expanded, the path must be written out";
            return Err(field.not(reason, path, ValueKind::Path));
        }
        Ok(resolve(self.folder(), Path::new(path)))
    }

    /// What relative paths in the file begin at.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Notes for each value below a key where it came from.
    fn record(&self, config: &mut Config, field: &Field<'_>) {
        if matches!(field.node.value, Value::Map(_))
            && let Ok(section) = field.map()
        {
            for inner in section.fields() {
                self.record(config, &inner);
            }
        }
        let origin = self.origin(field);
        config.origins.insert(field.key.clone(), origin);
    }

    fn origin(&self, field: &Field<'_>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: field.at.line,
        }
    }

    fn locate(&self, fault: Fault) -> ConfigError {
        ConfigError::Content {
            path: self.shown.to_owned(),
            line: fault.at.line,
            column: fault.at.column,
            problem: fault.problem,
        }
    }
}

/// The name of a runtime that exists.
pub(super) fn known_runtime(name: &str, known: &'static [&'static str]) -> Result<String, Problem> {
    if known.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(Problem::UnknownRuntime {
            name: name.to_owned(),
            known,
        })
    }
}

/// A time that is not 0.
fn positive_duration(field: &Field<'_>) -> Result<Duration, Fault> {
    let time = field.parse_word(parse_duration)?;
    if time.is_zero() {
        return Err(field.not(
            "a time of 0 would always be over",
            field.word()?,
            ValueKind::Duration,
        ));
    }
    Ok(time)
}
