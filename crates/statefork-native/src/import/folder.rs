//! A root file system that is a folder, copied.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::bounds::{Bounds, hex};
use super::content;
use super::error::{Bound, ImportError, Refusal, shown};
use super::member::{Attributes, Extended};
use super::path::{join, plain};
use super::sparse::{Map, Part};
use super::target::Target;
use super::unpack::{Unpacked, WHITEOUT};

/// Bytes of the longest list of attributes, and of the longest attribute (xattr(7)).
const XATTR_BYTES: usize = 64 * 1024;
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Copies the folder `source` with all that is in it into the empty folder `target`: owners,
/// permissions, times, extended attributes, hard links, devices, pipes and holes as they are,
/// sockets left out. Of what is mounted in it only the empty folders are taken. Nothing is synced.
///
/// [`Unpacked::digest`] is one of paths, attributes and content, in a form of our own; the same
/// tree with the same holes gives the same.
///
/// Nobody should write in `source` meanwhile: a file that then shrinks is an error.
///
/// Errors: `Read`, `Malformed`, `Refused` (also for a file that is named as a deletion is, and if
/// `target` lies in `source`), `OutOfBounds`, `StorageFull`, `Write`.
pub(crate) fn root_from_folder(
    source: &Path,
    target: BorrowedFd<'_>,
    bounds: &Bounds,
) -> Result<Unpacked, ImportError> {
    let flags = FOLDER.difference(OFlags::NOFOLLOW);
    let what = source.display().to_string();
    let reading = |errno: Errno| ImportError::reading(&what, errno.into());
    let root = rustix::fs::open(source, flags, Mode::empty()).map_err(reading)?;
    let stat = rustix::fs::fstat(&root).map_err(reading)?;
    let target = Target::new(target)?;
    let mut copying = Copying {
        device: stat.st_dev,
        itself: target.identity()?,
        target,
        names: BTreeMap::new(),
        hash: Sha256::new(),
        bounds: *bounds,
        bytes: 0,
        entries: 0,
        buffer: vec![0; content::CHUNK],
        extended: vec![0; XATTR_BYTES],
    };
    copying.folder(&root, b"", &stat)?;
    copying.target.finish()?;
    Ok(Unpacked {
        bytes: copying.bytes,
        entries: copying.entries,
        digest: hex(copying.hash),
        hides_all: false,
    })
}

struct Copying {
    target: Target,
    /// The file system that is copied.
    device: u64,
    /// The target's device and number.
    itself: (u64, u64),
    /// The first name of each file that has several, by its device and number.
    names: BTreeMap<(u64, u64), Vec<u8>>,
    hash: Sha256,
    bounds: Bounds,
    bytes: u64,
    entries: u64,
    buffer: Vec<u8>,
    extended: Vec<u8>,
}

impl Copying {
    /// Copies a folder, and what is in it in the order of the names.
    fn folder(&mut self, folder: &OwnedFd, path: &[u8], stat: &Stat) -> Result<(), ImportError> {
        if (stat.st_dev, stat.st_ino) == self.itself {
            return Err(ImportError::refused(path, Refusal::Itself));
        }
        let attributes = self.attributes(folder, c".", path, stat)?;
        self.note(path, &attributes, "folder", &[]);
        self.target.put_folder(path, &attributes)?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        let reading = |errno: Errno| ImportError::reading(&shown(path), errno.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        for name in names {
            self.entry(folder, &name, &plain(&join(path, name.to_bytes()))?)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CStr, path: &[u8]) -> Result<(), ImportError> {
        let reading = |errno: Errno| ImportError::reading(&shown(path), errno.into());
        if name.to_bytes().starts_with(WHITEOUT) {
            return Err(ImportError::refused(path, Refusal::Deletes));
        }
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(reading)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        self.entries = self.bounds.one_more(self.entries)?;
        if kind == FileType::Directory {
            let opened = rustix::fs::openat(folder, name, FOLDER, Mode::empty());
            return self.folder(&opened.map_err(reading)?, path, &stat);
        }
        if stat.st_nlink > 1 {
            let file = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.names.get(&file) {
                let first = first.clone();
                self.note(path, &Attributes::default(), "link", &[&first]);
                return self.target.put_hard_link(path, &first);
            }
            self.names.insert(file, path.to_owned());
        }
        let attributes = self.attributes(folder, name, path, &stat)?;
        match kind {
            FileType::RegularFile => self.file(folder, name, path, &attributes),
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(reading)?;
                self.note(path, &attributes, "symlink", &[to.to_bytes()]);
                self.target.put_symlink(path, &attributes, to.to_bytes())
            }
            _ => {
                let device = match kind {
                    FileType::Fifo => (0, 0),
                    _ => (
                        rustix::fs::major(stat.st_rdev),
                        rustix::fs::minor(stat.st_rdev),
                    ),
                };
                let format = stat.st_mode & !0o7777;
                let number = format!("{format:o} {}:{}", device.0, device.1);
                self.note(path, &attributes, "node", &[number.as_bytes()]);
                self.target.put_node(path, &attributes, kind, device)
            }
        }
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        path: &[u8],
        attributes: &Attributes,
    ) -> Result<(), ImportError> {
        let what = shown(path);
        let reading = |error| ImportError::reading(&what, error);
        // Should a pipe have taken its place, nobody waits for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::empty());
        let file = File::from(file.map_err(|errno| reading(errno.into()))?);
        let map = map(&file).map_err(reading)?;
        self.note(path, attributes, "file", &[&map.size.to_le_bytes()]);
        let stored: u64 = map.parts.iter().map(|part| part.length).sum();
        self.bytes += stored;
        if self.bytes > self.bounds.bytes {
            return Err(ImportError::OutOfBounds(Bound::Bytes(self.bounds.bytes)));
        }
        let Self {
            target,
            hash,
            buffer,
            ..
        } = self;
        let mut parts = map.parts.iter();
        let (mut at, mut left) = (0, 0);
        let read = |buffer: &mut [u8]| {
            if left == 0
                && let Some(part) = parts.next()
            {
                (at, left) = (part.offset, part.length);
                hash.update(at.to_le_bytes());
            }
            let limit = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(limit);
            let read = std::os::unix::fs::FileExt::read_at(&file, &mut buffer[..wanted], at);
            let read = read.map_err(reading)?;
            if read == 0 {
                return Err(reading(io::ErrorKind::UnexpectedEof.into()));
            }
            hash.update(&buffer[..read]);
            at += read as u64;
            left -= read as u64;
            Ok(read)
        };
        let failed = |error| ImportError::writing(path, error);
        target.put_file(path, attributes, |file| {
            content::write(file, &map, buffer, read, failed)
        })
    }

    /// Adds to the digest: each text with its length before it, so that no two trees say the same.
    fn note(&mut self, path: &[u8], attributes: &Attributes, kind: &str, rest: &[&[u8]]) {
        let Attributes {
            user,
            group,
            mode,
            time: (seconds, nanos),
            extended,
        } = attributes;
        let numbers = format!(
            "{kind} {user} {group} {mode:o} {seconds} {nanos} {}",
            extended.len()
        );
        let extended = extended
            .iter()
            .flat_map(|(key, value)| [&key[..], &value[..]]);
        let rest = rest.iter().copied();
        for text in [path, numbers.as_bytes()]
            .into_iter()
            .chain(extended)
            .chain(rest)
        {
            self.hash.update((text.len() as u64).to_le_bytes());
            self.hash.update(text);
        }
    }

    fn attributes(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Attributes, ImportError> {
        let extended = self.extended(folder, name);
        let mut extended =
            extended.map_err(|errno| ImportError::reading(&shown(path), errno.into()))?;
        extended.sort_unstable();
        Ok(Attributes {
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            time: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            extended,
        })
    }

    /// The extended attributes of `name`, a link not followed.
    fn extended(&mut self, folder: &OwnedFd, name: &CStr) -> rustix::io::Result<Vec<Extended>> {
        let place = [
            format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).as_bytes(),
            name.to_bytes(),
        ]
        .concat();
        let length = match rustix::fs::llistxattr(&place[..], &mut self.extended[..]) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            length => length?,
        };
        let listed = self.extended[..length].to_vec();
        let mut extended = Vec::new();
        for name in listed
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let length = rustix::fs::lgetxattr(&place[..], name, &mut self.extended[..])?;
            extended.push((name.to_vec(), self.extended[..length].to_vec()));
        }
        Ok(extended)
    }
}

/// What of a file is not a hole.
fn map(file: &File) -> io::Result<Map> {
    let size = file.metadata()?.len();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            // There is none any more.
            Err(Errno::NXIO) => break,
            offset => offset?,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(offset))?.min(size);
        if end <= offset {
            break;
        }
        parts.push(Part {
            offset,
            length: end - offset,
        });
        at = end;
    }
    Ok(Map { size, parts })
}

#[cfg(test)]
mod tests;
