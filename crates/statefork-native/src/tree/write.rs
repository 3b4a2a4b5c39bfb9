//! Writing a layer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::content;
use super::entry::{
    Entry, Extended, Kind, OPAQUE, by_descriptor, extended, open_entry, open_root, set_attributes,
};

/// How many objects are made durable one by one; more are so by one flush of the file system.
const ONE_BY_ONE: usize = 24;

/// What has been read of an entry.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) entry: Entry,
    origin: usize,
    extended: Extended,
    content: Content,
}

#[derive(Debug)]
enum Content {
    None,
    /// A copy under a name of its own in the folder of copies.
    Copy(PathBuf),
    Target(PathBuf),
}

/// Reads entries of a tree, and keeps copies of their contents until they are put in place.
pub(super) struct Reader<'a> {
    tree: &'a OwnedFd,
    /// What tells its copies and inodes apart from those of other trees.
    origin: usize,
    /// Where the copies lie, on the file system of the layer.
    copies: &'a Path,
    count: usize,
}

impl<'a> Reader<'a> {
    /// Reads `tree`; of several that become one layer each has another `origin`.
    pub(super) fn new(tree: &'a OwnedFd, origin: usize, copies: &'a Path) -> Self {
        Self {
            tree,
            origin,
            copies,
            count: 0,
        }
    }

    /// What there is of an entry now; `None` where it has gone, or is another one by now.
    pub(super) fn read(&mut self, entry: &Entry) -> io::Result<Option<Held>> {
        match self.hold(entry) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                Ok(None)
            }
            held => held,
        }
    }

    fn hold(&mut self, entry: &Entry) -> io::Result<Option<Held>> {
        let found = open_entry(self.tree.as_fd(), &entry.path)?;
        let stat = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::from_raw_mode(entry.stamp.mode) {
            return Ok(None);
        }
        // Before the content: what changes afterwards has another stamp.
        let now = Entry::new(entry.path.clone(), &stat, entry.stamp.opaque);
        let extended = extended(&found)?;
        let content = match now.kind() {
            Kind::File => {
                let source = File::open(by_descriptor(found.as_fd()))?;
                self.count += 1;
                let copy = self.copies.join(format!("{}-{}", self.origin, self.count));
                let target = File::create(&copy)?;
                content::copy(source.as_fd(), &target, now.stamp.size)?;
                Content::Copy(copy)
            }
            Kind::Link => {
                let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                Content::Target(PathBuf::from(OsString::from_vec(target.into_bytes())))
            }
            Kind::Folder | Kind::Whiteout | Kind::Node => Content::None,
        };
        Ok(Some(Held {
            entry: now,
            origin: self.origin,
            extended,
            content,
        }))
    }
}

/// A layer that is being written.
pub(super) struct Writer {
    root: OwnedFd,
    path: PathBuf,
    /// Where a file lies whose further names are links.
    names: HashMap<(usize, u64), PathBuf>,
    /// Folders get their attributes at the end, since whatever is put into them moves their time.
    folders: Vec<(Entry, Extended)>,
    /// Files and folders that were made.
    made: Vec<PathBuf>,
    bytes: u64,
}

impl Writer {
    /// A layer in the empty folder `path`.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: open_root(path)?,
            path: path.to_owned(),
            names: HashMap::new(),
            folders: Vec::new(),
            made: Vec::new(),
            bytes: 0,
        })
    }

    /// Puts an entry in place; the folder that it lies in is there.
    pub(super) fn put(&mut self, held: Held, opaque: bool) -> io::Result<()> {
        let Held {
            entry,
            origin,
            extended,
            content,
        } = held;
        let path = entry.path.clone();
        let (root, attributes) = (self.root.as_fd(), entry.attributes);
        let mode = entry.stamp.mode;
        match (entry.kind(), content) {
            (Kind::Folder, _) => {
                if !path.as_os_str().is_empty() {
                    rustix::fs::mkdirat(root, &path, Mode::RWXU)?;
                }
                if opaque {
                    let folder = open_entry(root, &path)?;
                    xattr::set_deref(by_descriptor(folder.as_fd()), OPAQUE, b"y")?;
                }
                self.made.push(path);
                self.folders.push((entry, extended));
                return Ok(());
            }
            (Kind::File, Content::Copy(copy)) => {
                let key = (origin, entry.stamp.inode);
                if attributes.links > 1
                    && let Some(first) = self.names.get(&key)
                {
                    rustix::fs::linkat(root, first, root, &path, AtFlags::empty())?;
                    std::fs::remove_file(copy)?;
                    return Ok(());
                }
                std::fs::rename(copy, self.path.join(&path))?;
                set_attributes(root, &path, mode, &attributes, &extended)?;
                self.bytes += entry.bytes();
                if attributes.links > 1 {
                    self.names.insert(key, path.clone());
                }
            }
            (Kind::Link, Content::Target(target)) => {
                rustix::fs::symlinkat(&target, root, &path)?;
                set_attributes(root, &path, mode, &attributes, &extended)?;
            }
            (Kind::Whiteout, _) => self.whiteout(&path)?,
            (Kind::Node, _) => {
                let kind = FileType::from_raw_mode(mode);
                let bits = Mode::from_raw_mode(mode & 0o7777);
                rustix::fs::mknodat(root, &path, kind, bits, attributes.device)?;
                set_attributes(root, &path, mode, &attributes, &extended)?;
            }
            (kind, content) => {
                return Err(io::Error::other(format!("{kind:?} with {content:?}")));
            }
        }
        self.made.push(path);
        Ok(())
    }

    /// Deletes what is below at this path.
    pub(super) fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(self.root.as_fd(), path, kind, Mode::empty(), 0)?;
        Ok(())
    }

    /// Finishes the layer and makes it durable. Bytes of its files' contents.
    pub(super) fn finish(self) -> io::Result<u64> {
        for (entry, extended) in self.folders.iter().rev() {
            let (path, mode) = (&entry.path, entry.stamp.mode);
            set_attributes(self.root.as_fd(), path, mode, &entry.attributes, extended)?;
        }
        if self.made.len() > ONE_BY_ONE {
            rustix::fs::syncfs(&self.root)?;
            return Ok(self.bytes);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for path in &self.made {
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            // Links, devices and fifos are in their folder's data.
            let stat = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if matches!(kind, FileType::RegularFile | FileType::Directory) {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let opened = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?;
                rustix::fs::fsync(opened)?;
            }
        }
        Ok(self.bytes)
    }
}

/// Makes the entries of a folder durable, such as a layer's own name.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
