//! Writing files of a container as a tar stream.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc::Sender;

/// How much is passed on at once.
const PIECE: usize = 64 * 1024;

/// Writes the entry `name` of `folder` as `shown`, with all below it.
pub(super) fn write(
    folder: &OwnedFd,
    name: &Path,
    shown: &Path,
    to: &Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let writer = io::BufWriter::with_capacity(PIECE, Pieces(to));
    let mut builder = Builder::new(writer);
    append(&mut builder, folder, name, shown)?;
    builder.into_inner()?.flush()
}

/// Passes on what is written.
struct Pieces<'a>(&'a Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(
    builder: &mut Builder<impl Write>,
    folder: &OwnedFd,
    name: &Path,
    shown: &Path,
) -> io::Result<()> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut header = header(&stat);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            header.set_size(size);
            // A file that becomes shorter meanwhile is filled up: the header is out already.
            let content = file.chain(io::repeat(0)).take(size);
            builder.append_data(&mut header, shown, content)
        }
        FileType::Directory => {
            header.set_entry_type(EntryType::Directory);
            let flags = flags | OFlags::DIRECTORY;
            let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            builder.append_data(&mut header, shown, io::empty())?;
            for entry in Dir::read_from(&inner)? {
                let entry = entry?;
                let bytes = entry.file_name().to_bytes();
                if bytes == b"." || bytes == b".." {
                    continue;
                }
                let name = Path::new(std::ffi::OsStr::from_bytes(bytes));
                match append(builder, &inner, name, &shown.join(name)) {
                    // It has gone meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    appended => appended?,
                }
            }
            Ok(())
        }
        FileType::Symlink => {
            header.set_entry_type(EntryType::Symlink);
            let target = rustix::fs::readlinkat(folder, name, Vec::new())?;
            let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes()));
            builder.append_link(&mut header, shown, target)
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            header.set_entry_type(match kind {
                FileType::Fifo => EntryType::Fifo,
                FileType::CharacterDevice => EntryType::Char,
                _ => EntryType::Block,
            });
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
            builder.append_data(&mut header, shown, io::empty())
        }
        // A socket means nothing without its process.
        _ => Ok(()),
    }
}

fn header(stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}
