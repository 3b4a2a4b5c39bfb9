//! An entry of a tree, and the walk over all of them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps,
};

/// The attribute that makes a folder opaque.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";
/// Attributes with which overlayfs keeps its own books; they mean nothing in another tree.
const OVERLAY: &str = "trusted.overlay.";

/// What tells whether an entry is still the one that it was: each change of content or attributes
/// moves the time, and whatever takes its place has another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    /// Nanoseconds since 1970.
    pub(super) ctime: i64,
    pub(super) size: u64,
    /// Type and permission bits (inode(7)).
    pub(super) mode: u32,
    /// Whether it is a folder that hides what lies below.
    pub(super) opaque: bool,
}

/// An entry of a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Relative to the root of the tree; empty for the root itself.
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    pub(super) attributes: Attributes,
}

/// What an entry has besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Time of the last change of the content: seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    /// Number of the device, where it is one.
    pub(super) device: u64,
    pub(super) links: u64,
    /// What it takes on the disk, in bytes.
    pub(super) stored: u64,
}

/// Extended attributes: names and values.
pub(super) type Extended = Vec<(OsString, Vec<u8>)>;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Link,
    Whiteout,
    /// A device, a fifo or a socket.
    Node,
}

impl Entry {
    pub(super) fn new(path: PathBuf, stat: &Stat, opaque: bool) -> Self {
        Self {
            path,
            stamp: Stamp {
                inode: stat.st_ino,
                ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mode: stat.st_mode,
                opaque,
            },
            attributes: Attributes {
                uid: stat.st_uid,
                gid: stat.st_gid,
                mtime: (
                    stat.st_mtime,
                    i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
                ),
                device: stat.st_rdev,
                links: stat.st_nlink,
                stored: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            },
        }
    }

    pub(super) fn kind(&self) -> Kind {
        kind(self.stamp.mode, self.attributes.device)
    }

    /// Bytes that its content counts for.
    pub(super) fn bytes(&self) -> u64 {
        match self.kind() {
            Kind::File => self.stamp.size.min(self.attributes.stored),
            _ => 0,
        }
    }
}

pub(super) fn kind(mode: u32, device: u64) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        FileType::CharacterDevice if device == 0 => Kind::Whiteout,
        _ => Kind::Node,
    }
}

fn nanoseconds(seconds: i64, rest: impl TryInto<i64>) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(rest.try_into().unwrap_or(0))
}

/// Opens the root of a tree.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A descriptor of an entry that names it only; no link is followed on the way or at the end.
pub(super) fn open_entry(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// A folder of a tree, to be read; no link is followed on the way or at the end.
pub(super) fn open_folder(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        FOLDER,
        Mode::empty(),
        resolve,
    )?)
}

/// The path by which the kernel gives what a descriptor names, for calls that take paths only.
pub(super) fn by_descriptor(entry: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", entry.as_raw_fd()))
}

/// Extended attributes of an entry, without those of overlayfs.
pub(super) fn extended(entry: &OwnedFd) -> io::Result<Extended> {
    let path = by_descriptor(entry.as_fd());
    let names = match xattr::list_deref(&path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names {
        if name.as_bytes().starts_with(OVERLAY.as_bytes()) {
            continue;
        }
        // One that goes meanwhile is none; its entry is looked at again.
        if let Some(value) = xattr::get_deref(&path, &name)? {
            attributes.push((name, value));
        }
    }
    Ok(attributes)
}

/// Whether a folder hides what lies below.
pub(super) fn is_opaque(folder: BorrowedFd<'_>) -> io::Result<bool> {
    let value = xattr::get_deref(by_descriptor(folder), OPAQUE)?;
    Ok(value.as_deref() == Some(b"y"))
}

/// All entries of a tree, the root first, each folder before what it holds, the names of a folder in
/// order. What goes while it is walked is left out.
pub(super) fn walk(root: BorrowedFd<'_>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let stat = rustix::fs::fstat(root)?;
    entries.push(Entry::new(PathBuf::new(), &stat, is_opaque(root)?));
    let own = rustix::fs::openat(root, ".", FOLDER, Mode::empty())?;
    descend(&own, &PathBuf::new(), &mut entries)?;
    Ok(entries)
}

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn descend(folder: &OwnedFd, path: &Path, entries: &mut Vec<Entry>) -> io::Result<()> {
    for name in names(folder)? {
        let stat = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let path = path.join(&name);
        if kind(stat.st_mode, stat.st_rdev) != Kind::Folder {
            entries.push(Entry::new(path, &stat, false));
            continue;
        }
        // It may have become something else, or gone; it then counts as changed or gone later.
        let Ok(inner) = rustix::fs::openat(folder, &name, FOLDER, Mode::empty()) else {
            continue;
        };
        let stat = rustix::fs::fstat(&inner)?;
        entries.push(Entry::new(path.clone(), &stat, is_opaque(inner.as_fd())?));
        descend(&inner, &path, entries)?;
    }
    Ok(())
}

/// The names in a folder, in order.
pub(super) fn names(folder: &OwnedFd) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Sets owner, mode, extended attributes and time of what was written at `path`, in this order, since
/// a change of the owner clears what comes after.
pub(super) fn set_attributes(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: u32,
    attributes: &Attributes,
    extended: &[(OsString, Vec<u8>)],
) -> io::Result<()> {
    let entry = open_entry(root, path)?;
    let name = by_descriptor(entry.as_fd());
    let owner = rustix::fs::Uid::from_raw(attributes.uid);
    let group = rustix::fs::Gid::from_raw(attributes.gid);
    rustix::fs::chownat(CWD, &name, Some(owner), Some(group), AtFlags::empty())?;
    if FileType::from_raw_mode(mode) != FileType::Symlink {
        rustix::fs::chmodat(
            CWD,
            &name,
            Mode::from_raw_mode(mode & 0o7777),
            AtFlags::empty(),
        )?;
    }
    for (attribute, value) in extended {
        xattr::set_deref(&name, attribute, value)?;
    }
    let (tv_sec, tv_nsec) = attributes.mtime;
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, &name, &times, AtFlags::empty())?;
    Ok(())
}

/// Makes an empty writable layer in `upper`, whose root looks like that of the layer below.
pub(crate) fn prepare_upper(upper: &Path, below: &Path) -> io::Result<()> {
    std::fs::create_dir(upper)?;
    let below = open_root(below)?;
    let stat = rustix::fs::fstat(&below)?;
    let entry = Entry::new(PathBuf::new(), &stat, false);
    let extended = extended(&below)?;
    let upper = open_root(upper)?;
    set_attributes(
        upper.as_fd(),
        Path::new(""),
        entry.stamp.mode,
        &entry.attributes,
        &extended,
    )
}
