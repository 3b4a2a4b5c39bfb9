//! Unpacking a tar stream in a folder of a container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use statefork_runtime::{Result, RuntimeError};
use tar::{Archive, Entry, EntryType, Header};
use tokio::sync::mpsc::Receiver;

use super::{IN, at_path};
use crate::storage::system;

/// Links on the way are followed as long as they stay in the folder.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Unpacks what `pieces` bring in `folder`, which the container knows as `shown`.
pub(super) fn unpack(
    folder: &OwnedFd,
    shown: &Path,
    pieces: Receiver<io::Result<Bytes>>,
) -> Result<()> {
    let mut archive = Archive::new(Pieces {
        pieces,
        piece: Bytes::new(),
    });
    let no_archive = |error: io::Error| RuntimeError::Invalid {
        what: "what was to be unpacked".into(),
        reason: format!("it is no whole tar archive: {error}"),
    };
    let mut unpacker = Unpacker {
        folder,
        shown,
        folders: Vec::new(),
    };
    for entry in archive.entries().map_err(no_archive)? {
        let entry = entry.map_err(no_archive)?;
        unpacker.entry(entry)?;
    }
    unpacker.finish()
}

/// Reads what comes piece by piece.
struct Pieces {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

struct Unpacker<'a> {
    folder: &'a OwnedFd,
    shown: &'a Path,
    /// Folders get their attributes at the end.
    folders: Vec<(PathBuf, Header)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, mut entry: Entry<'_, Pieces>) -> Result<()> {
        let header = entry.header().clone();
        let kind = header.entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = self.plain(&entry.path_bytes())?;
        let link = entry.link_name_bytes().map(|link| link.into_owned());
        if path.as_os_str().is_empty() {
            self.folders.push((path, header));
            return Ok(());
        }
        let failed = |errno: Errno| at_path(IN, &self.shown.join(&path), errno);
        let (parent, name) = self.parent(&path)?;
        let there = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
        let there = match there {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(errno)),
        };
        if kind.is_dir() {
            if there.is_some_and(|there| there != FileType::Directory) {
                rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(failed)?;
            }
            if there != Some(FileType::Directory) {
                rustix::fs::mkdirat(&parent, &name, Mode::RWXU).map_err(failed)?;
            }
            self.folders.push((path, header));
            return Ok(());
        }
        match there {
            Some(FileType::Directory) => return Err(failed(Errno::ISDIR)),
            Some(_) => rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(failed)?,
            None => {}
        }
        let mode = Mode::RUSR | Mode::WUSR;
        match kind {
            EntryType::Symlink => {
                let target = link.unwrap_or_default();
                rustix::fs::symlinkat(target.as_slice(), &parent, &name).map_err(failed)?;
            }
            EntryType::Link => {
                let target = self.plain(&link.unwrap_or_default())?;
                let (from, target) = self.parent(&target)?;
                rustix::fs::linkat(&from, &target, &parent, &name, AtFlags::empty())
                    .map_err(failed)?;
                return Ok(());
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
                let device = rustix::fs::makedev(
                    number(header.device_major()),
                    number(header.device_minor()),
                );
                let kind = match kind {
                    EntryType::Fifo => FileType::Fifo,
                    EntryType::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                rustix::fs::mknodat(&parent, &name, kind, mode, device).map_err(failed)?;
            }
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, &name, flags, mode).map_err(failed)?;
                io::copy(&mut entry, &mut File::from(file))
                    .map_err(|error| self.content(&path, error))?;
            }
        }
        set_attributes(&parent, Path::new(&name), &header).map_err(failed)
    }

    /// What the content of an entry could not be written for: the archive ends too early, or the system.
    fn content(&self, path: &Path, error: io::Error) -> RuntimeError {
        match error.raw_os_error() {
            Some(_) => system(IN, error),
            None => RuntimeError::Invalid {
                what: format!("the archive's {}", self.shown.join(path).display()),
                reason: error.to_string(),
            },
        }
    }

    /// The path of an entry below the folder. Errors: `Invalid` for one that leads out of it.
    fn plain(&self, path: &[u8]) -> Result<PathBuf> {
        use std::os::unix::ffi::OsStrExt;

        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => plain.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(RuntimeError::Invalid {
                        what: format!("the archive's {}", path.display()),
                        reason: "there is .. in it".into(),
                    });
                }
            }
        }
        Ok(plain)
    }

    /// The folder of an entry, made where it does not exist, and the entry's name in it.
    fn parent(&self, path: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        let failed = |errno: Errno| at_path(IN, &self.shown.join(path), errno);
        let name = path.file_name().ok_or_else(|| failed(Errno::NOENT))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut made = PathBuf::new();
        for part in parent.components() {
            made.push(part);
            match rustix::fs::mkdirat(self.folder, &made, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            self.open(&made).map_err(failed)?;
        }
        Ok((self.open(parent).map_err(failed)?, name.to_owned()))
    }

    fn open(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::fs::openat2(self.folder, path, FOLDER, Mode::empty(), WITHIN)
    }

    fn finish(self) -> Result<()> {
        for (path, header) in self.folders.iter().rev() {
            let failed = |errno: Errno| at_path(IN, &self.shown.join(path), errno);
            let folder = self.open(path).map_err(failed)?;
            set_attributes(&folder, Path::new("."), header).map_err(failed)?;
        }
        Ok(())
    }
}

fn set_attributes(folder: &OwnedFd, name: &Path, header: &Header) -> rustix::io::Result<()> {
    let id = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    let owner = Uid::from_raw(id(header.uid()));
    let group = Gid::from_raw(id(header.gid()));
    let here = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(folder, name, Some(owner), Some(group), here)?;
    if !header.entry_type().is_symlink() {
        let mode = Mode::from_raw_mode(header.mode().unwrap_or(0o644) & 0o7777);
        rustix::fs::chmodat(folder, name, mode, AtFlags::empty())?;
    }
    let seconds = header
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok());
    let time = Timespec {
        tv_sec: seconds.unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(folder, name, &times, here)
}
