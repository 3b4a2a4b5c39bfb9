//! What there is on the machine before and after, as far as the enclosure can see: the engine's
//! objects, processes and ports (the [census](Census)), and mounts, links, descriptors, and what the
//! engine keeps on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::census::Census;
use crate::daemons::identity::Identity;
use crate::daemons::{Kind, Layout, is_exec_monitor};
use crate::engine::Engine;

/// How long what was removed may take to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// The two places below which everything is mounted: the enclosure makes both mounts of their own.
const RUN: &str = "/run";

/// Where an engine keeps images, containers and volumes, below its data directory. What lies beside
/// them are its own books: databases that never shrink, locks, caches, the state of its network.
/// Docker's layers come in addition, see [`docker_layers`].
const STORES: [(Kind, &[&str]); 2] = [
    (
        Kind::Docker,
        &[
            "containers",
            "image/overlay2/distribution",
            "image/overlay2/imagedb",
            "image/overlay2/layerdb/mounts",
            "image/overlay2/layerdb/sha256",
            "volumes",
        ],
    ),
    (
        Kind::Podman,
        &["overlay", "overlay-containers", "overlay-images", "volumes"],
    ),
];

/// What native has in its storage beside its books.
const STORAGE: [&str; 3] = ["containers", "layers", "volumes"];

/// Where a runtime keeps what it has.
pub(super) enum Place<'a> {
    /// A daemon of the enclosure.
    Daemon(&'a Layout, Engine),
    /// Native's storage.
    Storage(PathBuf),
}

impl Place<'_> {
    fn engines(&self) -> &[Engine] {
        match self {
            Self::Daemon(_, engine) => std::slice::from_ref(engine),
            Self::Storage(_) => &[],
        }
    }

    fn kind(&self) -> Option<Kind> {
        self.engines().first().map(|engine| engine.kind)
    }

    /// The folder below which everything lies that it mounts.
    fn state(&self) -> &Path {
        match self {
            Self::Daemon(layout, _) => layout.state(),
            Self::Storage(storage) => storage,
        }
    }

    fn data(&self) -> PathBuf {
        match self {
            Self::Daemon(layout, engine) => layout.data(engine.kind),
            Self::Storage(storage) => storage.clone(),
        }
    }

    /// Folders of [`data`](Self::data).
    fn stores(&self) -> &'static [&'static str] {
        let Some(kind) = self.kind() else {
            return &STORAGE;
        };
        let of_kind = STORES.iter().find(|(of, _)| *of == kind);
        of_kind.map_or(&[], |(_, stores)| stores)
    }
}

/// What there is.
pub(super) struct Inventory {
    census: Census,
    /// Equal at the end, or there is more or less than there should be.
    exact: BTreeMap<String, u64>,
    /// Open descriptors by program and target. Not more at the end: fewer is no leak.
    descriptors: BTreeMap<String, u64>,
}

impl Inventory {
    /// Counts everything.
    pub(super) fn take(place: &Place<'_>) -> Result<Self> {
        let mut exact = BTreeMap::new();
        for mount in mounts(place.state())? {
            // A dockerd that is killed as it makes a container leaves the mount in which it puts the mount
            // points together, and never comes back to it.
            if mount.ends_with(LEFT_BY_DOCKERD) {
                continue;
            }
            *exact.entry(format!("mounts on {mount}")).or_default() += 1;
        }
        for link in links()? {
            exact.insert(format!("network links named {link}"), 1);
        }
        let data = place.data();
        for store in place.stores() {
            let used = size(&data.join(store))?;
            exact.insert(format!("files in {store}"), used.files);
            exact.insert(format!("bytes in {store}"), used.bytes);
        }
        if place.kind() == Some(Kind::Docker) {
            let used = docker_layers(&data)?;
            exact.insert("files in layers".to_owned(), used.files);
            exact.insert("bytes in layers".to_owned(), used.bytes);
        }
        Ok(Self {
            census: Census::take(place.engines())?,
            exact,
            descriptors: descriptors()?,
        })
    }

    /// Fails, naming each thing, if what is in the engine, our processes and the ports are not the
    /// same within 15 s.
    pub(super) fn compare_objects(&self, place: &Place<'_>) -> Result<()> {
        self.census.compare(place.engines())
    }

    /// Fails, naming each thing, if the rest is not the same within 15 s.
    pub(super) fn compare_the_rest(&self, place: &Place<'_>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = Self::take(place)?;
            let differences = self.differences(&now);
            if differences.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("it is not as before:\n  {}", differences.join("\n  "));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn differences(&self, now: &Self) -> Vec<String> {
        let names = self.exact.keys().chain(now.exact.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let amount = |all: &BTreeMap<String, u64>, name: &str| all.get(name).copied().unwrap_or(0);
        let mut found: Vec<String> = names
            .into_iter()
            .map(|name| (name, amount(&self.exact, name), amount(&now.exact, name)))
            .filter(|(_, before, after)| before != after)
            .map(|(name, before, after)| format!("{name}: {after} instead of {before}"))
            .collect();
        for (target, &after) in &now.descriptors {
            let before = amount(&self.descriptors, target);
            if after > before {
                found.push(format!(
                    "open descriptors of {target}: {after} instead of {before}"
                ));
            }
        }
        found
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |prefix: &str| -> u64 {
            let these = self
                .exact
                .iter()
                .filter(|(name, _)| name.starts_with(prefix));
            these.map(|(_, amount)| amount).sum()
        };
        write!(
            f,
            "{} descriptors, {} mounts, {} links, {} files and {:.1} MB of images, containers and \
             volumes",
            self.descriptors.values().sum::<u64>(),
            sum("mounts"),
            sum("network links"),
            sum("files"),
            sum("bytes") as f64 / 1e6
        )
    }
}

/// The end of the folder in which dockerd prepares the layer with a container's mount points (overlay2).
const LEFT_BY_DOCKERD: &str = "-init/merged";

/// The mount points of the enclosure: those below its own mounts, not those that it sees of the
/// machine (proc(5), `/proc/PID/mountinfo`).
fn mounts(state: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let lines: Vec<(u64, u64, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((id, parent, fields.nth(2)?))
        })
        .collect();
    let mut inside = Vec::new();
    let mut points = Vec::new();
    // A mount stands after the one that it lies on.
    for (id, parent, point) in lines {
        let is_root = point == RUN || state.starts_with(point) && point != "/";
        if is_root || inside.contains(&parent) {
            inside.push(id);
            points.push(point.to_owned());
        }
    }
    Ok(points)
}

/// The network links of this namespace.
fn links() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/net/dev").context("read the network links")?;
    let names = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next());
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

/// The process that waits in a new container for its start.
const WAITING: &str = "runc:[2:INIT]";

/// Where containerd's connections to its shims are, of which each has one.
const TO_SHIMS: &str = "containerd to socket";

/// How many descriptors are open in all processes of this namespace, by the name of their program
/// and what they lead to.
///
/// Two things are not counted. Podman's monitors of exec sessions go by themselves, minutes later. And
/// where a daemon was killed while it started a container, a later one takes the container for one
/// that was never started: it removes it, but not the process that waits for its start, nor the
/// monitor or shim of that. Their containers are gone by then: nobody can remove them over the API.
fn descriptors() -> Result<BTreeMap<String, u64>> {
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    let mut lost_shims = Vec::new();
    for process in entries(Path::new("/proc"))? {
        // One that ends meanwhile has none.
        let (Ok(line), Ok(descriptors)) = (
            fs::read_to_string(process.join("cmdline")),
            fs::read_dir(process.join("fd")),
        ) else {
            continue;
        };
        let name = name(&process);
        let is_shim = name == "containerd-shim";
        let children = children(&process);
        let is_lost = children.iter().any(|child| child == WAITING)
            || name == WAITING
            || is_shim && children.is_empty();
        if is_lost || is_exec_monitor(&line.split('\0').collect::<Vec<_>>()) {
            if is_shim {
                lost_shims.extend(container_of_shim(&line));
            }
            continue;
        }
        for descriptor in descriptors.flatten() {
            // One that is closed meanwhile leads nowhere.
            if let Ok(target) = fs::read_link(descriptor.path()) {
                let target = target.to_string_lossy();
                let target = kind_of_target(&target);
                *open.entry(format!("{name} to {target}")).or_default() += 1;
            }
        }
    }
    // What containerd has open for a shim: its log, by the container's id, and a connection.
    open.retain(|target, _| !lost_shims.iter().any(|lost| target.contains(lost)));
    if let Some(open) = open.get_mut(TO_SHIMS) {
        *open = open.saturating_sub(lost_shims.len() as u64);
    }
    Ok(open)
}

/// The container of a containerd-shim, from its command line: what follows `-id`.
fn container_of_shim(line: &str) -> Option<String> {
    let mut words = line.split('\0').skip_while(|word| *word != "-id");
    words.nth(1).map(str::to_owned)
}

/// What a descriptor leads to, without the number that each has of its own (proc(5),
/// `/proc/PID/fd`): `socket`, `pipe`, `anon_inode`'s kind, or a path.
fn kind_of_target(target: &str) -> &str {
    match target.split_once(":[") {
        Some(("anon_inode", kind)) => kind.trim_end_matches(']'),
        Some((kind @ ("socket" | "pipe"), _)) => kind,
        _ => target,
    }
}

fn name(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// The names of a process's children.
fn children(process: &Path) -> Vec<String> {
    let pid = process
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    let process = pid.and_then(Identity::of);
    let children = process
        .map(|process| process.children())
        .unwrap_or_default();
    let names = children.iter().map(|child| format!("/proc/{}", child.pid));
    names.map(|process| name(Path::new(&process))).collect()
}

/// What is on disk.
#[derive(Default)]
struct Used {
    files: u64,
    bytes: u64,
}

/// Docker's layers as far as it knows them. A dockerd that is killed while it commits an image leaves
/// a directory in `overlay2` that no entry of its own `layerdb` names, and no later dockerd removes it:
/// its defect, which nobody can mend over its API.
fn docker_layers(data: &Path) -> Result<Used> {
    let mut used = Used::default();
    for (kind, names) in [
        ("sha256", &["cache-id"][..]),
        ("mounts", &["mount-id", "init-id"]),
    ] {
        let known = data.join("image/overlay2/layerdb").join(kind);
        for entry in entries(&known)? {
            for name in names {
                let file = entry.join(name);
                let id = fs::read_to_string(&file)
                    .with_context(|| format!("read {}", file.display()))?;
                used.add(&data.join("overlay2").join(id))?;
            }
        }
    }
    Ok(used)
}

fn size(path: &Path) -> Result<Used> {
    let mut used = Used::default();
    used.add(path)?;
    Ok(used)
}

impl Used {
    /// Counts the files below a directory, and their bytes. Directories have a size too, but it says
    /// how many entries they once had.
    fn add(&mut self, path: &Path) -> Result<()> {
        for entry in entries(path)? {
            let meta = fs::symlink_metadata(&entry)?;
            if meta.is_dir() {
                self.add(&entry)?;
            } else {
                self.files += 1;
                self.bytes += meta.len();
            }
        }
        Ok(())
    }
}

/// What is in a directory; nothing if it is not there.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    listed.with_context(|| format!("list {}", path.display()))
}
