//! On what a comparison ran: the machine, the versions, the sources.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use serde::{Deserialize, Serialize};

use crate::image::workspace;
use crate::process::{command, run};

/// Crates whose versions may count.
const CRATES: [&str; 7] = [
    "statefork-core",
    "bollard",
    "podman-api",
    "hyper",
    "rusqlite",
    "tokio",
    "criterion",
];

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The distribution, as it calls itself.
    pub(crate) system: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The processors' model.
    pub(crate) cpu: String,
    /// How many processors there are for us.
    pub(crate) cpus: usize,
    /// The memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// How many processes wanted a processor on average, in the minute before anything was done.
    pub(crate) load: String,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let cpu_info = read("/proc/cpuinfo")?;
        let memory = read("/proc/meminfo")?;
        let memory = field(&memory, "MemTotal").and_then(|text| text.split(' ').next());
        let kib: u64 = memory.and_then(|text| text.parse().ok()).unwrap_or(0);
        let release = read("/etc/os-release").unwrap_or_default();
        let system = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .unwrap_or("unknown");
        let load = read("/proc/loadavg")?;
        Ok(Self {
            system: system.trim_matches('"').to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: field(&cpu_info, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            memory_bytes: kib * 1024,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

/// The value of the first line `NAME : VALUE`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The sources that were built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// The commit's id.
    pub(crate) id: String,
    /// Whether files differed from it.
    pub(crate) dirty: bool,
}

impl Commit {
    /// That of the workspace; `None` where it is in no repository.
    pub(super) fn current() -> Option<Self> {
        let git = |args: &[&str]| run(command("git").args(args).current_dir(workspace())).ok();
        Some(Self {
            id: git(&["rev-parse", "HEAD"])?.trim().to_owned(),
            dirty: !git(&["status", "--porcelain"])?.trim().is_empty(),
        })
    }
}

/// The versions of the crates that may count, and of the compiler.
pub(super) fn versions() -> Result<BTreeMap<String, String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("failed to find the versions of the crates")?;
    let mut versions: BTreeMap<String, String> = metadata
        .packages
        .iter()
        .filter(|package| CRATES.contains(&package.name.as_str()))
        .map(|package| (package.name.to_string(), package.version.to_string()))
        .collect();
    let compiler = run(command("rustc").arg("--version"))?;
    versions.insert("rustc".to_owned(), compiler.trim().to_owned());
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::this().unwrap();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty());
        assert_eq!(field("a b\t: c d\nx: y", "a b"), Some("c d"));
    }
}
