//! Which files the processes of a container map shared and writable: a store through such a mapping
//! into a page that is dirty already changes no timestamp.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The files of these processes, relative to the container's root.
pub(super) fn files(pids: &[u32]) -> io::Result<HashSet<PathBuf>> {
    let mut files = HashSet::new();
    for pid in pids {
        let path = format!("/proc/{pid}/maps");
        match std::fs::read(path) {
            Ok(maps) => files.extend(maps.split(|&byte| byte == b'\n').filter_map(file)),
            // It has ended, and its mappings with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The file of a line of proc_pid_maps(5), if it is mapped shared and writable.
fn file(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let permissions = fields.nth(1)?;
    if permissions.get(1) != Some(&b'w') || permissions.get(3) != Some(&b's') {
        return None;
    }
    let name = fields.nth(3)?.trim_ascii_start();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let path = PathBuf::from(std::ffi::OsString::from_vec(unescaped(name)));
    path.strip_prefix("/").ok().map(Path::to_owned)
}

/// Undoes how the kernel writes a line feed.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_and_writable_files_count() {
        let file = |line: &str| file(line.as_bytes()).map(|path| path.display().to_string());
        let shared = "7f10-7f20 rw-s 00000000 00:2a 1234                       /data/my db";
        assert_eq!(file(shared).as_deref(), Some("data/my db"));
        let feed = "7f10-7f20 -w-s 00000000 00:2a 1234    /data/a\\012b (deleted)";
        assert_eq!(file(feed).as_deref(), Some("data/a\nb"));
        for other in [
            "7f10-7f20 rw-p 00000000 00:2a 1234    /data/private",
            "7f10-7f20 r--s 00000000 00:2a 1234    /data/read",
            "7f10-7f20 rw-s 00000000 00:01 77 ",
            "",
        ] {
            assert_eq!(file(other), None, "{other}");
        }
    }

    #[test]
    fn the_files_of_this_process_are_found() {
        assert!(files(&[std::process::id(), 0x7fff_fff0]).is_ok());
    }
}
