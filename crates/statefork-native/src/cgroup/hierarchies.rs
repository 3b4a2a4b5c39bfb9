//! Which hierarchies of cgroups this machine has, and making and removing cgroups in them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use statefork_runtime::Limits;

/// The controllers that we set, or that count what a container uses: it is not to be counted to
/// whoever started it.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "pids", "devices", "freezer"];
/// How often a folder is made again whose parent somebody else removed meanwhile.
const ATTEMPTS: u32 = 100;

/// The roots of the hierarchies' mounts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Version 2.
    pub(super) v2: Option<PathBuf>,
    /// Those of version 1 that have a controller we may need, with the names of its controllers.
    pub(super) v1: Vec<(PathBuf, Vec<String>)>,
}

impl Hierarchies {
    /// Those of this machine, looked for once.
    pub(super) fn of_this_machine() -> io::Result<&'static Self> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let found = Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?);
        if found.v2.is_none() && found.v1.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroups are mounted on this machine",
            ));
        }
        Ok(FOUND.get_or_init(|| found))
    }

    /// Those that a mountinfo file names (proc_pid_mountinfo(5)).
    pub(super) fn parse(mountinfo: &str) -> Self {
        let mut found = Self {
            v2: None,
            v1: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else {
                continue;
            };
            let Some(root) = mount.split(' ').nth(4).map(unescaped) else {
                continue;
            };
            let mut fields = filesystem.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(root),
                (Some("cgroup"), Some(options)) => {
                    let needed = |name: &&str| CONTROLLERS.contains(name);
                    let names: Vec<_> = options.split(',').filter(needed).collect();
                    // A hierarchy may be mounted more than once.
                    if !names.is_empty() && names.iter().all(|name| seen.insert(*name)) {
                        found
                            .v1
                            .push((root, names.into_iter().map(str::to_owned).collect()));
                    }
                }
                _ => {}
            }
        }
        if found.v2.is_some() {
            // Version 2 freezes, with or without controllers.
            found.v1.retain(|(_, names)| *names != ["freezer"]);
        }
        found
    }

    /// Makes a cgroup in each hierarchy.
    pub(super) fn make(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        if let Some(root) = &self.v2 {
            retry(|| make_v2(root, path, limits))?;
        }
        for (root, names) in &self.v1 {
            // A real-time process could not be in one of processors, and only a limit needs it.
            if limits.cpus.is_some() || names.iter().any(|name| name != "cpu") {
                retry(|| std::fs::create_dir_all(root.join(path)))?;
            }
        }
        Ok(())
    }

    /// Removes the folders that a cgroup lies in where they are empty.
    pub(super) fn remove_parents(&self, path: &Path) -> io::Result<()> {
        let roots = self.v2.iter().chain(self.v1.iter().map(|(root, _)| root));
        for root in roots {
            for parent in path.ancestors().skip(1) {
                if parent.as_os_str().is_empty() {
                    break;
                }
                match remove_folder(&root.join(parent)) {
                    // Somebody else's cgroup is in it.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => break,
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

/// Makes a cgroup of version 2, with the controllers that there are.
fn make_v2(root: &Path, path: &Path, limits: &Limits) -> io::Result<()> {
    let controllers = [
        ("memory", limits.memory.is_some()),
        ("cpu", limits.cpus.is_some()),
        ("pids", false),
    ];
    let mut folder = root.to_owned();
    for component in path {
        let offered = std::fs::read_to_string(folder.join("cgroup.controllers"))?;
        let enabled = std::fs::read_to_string(folder.join("cgroup.subtree_control"))?;
        let among = |names: &str, name| names.split_ascii_whitespace().any(|other| other == name);
        for (name, needed) in controllers {
            if among(&offered, name) && !among(&enabled, name) {
                let file = folder.join("cgroup.subtree_control");
                match write(&file, &format!("+{name}")) {
                    // Some other use of it is in the way, and nobody has asked for a limit.
                    Err(_) if !needed => {}
                    written => written?,
                }
            }
        }
        folder.push(component);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// Removes a cgroup. Absent: success.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Writes to a file of a cgroup, at once.
pub(super) fn write(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

/// Does what fails while somebody removes a folder on the way, until it succeeds.
fn retry(mut make: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match make() {
            Err(error) if super::is_gone(&error) => {}
            made => return made,
        }
    }
    make()
}

/// A path as mountinfo writes it: `\` and three octal digits stand for some characters.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let character = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match character {
            Some(character) => {
                path.push(char::from(character));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path.into()
}
