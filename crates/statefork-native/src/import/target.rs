//! The folder that is unpacked into: nothing outside it is ever touched.
//!
//! Every folder on the way to an entry is opened from the target's own descriptor, by the kernel
//! told to follow no link and never to leave (openat2(2), `RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS`, `RESOLVE_NO_MAGICLINKS`, `RESOLVE_NO_XDEV`); the entry itself is then
//! made, replaced and described by its one name in that folder, never through a link. A device or a
//! pipe is never opened.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::ops::Bound;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::attributes::{describe, owner, settable, timestamps};
use super::error::{ImportError, Refusal, shown};
use super::member::Attributes;
use super::path;

/// The attribute of a folder that hides what lower layers have in it (Linux, "Overlay Filesystem").
const OPAQUE: &str = "trusted.overlay.opaque";
/// The permissions of a folder that is above an entry and has none itself.
const IMPLIED_MODE: u32 = 0o755;
/// How every folder is opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// How every path is resolved.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Folder,
    /// What stands for a deletion: a character device 0:0.
    Whiteout,
    Other,
}

/// The target.
pub(super) struct Target {
    root: OwnedFd,
    /// The folder in which the last entry was made: the next one mostly is there too.
    last: (Vec<u8>, OwnedFd),
    /// When folders were changed, which is set at the end: making entries changes it.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Folders made because something was to be made in them.
    implied: u64,
}

impl Target {
    /// The empty folder `root`; it may be a descriptor that is a place only (`O_PATH`).
    pub(super) fn new(root: BorrowedFd<'_>) -> Result<Self, ImportError> {
        let open = || rustix::fs::openat(root, c".", FOLDER, Mode::empty());
        let opened = open().and_then(|root| Ok((root, open()?)));
        let (root, last) = opened.map_err(|errno| ImportError::writing(b"", errno))?;
        Ok(Self {
            root,
            last: (Vec::new(), last),
            times: BTreeMap::new(),
            implied: 0,
        })
    }

    /// How many folders were made because something was to be made in them.
    pub(super) fn implied(&self) -> u64 {
        self.implied
    }

    /// Device and number of the folder itself.
    pub(super) fn identity(&self) -> Result<(u64, u64), ImportError> {
        let stat = rustix::fs::fstat(&self.root);
        let stat = stat.map_err(|errno| ImportError::writing(b"", errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The folder `path`, a plain path; it is made where there is none, and so are those above it.
    /// What else lies in the way is refused: it is never followed and never replaced.
    fn folder(&mut self, path: &[u8], entry: &[u8]) -> Result<BorrowedFd<'_>, ImportError> {
        if self.last.0 != path {
            self.last = (path.to_owned(), self.open(path, entry)?);
        }
        Ok(self.last.1.as_fd())
    }

    fn open(&mut self, path: &[u8], entry: &[u8]) -> Result<OwnedFd, ImportError> {
        let failed = |errno| ImportError::writing(entry, errno);
        let whole = if path.is_empty() { b"." } else { path };
        match rustix::fs::openat2(&self.root, whole, FOLDER, Mode::empty(), BENEATH) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            opened => return opened.map_err(failed),
        }
        let mut folder = rustix::fs::openat(&self.root, c".", FOLDER, Mode::empty());
        for (at, name) in parts(path) {
            let above = folder.map_err(failed)?;
            folder = rustix::fs::openat2(&above, name, FOLDER, Mode::empty(), BENEATH);
            if !matches!(folder, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) {
                continue;
            }
            match found(&above, name).map_err(failed)? {
                Found::Nothing => make_folder(&above, name, false).map_err(failed)?,
                // What lower layers have there was deleted.
                Found::Whiteout => {
                    rustix::fs::unlinkat(&above, name, AtFlags::empty()).map_err(failed)?;
                    make_folder(&above, name, true).map_err(failed)?;
                }
                Found::Folder | Found::Other => {
                    let refusal = Refusal::NoFolder(shown(&path[..at]));
                    return Err(ImportError::refused(entry, refusal));
                }
            }
            self.implied += 1;
            folder = rustix::fs::openat2(&above, name, FOLDER, Mode::empty(), BENEATH);
        }
        folder.map_err(failed)
    }

    /// Makes the folder `path`, or describes the one that is there. Whatever else an earlier entry
    /// made there goes, and the folder then hides what lower layers have in it, as that did.
    pub(super) fn put_folder(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
    ) -> Result<(), ImportError> {
        let failed = |errno| ImportError::writing(path, errno);
        if let Some((parent, name)) = path::split(path) {
            let parent = self.folder(parent, path)?;
            match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                Err(Errno::EXIST) if found(parent, name).map_err(failed)? == Found::Folder => {}
                Err(Errno::EXIST) => {
                    rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
                    make_folder(parent, name, true).map_err(failed)?;
                }
                made => made.map_err(failed)?,
            }
        }
        let folder = self.open(path, path)?;
        describe(&folder, path, attributes)?;
        self.times.insert(path.to_owned(), attributes.time);
        Ok(())
    }

    /// Has the folder `path` hide what lower layers have in it.
    pub(super) fn hide_lower(&mut self, path: &[u8], entry: &[u8]) -> Result<(), ImportError> {
        let folder = self.folder(path, entry)?;
        let set = rustix::fs::fsetxattr(folder, OPAQUE, b"y", XattrFlags::empty());
        set.map_err(|errno| ImportError::writing(entry, errno))
    }

    /// Deletes what lower layers have at `path`: where this one has nothing, a device 0:0 says so;
    /// a folder of this one hides them; anything else is in their place anyway.
    pub(super) fn delete_lower(&mut self, path: &[u8], entry: &[u8]) -> Result<(), ImportError> {
        let failed = |errno| ImportError::writing(entry, errno);
        let Some((parent, name)) = path::split(path) else {
            return Err(ImportError::refused(entry, Refusal::Whiteout));
        };
        let folder = self.folder(parent, entry)?;
        let device = FileType::CharacterDevice;
        match rustix::fs::mknodat(folder, name, device, Mode::empty(), 0) {
            Err(Errno::EXIST) if found(folder, name).map_err(failed)? == Found::Folder => {
                self.hide_lower(path, entry)
            }
            Err(Errno::EXIST) => Ok(()),
            made => made.map_err(failed),
        }
    }

    /// Makes a file and has `fill` write its content; `fill` gets it empty.
    pub(super) fn put_file(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        fill: impl FnOnce(&File) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = self.put(path, |folder, name| {
            rustix::fs::openat(folder, name, flags, mode)
        })?;
        let file = File::from(file);
        fill(&file)?;
        let file = OwnedFd::from(file);
        describe(&file, path, attributes)?;
        let set = rustix::fs::futimens(&file, &timestamps(attributes.time));
        set.map_err(|errno| ImportError::writing(path, errno))
    }

    /// Makes a symbolic link.
    pub(super) fn put_symlink(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        to: &[u8],
    ) -> Result<(), ImportError> {
        self.put(path, |folder, name| rustix::fs::symlinkat(to, folder, name))?;
        self.describe_unopened(path, attributes, false)
    }

    /// Makes a device, or with `FileType::Fifo` a pipe.
    pub(super) fn put_node(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), ImportError> {
        let device = rustix::fs::makedev(major, minor);
        if kind == FileType::CharacterDevice && device == 0 {
            return Err(ImportError::refused(path, Refusal::Deletes));
        }
        self.put(path, |folder, name| {
            rustix::fs::mknodat(folder, name, kind, Mode::empty(), device)
        })?;
        self.describe_unopened(path, attributes, true)
    }

    /// Makes a further name of what an earlier entry made at `to`, a plain path.
    pub(super) fn put_hard_link(&mut self, path: &[u8], to: &[u8]) -> Result<(), ImportError> {
        let failed = |errno| ImportError::writing(path, errno);
        let refused = || ImportError::refused(path, Refusal::HardLink(shown(to)));
        let Some((parent, to_name)) = path::split(to).filter(|_| path != to) else {
            return Err(refused());
        };
        let whole = if parent.is_empty() { b"." } else { parent };
        let from = match rustix::fs::openat2(&self.root, whole, FOLDER, Mode::empty(), BENEATH) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(refused()),
            opened => opened.map_err(failed)?,
        };
        if found(&from, to_name).map_err(failed)? != Found::Other {
            return Err(refused());
        }
        self.put(path, |folder, name| {
            rustix::fs::linkat(&from, to_name, folder, name, AtFlags::empty())
        })
    }

    /// Has `make` make something at `path`, in place of whatever an earlier entry made there. `make`
    /// fails with `EXIST` where there is something.
    fn put<T>(
        &mut self,
        path: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, ImportError> {
        let failed = |errno| ImportError::writing(path, errno);
        let Some((parent, name)) = path::split(path) else {
            return Err(ImportError::refused(path, Refusal::Root));
        };
        let folder = self.folder(parent, path)?;
        match make(folder, name) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(failed),
        }
        if found(folder, name).map_err(failed)? == Found::Folder {
            let tree = through_descriptor(folder, name);
            let removed = std::fs::remove_dir_all(tree);
            removed.map_err(|error| ImportError::writing(path, error))?;
            self.forget(path);
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(failed)?;
        }
        let folder = self.folder(parent, path)?;
        make(folder, name).map_err(failed)
    }

    /// Forgets the times of a folder that is gone, and of those that were in it.
    fn forget(&mut self, path: &[u8]) {
        self.times.remove(path);
        let within = [path, b"/"].concat();
        let after = (Bound::Included(within.clone()), Bound::Unbounded);
        let gone = self.times.range::<Vec<u8>, _>(after);
        let gone = gone.take_while(|(path, _)| path.starts_with(&within));
        let gone: Vec<_> = gone.map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.times.remove(&path);
        }
    }

    /// Describes what was just made at `path` and cannot be opened.
    fn describe_unopened(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        has_mode: bool,
    ) -> Result<(), ImportError> {
        let failed = |errno| ImportError::writing(path, errno);
        // `put` has refused the root.
        let Some((parent, name)) = path::split(path) else {
            return Ok(());
        };
        let folder = self.folder(parent, path)?;
        let (user, group) = owner(attributes);
        let unfollowed = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(folder, name, user, group, unfollowed).map_err(failed)?;
        if has_mode {
            let mode = Mode::from_raw_mode(attributes.mode);
            rustix::fs::chmodat(folder, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let place = through_descriptor(folder, name);
        for (key, value) in settable(path, attributes)? {
            let set = rustix::fs::lsetxattr(&place, &key[..], value, XattrFlags::empty());
            set.map_err(failed)?;
        }
        let times = timestamps(attributes.time);
        rustix::fs::utimensat(folder, name, &times, unfollowed).map_err(failed)
    }

    /// Sets when the folders were changed; nothing can be made after that.
    pub(super) fn finish(self) -> Result<(), ImportError> {
        for (path, time) in &self.times {
            let failed = |errno| ImportError::writing(path, errno);
            let whole = if path.is_empty() { b"." } else { &path[..] };
            let folder = rustix::fs::openat2(&self.root, whole, FOLDER, Mode::empty(), BENEATH);
            let folder = folder.map_err(failed)?;
            rustix::fs::futimens(&folder, &timestamps(*time)).map_err(failed)?;
        }
        Ok(())
    }
}

/// The names on a plain path, each with where it ends.
fn parts(path: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut end = 0;
    let parts = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    parts.map(move |name| {
        end += name.len() + usize::from(end > 0);
        (end, name)
    })
}

/// What is at a place; a link is not followed.
fn found(folder: impl AsFd, name: &[u8]) -> rustix::io::Result<Found> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        stat => stat?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Folder,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    })
}

/// Makes a folder as one is that has no entry.
fn make_folder(above: impl AsFd, name: &[u8], opaque: bool) -> rustix::io::Result<()> {
    let above = above.as_fd();
    rustix::fs::mkdirat(above, name, Mode::RWXU)?;
    let folder = rustix::fs::openat2(above, name, FOLDER, Mode::empty(), BENEATH)?;
    rustix::fs::fchown(&folder, Some(Uid::ROOT), Some(Gid::ROOT))?;
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(IMPLIED_MODE))?;
    if opaque {
        rustix::fs::fsetxattr(&folder, OPAQUE, b"y", XattrFlags::empty())?;
    }
    Ok(())
}

/// A path to `name` in an open folder, for calls that take no descriptor.
fn through_descriptor(folder: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let folder = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    folder.join(OsStr::from_bytes(name))
}
