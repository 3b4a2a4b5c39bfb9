//! On what a comparison ran: the machine, the versions, the sources.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
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
    let path = workspace().join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut versions = locked(&text);
    let compiler = run(command("rustc").arg("--version"))?;
    versions.insert("rustc".to_owned(), compiler.trim().to_owned());
    Ok(versions)
}

/// Those in the text of a `Cargo.lock`; all of them where there are several of one crate. Its own
/// reader, `cargo metadata`, wants the sources of other systems too.
fn locked(text: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for package in text.split("[[package]]") {
        let value = |key: &str| {
            package.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix(" = ")?;
                Some(value.trim_matches('"'))
            })
        };
        let (Some(name), Some(version)) = (value("name"), value("version")) else {
            continue;
        };
        if CRATES.contains(&name) {
            let known: &mut String = versions.entry(name.to_owned()).or_default();
            let before = if known.is_empty() { "" } else { " and " };
            known.push_str(&format!("{before}{version}"));
        }
    }
    versions
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

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let text = "version = 4\n\n[[package]]\nname = \"hyper\"\nversion = \"0.14.1\"\n\n\
                    [[package]]\nname = \"hyper\"\nversion = \"1.2.3\"\n\n\
                    [[package]]\nname = \"other\"\nversion = \"1.0.0\"\n";
        let found = locked(text);
        assert_eq!(found["hyper"], "0.14.1 and 1.2.3");
        assert_eq!(found.len(), 1);
    }
}
