//! Files of the host as a tar stream, and back.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files and links; folders do not count.
    pub files: usize,
    /// The files' bytes.
    pub bytes: u64,
}

impl Copied {
    fn add(&mut self, kind: EntryType, bytes: u64) {
        if !kind.is_dir() {
            self.files += 1;
            self.bytes += bytes;
        }
    }
}

/// Writes a file, or a folder with all below, as a tar stream whose entries begin with `name`; with
/// an empty name, what lies in the folder. Owners become root; links stay links.
pub(crate) fn pack(out: impl Write, source: &Path, name: &Path) -> io::Result<Copied> {
    let mut tar = Builder::new(out);
    let mut copied = Copied::default();
    let mut pending = vec![(source.to_owned(), name.to_owned())];
    while let Some((path, name)) = pending.pop() {
        let about =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let metadata = path.symlink_metadata().map_err(about)?;
        if name != Path::new("") {
            let header = append(&mut tar, &path, &name, &metadata).map_err(about)?;
            copied.add(header.entry_type(), header.entry_size()?);
        }
        if metadata.is_dir() {
            for entry in path.read_dir().map_err(about)? {
                let entry = entry.map_err(about)?;
                pending.push((entry.path(), name.join(entry.file_name())));
            }
        }
    }
    tar.into_inner()?.flush()?;
    Ok(copied)
}

fn append(
    tar: &mut Builder<impl Write>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    let kind = metadata.file_type();
    if kind.is_symlink() {
        header.set_size(0);
        tar.append_link(&mut header, name, path.read_link()?)?;
    } else if kind.is_dir() {
        header.set_size(0);
        tar.append_data(&mut header, name, io::empty())?;
    } else if kind.is_file() {
        // One that grows meanwhile is cut at the length that the header says.
        let content = File::open(path)?.take(metadata.len());
        tar.append_data(&mut header, name, content)?;
    } else {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "neither a file, a folder nor a link",
        ));
    }
    Ok(header)
}

/// Unpacks a tar stream in a folder. The first component of each path becomes `name`; with an empty
/// name it is left out, and its own entry with it. No entry gets out of the folder; owners become
/// the caller.
pub(crate) fn unpack(archive: impl Read + Send, folder: &Path, name: &Path) -> io::Result<Copied> {
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let renaming = scope.spawn(|| rename(archive, writer, name));
        let mut unpacker = Archive::new(reader);
        unpacker.set_overwrite(true);
        let unpacked = unpacker.unpack(folder);
        // Ends the renaming, if unpacking ended early.
        drop(unpacker);
        let renamed = renaming.join().unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        });
        // A stream that breaks off fails both; one that cannot be unpacked closes the pipe.
        match (renamed, unpacked) {
            (Err(error), Err(_)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            (_, Err(error)) => Err(error),
            (renamed, Ok(())) => renamed,
        }
    })
}

/// Copies a tar stream with other names.
fn rename(archive: impl Read, out: impl Write, name: &Path) -> io::Result<Copied> {
    let mut archive = Archive::new(archive);
    let mut tar = Builder::new(out);
    let mut copied = Copied::default();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = renamed(&entry.path()?, name);
        if path == Path::new("") {
            if !entry.header().entry_type().is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            continue;
        }
        let mut header = entry.header().clone();
        copied.add(header.entry_type(), header.entry_size()?);
        match header.entry_type() {
            kind @ (EntryType::Link | EntryType::Symlink) => {
                let target = entry.link_name()?.unwrap_or_default();
                let target = match kind {
                    // Hard links name another entry.
                    EntryType::Link => renamed(&target, name),
                    _ => target.into_owned(),
                };
                tar.append_link(&mut header, path, target)?;
            }
            _ => tar.append_data(&mut header, path, &mut entry)?,
        }
    }
    tar.into_inner()?.flush()?;
    Ok(copied)
}

fn renamed(path: &Path, name: &Path) -> PathBuf {
    let mut below = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    below.next();
    name.iter().chain(below.map(Component::as_os_str)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn packed(source: &Path, name: &str) -> (Vec<u8>, Copied) {
        let mut bytes = Vec::new();
        let copied = pack(&mut bytes, source, Path::new(name)).unwrap();
        (bytes, copied)
    }

    #[test]
    fn what_was_packed_is_unpacked_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("deep/er")).unwrap();
        fs::write(source.join("deep/er/file"), "text").unwrap();
        fs::set_permissions(
            source.join("deep/er/file"),
            PermissionsExt::from_mode(0o750),
        )
        .unwrap();
        symlink("deep/er/file", source.join("link")).unwrap();
        let (bytes, copied) = packed(&source, "one");
        let expected = Copied { files: 2, bytes: 4 };
        assert_eq!(copied, expected);

        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let unpacked = unpack(bytes.as_slice(), &target, Path::new("two")).unwrap();
        assert_eq!(unpacked, expected);
        let file = target.join("two/deep/er/file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o750);
        let link = target.join("two/link").read_link().unwrap();
        assert_eq!(link, Path::new("deep/er/file"));

        unpack(bytes.as_slice(), &target, Path::new("")).unwrap();
        assert!(target.join("deep/er/file").exists());
    }

    #[test]
    fn what_lies_in_a_folder_is_packed_without_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        let (bytes, copied) = packed(folder.path(), "");
        assert_eq!(copied.files, 1);
        let mut archive = Archive::new(bytes.as_slice());
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(paths, [Path::new("file")]);
    }

    #[test]
    fn nothing_is_unpacked_outside() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "it/out", folder.path())
            .unwrap();
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(1);
        tar.append_data(&mut header, "it/out/file", &b"x"[..])
            .unwrap();
        let bytes = tar.into_inner().unwrap();
        assert!(unpack(bytes.as_slice(), &target, Path::new("it")).is_err());
        assert!(!folder.path().join("file").exists());
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), vec![b'x'; 100_000]).unwrap();
        let (bytes, _) = packed(&folder.path().join("file"), "file");
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let broken = bytes.get(..50_000).unwrap();
        assert!(unpack(broken, &target, Path::new("file")).is_err());
    }
}
