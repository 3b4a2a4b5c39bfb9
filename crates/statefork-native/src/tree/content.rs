//! Copying the content of a file, the cheapest way that the file systems have.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Copies the content of `source` into `target`, which is empty: shared blocks where the file system
/// has them, else by the kernel, else through memory. Holes stay holes.
pub(super) fn copy(source: BorrowedFd<'_>, target: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    target.set_len(size)?;
    let mut at = 0;
    while at < size {
        let (start, end) = match next_data(source, at, size)? {
            Some(range) => range,
            None => break,
        };
        copy_range(source, target, start, end)?;
        at = end;
    }
    Ok(())
}

/// The next part from `at` on that is no hole.
fn next_data(source: BorrowedFd<'_>, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
        Ok(start) => start,
        // Nothing but a hole is left.
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let end = rustix::fs::seek(source, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(size))))
}

fn copy_range(source: BorrowedFd<'_>, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let left = usize::try_from(end - from).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            // It has become shorter meanwhile, which its stamp tells.
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_through_memory(source, target, from, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(
    source: BorrowedFd<'_>,
    target: &File,
    start: u64,
    end: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    let mut at = start;
    while at < end {
        let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = rustix::io::pread(source, &mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        let mut written = 0;
        while written < read {
            let from = at + u64::try_from(written).unwrap_or(0);
            written += rustix::io::pwrite(target.as_fd(), &buffer[written..read], from)?;
        }
        at += u64::try_from(read).unwrap_or(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn content_and_holes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let source = File::create_new(dir.path().join("source")).unwrap();
        let source = {
            source.write_all_at(b"begin", 0).unwrap();
            source.write_all_at(b"end", 50_000_000).unwrap();
            source.set_len(60_000_000).unwrap();
            drop(source);
            File::open(dir.path().join("source")).unwrap()
        };
        let target = File::create_new(dir.path().join("target")).unwrap();
        copy(source.as_fd(), &target, 60_000_000).unwrap();
        let metadata = target.metadata().unwrap();
        assert_eq!(metadata.len(), 60_000_000);
        assert!(metadata.blocks() * 512 < 1_000_000, "{}", metadata.blocks());
        let copied = std::fs::read(dir.path().join("target")).unwrap();
        assert_eq!(&copied[..5], b"begin");
        assert_eq!(&copied[50_000_000..50_000_003], b"end");
        assert!(copied[5..50_000_000].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_the_kernel_does_not_copy_goes_through_memory() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        std::fs::write(dir.path().join("source"), &content).unwrap();
        let source = File::open(dir.path().join("source")).unwrap();
        let target = File::create_new(dir.path().join("target")).unwrap();
        copy_through_memory(source.as_fd(), &target, 0, 300_000).unwrap();
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), content);
    }
}
