//! Capturing a writable layer that is in use.
//!
//! Contents are copied ahead while the application runs. Then it is frozen, everything is looked at
//! again, and what is not as it was when it was copied is copied once more. The pause is as long as the
//! second look and those copies. How a change is known:
//!
//! - by the stamp of an entry: inode, change time, size, mode. Kernels from 6.13 on give every
//!   change after a look a time of its own (multigrain timestamps); where a trial in the storage
//!   shows that this one does not, what changed within [`TICK`] of its copy is copied again, and in
//!   the next capture too;
//! - a store through a shared mapping into a page that is dirty already changes no time. Whatever is
//!   mapped so after the first look, before any copy, or in the pause, is copied in the pause, and
//!   in the next capture too. A mapping that is made later faults at its first store, which changes
//!   the time.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::delta::{Delta, delta};
use super::entry::{Entry, Stamp, open_root, walk};
use super::manifest::Manifest;
use super::mapped;
use super::write::{Held, Reader, Writer, sync_folder};

/// More than the time between two ticks of the kernel's clock, by which older kernels date changes.
const TICK: Duration = Duration::from_millis(20);

/// What is captured, and into what.
pub(crate) struct Source<'a> {
    /// The writable layer.
    pub(crate) upper: &'a Path,
    /// What it held at its last capture.
    pub(crate) before: &'a Manifest,
    /// The layer to be written, an empty folder.
    pub(crate) layer: &'a Path,
    /// An empty folder on the same file system, for copies; what is left in it may go.
    pub(crate) copies: &'a Path,
}

/// The processes that may write meanwhile.
pub(crate) trait Processes {
    /// Their numbers now.
    fn pids(&self) -> io::Result<Vec<u32>>;
    /// Freezes them; returns when none runs.
    fn freeze(&self) -> io::Result<()>;
    /// Thaws them.
    fn thaw(&self) -> io::Result<()>;
}

/// What a capture has made.
#[derive(Debug)]
pub(crate) struct Made {
    /// What the writable layer held.
    pub(crate) manifest: Manifest,
    /// Bytes of the files' contents in the new layer.
    pub(crate) bytes: u64,
    /// How long the processes were frozen, if they were.
    pub(crate) pause: Option<Duration>,
}

/// Captures. Where nothing is frozen the layer is of one instant only if nobody writes meanwhile.
///
/// `processes` are those that are there, if any; `freeze` says whether they are frozen here.
///
/// The layer is durable on return. After an error the processes run as before.
pub(crate) fn capture(
    source: &Source<'_>,
    processes: Option<&dyn Processes>,
    freeze: bool,
) -> io::Result<Made> {
    let tree = open_root(source.upper)?;
    let mut reader = Reader::new(&tree, 0, source.copies);
    let mapped_by = |processes: Option<&dyn Processes>| match processes {
        Some(processes) => mapped::files(&processes.pids()?),
        None => Ok(HashSet::new()),
    };
    let is_fine = has_fine_times(source.copies)?;
    let Some(processes) = processes.filter(|_| freeze) else {
        let ahead = Ahead {
            copies: HashMap::new(),
            mapped: mapped_by(processes)?,
            is_fine,
        };
        let look = look(&tree, &mut reader, source.before, ahead)?;
        return finish(source, look, None);
    };

    let first = walk(tree.as_fd())?;
    // After the look and before the copies: see above.
    let mapped = mapped_by(Some(processes))?;
    let mut ahead = Ahead {
        copies: copy_ahead(&mut reader, &first, source.before, is_fine)?,
        mapped,
        is_fine,
    };

    let begun = Instant::now();
    processes.freeze()?;
    let seen = mapped_by(Some(processes)).and_then(|mapped| {
        ahead.mapped.extend(mapped);
        look(&tree, &mut reader, source.before, ahead)
    });
    let thawed = processes.thaw();
    let pause = begun.elapsed();
    thawed?;
    finish(source, seen?, Some(pause))
}

/// What is known before the look that counts.
struct Ahead {
    /// Copies made while the application ran, by path.
    copies: HashMap<PathBuf, Held>,
    /// What was mapped shared and writable.
    mapped: HashSet<PathBuf>,
    /// Whether each change after a look has a time of its own.
    is_fine: bool,
}

fn copy_ahead(
    reader: &mut Reader<'_>,
    walked: &[Entry],
    before: &Manifest,
    is_fine: bool,
) -> io::Result<HashMap<PathBuf, Held>> {
    let mut copies = HashMap::new();
    for place in delta(walked, before).entries {
        let entry = &walked[place];
        let now = (!is_fine).then(now).transpose()?;
        if let Some(held) = reader.read(entry)?
            && now.is_none_or(|now| held.entry.stamp.ctime < now - nanoseconds(TICK))
        {
            copies.insert(entry.path.clone(), held);
        }
    }
    Ok(copies)
}

/// What a look at the writable layer has given.
struct Look {
    walked: Vec<Entry>,
    /// What is to be stored, by its place in the walk.
    held: Vec<(usize, Held)>,
    delta: Delta,
    /// What may change from now on without a new stamp.
    unsure: HashSet<PathBuf>,
}

fn look(
    tree: &OwnedFd,
    reader: &mut Reader<'_>,
    before: &Manifest,
    ahead: Ahead,
) -> io::Result<Look> {
    let Ahead {
        mut copies,
        mapped,
        is_fine,
    } = ahead;
    let walked = walk(tree.as_fd())?;
    let latest = now()? - nanoseconds(TICK);
    let delta = delta(&walked, before);
    let mut held = Vec::with_capacity(delta.entries.len());
    // It goes under our hands only where nothing is frozen, and what is in it goes with it.
    let mut lost: Option<&Path> = None;
    for &place in &delta.entries {
        let entry = &walked[place];
        if lost.is_some_and(|lost| entry.path.starts_with(lost)) {
            continue;
        }
        let counts = |held: &Held| held.entry.stamp == entry.stamp && !mapped.contains(&entry.path);
        let now = match copies.remove(&entry.path).filter(counts) {
            Some(held) => Some(held),
            None => reader.read(entry)?,
        };
        match now {
            Some(now) => held.push((place, now)),
            None => lost = Some(&entry.path),
        }
    }
    let mut unsure = mapped;
    if !is_fine {
        let recent = walked.iter().filter(|entry| entry.stamp.ctime >= latest);
        unsure.extend(recent.map(|entry| entry.path.clone()));
    }
    Ok(Look {
        held,
        delta,
        unsure,
        walked,
    })
}

fn finish(source: &Source<'_>, look: Look, pause: Option<Duration>) -> io::Result<Made> {
    let mut writer = Writer::new(source.layer)?;
    for (place, held) in look.held {
        writer.put(held, look.delta.opaque.contains(&place))?;
    }
    for path in &look.delta.gone {
        writer.whiteout(path)?;
    }
    let bytes = writer.finish()?;
    if let Some(layers) = source.layer.parent() {
        sync_folder(layers)?;
    }
    Ok(Made {
        manifest: Manifest::of(&look.walked, &look.unsure),
        bytes,
        pause,
    })
}

/// Whether each change after a look has a time of its own here, tried with a file.
fn has_fine_times(folder: &Path) -> io::Result<bool> {
    let path = folder.join("times");
    let mut file = File::create(&path)?;
    let look = |file: &File| -> io::Result<Stamp> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Entry::new(PathBuf::new(), &stat, false).stamp)
    };
    let mut is_fine = true;
    for _ in 0..3 {
        let before = look(&file)?.ctime;
        file.write_all(b"x")?;
        is_fine &= look(&file)?.ctime != before;
    }
    std::fs::remove_file(path)?;
    Ok(is_fine)
}

/// The time by which changes are dated, in nanoseconds since 1970.
fn now() -> io::Result<i64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    now.tv_sec
        .checked_mul(1_000_000_000)
        .and_then(|seconds| seconds.checked_add(now.tv_nsec))
        .ok_or_else(|| io::Error::other("the clock is centuries off"))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        count: Cell<u32>,
    }

    /// Does something when it is frozen, as an application does until then.
    struct Busy<F: Fn()> {
        until_frozen: F,
        frozen: Cell<bool>,
    }

    impl<F: Fn()> Processes for Busy<F> {
        fn pids(&self) -> io::Result<Vec<u32>> {
            Ok(Vec::new())
        }

        fn freeze(&self) -> io::Result<()> {
            (self.until_frozen)();
            self.frozen.set(true);
            Ok(())
        }

        fn thaw(&self) -> io::Result<()> {
            self.frozen.set(false);
            Ok(())
        }
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("upper")).unwrap();
            let count = Cell::new(0);
            Self { dir, count }
        }

        fn upper(&self, path: &str) -> PathBuf {
            self.dir.path().join("upper").join(path)
        }

        /// Captures; the layer and what was made.
        fn capture(&self, before: &Manifest, until_frozen: impl Fn()) -> (PathBuf, Made) {
            let number = self.count.replace(self.count.get() + 1);
            let layer = self.dir.path().join(format!("layer-{number}"));
            let copies = self.dir.path().join(format!("copies-{number}"));
            fs::create_dir(&layer).unwrap();
            fs::create_dir(&copies).unwrap();
            let source = Source {
                upper: &self.upper(""),
                before,
                layer: &layer,
                copies: &copies,
            };
            let busy = Busy {
                until_frozen,
                frozen: Cell::new(false),
            };
            let made = capture(&source, Some(&busy), true).unwrap();
            assert!(!busy.frozen.get() && made.pause.is_some());
            (layer, made)
        }
    }

    /// The paths of a tree, whiteouts with a mark.
    fn paths(tree: &Path) -> Vec<String> {
        let walked = walk(open_root(tree).unwrap().as_fd()).unwrap();
        let shown = walked[1..].iter().map(|entry| {
            let mark = match entry.kind() {
                super::super::entry::Kind::Whiteout => "-",
                _ => "",
            };
            format!("{mark}{}", entry.path.display())
        });
        shown.collect()
    }

    #[test]
    fn a_layer_is_what_is_new() {
        let place = Place::new();
        fs::create_dir(place.upper("d")).unwrap();
        fs::write(place.upper("d/one"), "1").unwrap();
        fs::write(place.upper("two"), "2").unwrap();
        fs::set_permissions(place.upper("two"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::hard_link(place.upper("two"), place.upper("d/two")).unwrap();
        symlink("nowhere", place.upper("link")).unwrap();
        let (layer, first) = place.capture(&Manifest::default(), || ());
        assert_eq!(paths(&layer), ["d", "d/one", "d/two", "link", "two"]);
        assert_eq!(first.bytes, 2);
        let (one, other) = (layer.join("two"), layer.join("d/two"));
        let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
        assert_eq!((one.mode() & 0o7777, one.ino()), (0o4711, other.ino()));
        let mtime = |path: &Path| path.metadata().unwrap().modified().unwrap();
        assert_eq!(mtime(&layer.join("d")), mtime(&place.upper("d")));

        let (layer, second) = place.capture(&first.manifest, || ());
        assert_eq!(paths(&layer), [""; 0]);
        assert_eq!(second.bytes, 0);

        fs::write(place.upper("d/one"), "more").unwrap();
        fs::remove_file(place.upper("link")).unwrap();
        let (layer, third) = place.capture(&second.manifest, || ());
        assert_eq!(paths(&layer), ["d", "d/one", "-link"]);
        assert_eq!(third.bytes, 4);
    }

    #[test]
    fn what_happens_until_the_freeze_is_in_the_layer() {
        let place = Place::new();
        for name in ["same", "changed", "removed", "replaced", "linked"] {
            fs::write(place.upper(name), "before").unwrap();
        }
        fs::create_dir(place.upper("folder")).unwrap();
        fs::write(place.upper("folder/file"), "before").unwrap();
        let (layer, made) = place.capture(&Manifest::default(), || {
            // As long as before, so that only the time tells.
            fs::write(place.upper("changed"), "after.").unwrap();
            fs::remove_file(place.upper("removed")).unwrap();
            fs::remove_file(place.upper("replaced")).unwrap();
            fs::create_dir(place.upper("replaced")).unwrap();
            fs::write(place.upper("replaced/new"), "new").unwrap();
            fs::rename(place.upper("folder"), place.upper("moved")).unwrap();
            fs::hard_link(place.upper("linked"), place.upper("link")).unwrap();
        });
        assert_eq!(
            paths(&layer),
            [
                "changed",
                "link",
                "linked",
                "moved",
                "moved/file",
                "replaced",
                "replaced/new",
                "same"
            ]
        );
        assert_eq!(fs::read_to_string(layer.join("changed")).unwrap(), "after.");
        let number = |name: &str| layer.join(name).metadata().unwrap().ino();
        assert_eq!(number("link"), number("linked"));
        let (layer, _) = place.capture(&made.manifest, || ());
        assert_eq!(paths(&layer), [""; 0]);
    }

    #[test]
    fn attributes_are_those_of_the_file() {
        let place = Place::new();
        fs::write(place.upper("program"), "p").unwrap();
        // CAP_NET_BIND_SERVICE, permitted and effective (linux/capability.h, `vfs_cap_data`).
        let mut capability = vec![1, 0, 0, 2, 0, 4];
        capability.resize(20, 0);
        xattr::set(place.upper("program"), "security.capability", &capability).unwrap();
        xattr::set(place.upper("program"), "trusted.overlay.origin", b"x").unwrap();
        std::os::unix::fs::chown(place.upper("program"), Some(7), Some(8)).unwrap();
        xattr::set(place.upper("program"), "security.capability", &capability).unwrap();
        let (layer, _) = place.capture(&Manifest::default(), || ());
        let program = layer.join("program");
        let kept = |name: &str| xattr::get(&program, name).unwrap();
        assert_eq!(kept("security.capability"), Some(capability));
        assert_eq!(kept("trusted.overlay.origin"), None);
        let metadata = program.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    }

    #[test]
    fn nothing_is_missed_where_the_clock_is_coarse() {
        let place = Place::new();
        fs::write(place.upper("file"), "0").unwrap();
        let mut before = Manifest::default();
        for round in 1..50 {
            let text = round.to_string();
            let (layer, made) = place.capture(&before, || {
                fs::write(place.upper("file"), &text).unwrap();
            });
            assert_eq!(fs::read_to_string(layer.join("file")).unwrap(), text);
            before = made.manifest;
        }
    }
}
