//! Archives that the service makes otherwise than they are promised: one entry of one, and one
//! with other names.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use statefork_runtime::ByteStream;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// How many pieces wait for whoever reads.
const WAITING: usize = 4;
/// How large a piece is, in bytes.
const PIECE: usize = 64 << 10;

/// The symbolic link `depth` names deep in an archive, in an archive of its own; read no further
/// than that. `None` if there is none.
pub(crate) fn one_link(
    archive: impl Read,
    depth: usize,
    name: &str,
) -> io::Result<Option<Vec<u8>>> {
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?;
        if plain(&path).components().count() != depth || path.file_name() != Some(name.as_ref()) {
            continue;
        }
        let Some(target) = entry.link_name()? else {
            return Ok(None);
        };
        let mut header = entry.header().clone();
        let mut own = tar::Builder::new(Vec::new());
        own.append_link(&mut header, name, target)?;
        return own.into_inner().map(Some);
    }
    Ok(None)
}

/// An archive whose entries are named from the root, with all of them below `name`.
pub(crate) fn below(archive: ByteStream, name: String) -> ByteStream {
    let reader = SyncIoBridge::new(StreamReader::new(archive));
    let (pieces, received) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut writer = io::BufWriter::with_capacity(PIECE, Pieces(&pieces));
        let written = rename(reader, &name, &mut writer).and_then(|()| writer.flush());
        // Buffered bytes are of no use after an error.
        drop(writer.into_parts());
        if let Err(error) = written {
            // Who does not read any more does not want to know.
            drop(pieces.blocking_send(Err(error)));
        }
    });
    let received = stream::unfold(received, |mut received| async {
        Some((received.recv().await?, received))
    });
    received.boxed()
}

fn rename(archive: impl Read, name: &str, to: impl Write) -> io::Result<()> {
    let name = Path::new(name);
    let mut own = tar::Builder::new(to);
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = name.join(plain(&entry.path()?));
        let mut header = entry.header().clone();
        let kind = header.entry_type();
        match entry.link_name()? {
            // Its target is named like an entry.
            Some(target) if kind.is_hard_link() => {
                own.append_link(&mut header, path, name.join(plain(&target)))?;
            }
            Some(target) if kind.is_symlink() => own.append_link(&mut header, path, target)?,
            _ => own.append_data(&mut header, path, &mut entry)?,
        }
    }
    own.finish()
}

/// A path without what leads to its first name.
fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// Hands on what is written.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        match self.0.blocking_send(Ok(piece)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use tar::EntryType;

    /// As the service makes it of a folder that is a mount point.
    fn rooted() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind, target: &str, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o640);
            header.set_size(content.len() as u64);
            if !target.is_empty() {
                header.set_link_name_literal(target).unwrap();
            }
            header.set_cksum();
            archive.append(&header, content).unwrap();
        };
        add("/", EntryType::Directory, "", b"");
        add("/one", EntryType::Regular, "", b"1");
        add("/link", EntryType::Symlink, "/one", b"");
        add("/hard", EntryType::Link, "/one", b"");
        archive.into_inner().unwrap()
    }

    #[tokio::test]
    async fn what_is_named_from_the_root_gets_a_name_above() {
        let archive = stream::iter([Ok(Bytes::from(rooted()))]).boxed();
        let pieces: Vec<_> = below(archive, "mnt".into()).try_collect().await.unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&pieces.concat()[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let target = entry.link_name().unwrap();
            let target = target.map(|target| target.display().to_string());
            seen.push((path, target.unwrap_or_default(), entry.size()));
        }
        let expected = [
            ("mnt/", "", 0),
            ("mnt/one", "", 1),
            ("mnt/link", "/one", 0),
            ("mnt/hard", "mnt/one", 0),
        ];
        let expected = expected.map(|(path, target, size)| (path.into(), target.into(), size));
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_broken_archive_is_told() {
        let archive = stream::iter([Ok(Bytes::from(vec![7; 600]))]).boxed();
        let read = below(archive, "mnt".into()).try_collect::<Vec<_>>().await;
        assert!(read.is_err());
    }

    #[test]
    fn a_link_is_taken_by_its_name_and_depth() {
        let link = one_link(&rooted()[..], 1, "link").unwrap().unwrap();
        let mut archive = tar::Archive::new(&link[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("link"));
        assert_eq!(one_link(&rooted()[..], 2, "link").unwrap(), None);
        assert_eq!(one_link(&rooted()[..], 1, "no").unwrap(), None);
    }
}
