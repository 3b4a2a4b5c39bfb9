//! How a writable layer differs from the layers below.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use statefork_runtime::{Change, ChangeKind};

use super::entry::{Kind, is_opaque, kind, names, open_folder, open_root, walk};

/// What differs, sorted by path. `below` are the layers below, the uppermost first.
pub(crate) fn changes(upper: &Path, below: &[PathBuf]) -> io::Result<Vec<Change>> {
    let below = below
        .iter()
        .map(|layer| open_root(layer))
        .collect::<io::Result<Vec<_>>>()?;
    let upper = open_root(upper)?;
    let mut changes = Vec::new();
    let change = |path: &Path, kind| Change {
        path: Path::new("/").join(path),
        kind,
    };
    for entry in &walk(upper.as_fd())?[1..] {
        let was_there = is_there(&below, &entry.path)?;
        match entry.kind() {
            Kind::Whiteout if was_there => changes.push(change(&entry.path, ChangeKind::Deleted)),
            Kind::Whiteout => {}
            _ if was_there => changes.push(change(&entry.path, ChangeKind::Modified)),
            _ => changes.push(change(&entry.path, ChangeKind::Added)),
        }
        if entry.stamp.opaque {
            // It hides what was in the folder whose place it has taken.
            let now = names(&open_folder(&upper, &entry.path)?)?;
            for name in names_below(&below, &entry.path)?.difference(&now) {
                changes.push(change(&entry.path.join(name), ChangeKind::Deleted));
            }
        }
    }
    changes.sort();
    Ok(changes)
}

/// What one layer says of a path.
enum Says {
    /// It has something there.
    Has(Kind),
    /// It hides whatever lower layers have there.
    Hides,
    /// Nothing: lower layers decide.
    Nothing,
}

fn asked(layer: &OwnedFd, path: &Path) -> io::Result<Says> {
    let mut folder = open_folder(layer, Path::new(""))?;
    let mut hides = is_opaque(folder.as_fd())?;
    let parts: Vec<_> = path.components().collect();
    for (place, part) in parts.iter().enumerate() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let stat = match rustix::fs::statat(&folder, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if hides => return Ok(Says::Hides),
            Err(Errno::NOENT) => return Ok(Says::Nothing),
            Err(error) => return Err(error.into()),
        };
        let kind = kind(stat.st_mode, stat.st_rdev);
        if kind == Kind::Whiteout {
            return Ok(Says::Hides);
        }
        if place + 1 == parts.len() {
            return Ok(Says::Has(kind));
        }
        if kind != Kind::Folder {
            return Ok(Says::Hides);
        }
        folder = open_folder(&folder, Path::new(name))?;
        hides |= is_opaque(folder.as_fd())?;
    }
    Ok(Says::Has(Kind::Folder))
}

/// Whether these layers, the uppermost first, have something at a path.
pub(super) fn is_there(layers: &[OwnedFd], path: &Path) -> io::Result<bool> {
    for layer in layers {
        match asked(layer, path)? {
            Says::Has(_) => return Ok(true),
            Says::Hides => return Ok(false),
            Says::Nothing => {}
        }
    }
    Ok(false)
}

/// The names that these layers, the uppermost first, have in a folder.
fn names_below(layers: &[OwnedFd], path: &Path) -> io::Result<BTreeSet<OsString>> {
    let (mut there, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for layer in layers {
        match asked(layer, path)? {
            Says::Has(Kind::Folder) => {}
            Says::Has(_) | Says::Hides => break,
            Says::Nothing => continue,
        }
        let folder = open_folder(layer, path)?;
        for name in names(&folder)? {
            let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if kind(stat.st_mode, stat.st_rdev) == Kind::Whiteout {
                gone.insert(name);
            } else if !gone.contains(&name) {
                there.insert(name);
            }
        }
        if is_opaque(folder.as_fd())? {
            break;
        }
    }
    Ok(there)
}
