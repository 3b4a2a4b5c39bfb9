//! A layer, or a whole root file system, from a tar stream into a folder.

use std::io::{BufReader, Read};
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

use super::bounds::{Bounds, Counted, Metered};
use super::compression::Decoder;
use super::content;
use super::error::{ImportError, Refusal};
use super::member::{Kind, Member, Members, Source};
use super::path::{join, plain, split};
use super::target::Target;

/// The beginning of the name of an entry that deletes another (OCI image-spec 1.1, "Image Layer
/// Filesystem Changeset").
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The name of the entry that hides all that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The beginning of the names that aufs used for itself.
const RESERVED: &[u8] = b".wh..wh.";
/// Bytes that are decompressed at once, where not more are asked for.
const BUFFER: usize = 128 * 1024;
/// Bytes that a symbolic link may hold.
const SYMLINK_LIMIT: usize = 4095;

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of the files' content, holes that the archive describes left out.
    pub(crate) bytes: u64,
    /// Files, folders and everything else, folders that were only implied among them.
    pub(crate) entries: u64,
    /// SHA-256 of the uncompressed stream, 64 hex digits: a layer's `diff_id`.
    pub(crate) digest: String,
    /// Whether the layer hides all that lies below it. At the root of a layer overlayfs does not
    /// heed the mark for that: the layers below are to be left out instead.
    pub(crate) hides_all: bool,
}

/// Unpacks a layer, plain or compressed with gzip or zstd, into the empty folder `target`, as
/// overlayfs keeps it: a deletion is a character device 0:0, a folder that hides lower content has
/// the attribute `trusted.overlay.opaque`. A root file system as a plain tar is such a layer.
///
/// Owners by number, permissions with all bits, times (of links and folders too), extended
/// attributes (pax records `SCHILY.xattr.*`; those of SELinux and IMA are the machine's and left
/// out), hard links, devices and pipes are as the archive says. Where it has several entries for a
/// path, the last one counts. The attributes of `target` are those of the archive's entry for the
/// root, if there is one. A folder without an entry is root's, mode 0755. Zeros become holes.
/// Nothing is synced.
///
/// Whatever the archive says, nothing outside `target` is read, made or changed. Refused, with the
/// entry's path, are: a path with `..`, one below a link, a hard link to what the archive has not
/// (what a lower layer has included), a device 0:0, an attribute of overlayfs; a leading `/` is
/// left out. After an error `target` holds some of the entries; it can be removed as it is.
///
/// Errors: `Read`, `Malformed`, `Refused`, `OutOfBounds`, `StorageFull`, `Write`.
pub(crate) fn unpack(
    reader: impl Read,
    target: BorrowedFd<'_>,
    bounds: &Bounds,
) -> Result<Unpacked, ImportError> {
    let (counted, went_in) = Counted::new(reader);
    let metered = Metered::new(Decoder::new(counted)?, went_in, *bounds);
    let mut unpacking = Unpacking {
        members: Members::new(BufReader::with_capacity(BUFFER, metered)),
        target: Target::new(target)?,
        buffer: vec![0; content::CHUNK],
        bytes: 0,
        hides_all: false,
    };
    let mut entries = 0;
    while let Some(member) = unpacking.members.next()? {
        entries = bounds.one_more(entries)?;
        unpacking.put(&member)?;
        bounds.one_more(entries - 1 + unpacking.target.implied())?;
    }
    entries += unpacking.target.implied();
    unpacking.target.finish()?;
    let metered = unpacking.members.finish()?.into_inner();
    Ok(Unpacked {
        bytes: unpacking.bytes,
        entries,
        digest: metered.digest(),
        hides_all: unpacking.hides_all,
    })
}

impl<R: Read> Source for BufReader<R> {}

struct Unpacking<S> {
    members: Members<S>,
    target: Target,
    buffer: Vec<u8>,
    bytes: u64,
    hides_all: bool,
}

impl<S: Source> Unpacking<S> {
    fn put(&mut self, member: &Member) -> Result<(), ImportError> {
        let path = plain(&member.path)?;
        let Some((folder, name)) = split(&path) else {
            return match member.kind {
                Kind::Folder => self.target.put_folder(&path, &member.attributes),
                _ => Err(ImportError::refused(&path, Refusal::Root)),
            };
        };
        let mut above = folder.split(|&byte| byte == b'/');
        if let Some(mark) = above.find(|name| name.starts_with(WHITEOUT)) {
            return match mark.starts_with(RESERVED) {
                true => Ok(()),
                false => Err(ImportError::refused(&path, Refusal::Whiteout)),
            };
        }
        match name.strip_prefix(WHITEOUT) {
            _ if name == OPAQUE && folder.is_empty() => {
                self.hides_all = true;
                Ok(())
            }
            _ if name == OPAQUE => self.target.hide_lower(folder, &path),
            Some(_) if name.starts_with(RESERVED) => Ok(()),
            Some(b"" | b"." | b"..") => Err(ImportError::refused(&path, Refusal::Whiteout)),
            Some(deleted) => self.target.delete_lower(&join(folder, deleted), &path),
            None => self.make(member, &path),
        }
    }

    /// Makes what is no mark.
    fn make(&mut self, member: &Member, path: &[u8]) -> Result<(), ImportError> {
        let attributes = &member.attributes;
        let (kind, device) = match member.kind {
            Kind::Folder => return self.target.put_folder(path, attributes),
            Kind::File => return self.put_file(member, path),
            Kind::HardLink => {
                let to = plain(&member.link).map_err(|error| match error {
                    ImportError::Refused { refusal, .. } => ImportError::refused(path, refusal),
                    error => error,
                })?;
                return self.target.put_hard_link(path, &to);
            }
            Kind::Symlink => {
                let to = &member.link;
                let refusal = match to.len() {
                    1..=SYMLINK_LIMIT if to.contains(&0) => Refusal::Nul,
                    1..=SYMLINK_LIMIT => return self.target.put_symlink(path, attributes, to),
                    _ => Refusal::Symlink,
                };
                return Err(ImportError::refused(path, refusal));
            }
            Kind::Fifo => (FileType::Fifo, (0, 0)),
            Kind::Char(major, minor) => (FileType::CharacterDevice, (major, minor)),
            Kind::Block(major, minor) => (FileType::BlockDevice, (major, minor)),
        };
        self.target.put_node(path, attributes, kind, device)
    }

    fn put_file(&mut self, member: &Member, path: &[u8]) -> Result<(), ImportError> {
        let Self {
            members, buffer, ..
        } = self;
        self.bytes += members.left();
        let read = |buffer: &mut [u8]| members.read(buffer);
        let failed = |error| ImportError::writing(path, error);
        self.target.put_file(path, &member.attributes, |file| {
            content::write(file, &member.content, buffer, read, failed)
        })
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
