//! The files of an image archive, by their paths in it: members of a tar file, or files of a folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::bounds::Bounds;
use super::error::{ImportError, shown};
use super::member::{Kind, Members, Source};
use super::path::plain;
use super::sparse::Map;

/// Bytes that a document may have (what registries take, OCI distribution-spec 1.1, "Pushing
/// manifests", and the largest configurations are smaller).
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// Links that may lead to each other.
const LINK_LIMIT: usize = 8;

/// The files.
#[derive(Debug)]
pub(super) enum Blobs {
    Tar {
        file: Arc<File>,
        members: BTreeMap<Vec<u8>, Place>,
    },
    Folder(OwnedFd),
}

/// What a member of a tar file is.
#[derive(Debug)]
pub(super) enum Place {
    /// A file: where its content begins, and its bytes.
    File(u64, u64),
    /// A file of which the archive has parts only.
    Sparse,
    /// Another name of a member, by its plain path; `None` for one that leads out.
    Link(Option<Vec<u8>>),
}

impl Blobs {
    /// The files in a tar file, which is not compressed.
    pub(super) fn in_tar(file: File, bounds: &Bounds) -> Result<Self, ImportError> {
        let length = file.metadata();
        let length = length.map_err(|error| ImportError::reading("the archive", error))?;
        let file = Arc::new(file);
        let mut archive = Members::new(Piece {
            file: file.clone(),
            at: 0,
            left: length.len(),
        });
        let mut members = BTreeMap::new();
        let mut entries = 0;
        while let Some(member) = archive.next()? {
            entries = bounds.one_more(entries)?;
            let path = plain(&member.path)?;
            let size = archive.left();
            let place = match member.kind {
                Kind::File if member.content == Map::whole(size) => {
                    Place::File(archive.source().at, size)
                }
                Kind::File => Place::Sparse,
                Kind::HardLink => Place::Link(Some(plain(&member.link)?)),
                Kind::Symlink => Place::Link(beside(&path, &member.link)),
                _ => continue,
            };
            members.insert(path, place);
        }
        Ok(Self::Tar { file, members })
    }

    /// The files in a folder. Links in it are followed, and do not lead out.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, ImportError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty());
        let what = folder.display().to_string();
        opened
            .map(Self::Folder)
            .map_err(|errno| ImportError::reading(&what, errno.into()))
    }

    /// The file at `path`; `None` if there is none.
    pub(super) fn open(&self, path: &str) -> Result<Option<Piece>, ImportError> {
        match self {
            Self::Tar { file, members } => {
                let mut path = plain(path.as_bytes())?;
                for _ in 0..LINK_LIMIT {
                    match members.get(&path) {
                        Some(&Place::File(at, left)) => {
                            let file = file.clone();
                            return Ok(Some(Piece { file, at, left }));
                        }
                        Some(Place::Sparse) => {
                            let reason = "it is stored as a sparse file";
                            return Err(ImportError::malformed(shown(&path), reason));
                        }
                        Some(Place::Link(Some(to))) => path.clone_from(to),
                        Some(Place::Link(None)) | None => return Ok(None),
                    }
                }
                Ok(None)
            }
            Self::Folder(folder) => {
                // A pipe would have us wait for its other end.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let opened = rustix::fs::openat2(folder, path, flags, Mode::empty(), beneath);
                let reading = |error| ImportError::reading(path, error);
                let file = match opened {
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                    opened => File::from(opened.map_err(|errno| reading(errno.into()))?),
                };
                let metadata = file.metadata().map_err(reading)?;
                if !metadata.is_file() {
                    return Err(ImportError::malformed(path, "it is no file"));
                }
                Ok(Some(Piece {
                    file: Arc::new(file),
                    at: 0,
                    left: metadata.len(),
                }))
            }
        }
    }

    /// The whole content of a document; `None` if there is none.
    pub(super) fn document(&self, path: &str) -> Result<Option<Vec<u8>>, ImportError> {
        let Some(piece) = self.open(path)? else {
            return Ok(None);
        };
        if piece.left > DOCUMENT_LIMIT {
            let reason = format!("it is larger than {DOCUMENT_LIMIT} bytes");
            return Err(ImportError::malformed(path, reason));
        }
        let mut content = Vec::new();
        let read = piece.take(DOCUMENT_LIMIT).read_to_end(&mut content);
        read.map_err(|error| ImportError::reading(path, error))?;
        Ok(Some(content))
    }
}

/// What a symbolic link at `path` leads to, within the archive.
fn beside(path: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    let slash = |byte: &u8| *byte == b'/';
    let mut parts: Vec<&[u8]> = Vec::new();
    if !link.starts_with(b"/") {
        parts.extend(path.split(slash));
        parts.pop();
    }
    for part in link.split(slash) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A part of a file, read without moving the file's own position.
#[derive(Debug)]
pub(super) struct Piece {
    file: Arc<File>,
    at: u64,
    /// Bytes from there on.
    pub(super) left: u64,
}

impl Piece {
    /// The whole of a file.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let left = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            at: 0,
            left,
        })
    }
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(limit);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Source for Piece {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += bytes;
        self.left -= bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_members() {
        for (path, link, expected) in [
            ("b/layer.tar", "../a/layer.tar", Some("a/layer.tar")),
            ("b/layer.tar", "/a.tar", Some("a.tar")),
            ("b", "./a", Some("a")),
            ("b/c", "../../a", None),
        ] {
            let found = beside(path.as_bytes(), link.as_bytes());
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{path} {link}"
            );
        }
    }
}
