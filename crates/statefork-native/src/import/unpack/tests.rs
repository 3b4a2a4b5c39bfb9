//! Layers unpacked: all kinds of entries.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::EntryType;
use tempfile::TempDir;

use super::*;
use crate::import::sample::{self, TIME, Tar};

pub(super) fn unpacked_within(
    tar: &[u8],
    bounds: &Bounds,
) -> (TempDir, Result<Unpacked, ImportError>) {
    // Not a tmpfs: that has attributes of its own mind.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let unpacked = unpack(tar, sample::open(folder.path()).as_fd(), bounds);
    (folder, unpacked)
}

pub(super) fn unpacked(tar: Tar) -> TempDir {
    let (folder, unpacked) = unpacked_within(&tar.finish(), &Bounds::default());
    unpacked.unwrap();
    folder
}

pub(super) fn text(folder: &TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join(path)).unwrap()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(path, name).unwrap()
}

fn is_opaque(path: &Path) -> bool {
    attribute(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn every_kind_of_entry_is_as_the_archive_says() {
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let tar = Tar::new()
        .with(EntryType::Directory, "./", "", b"", |header| {
            header.set_mode(0o700)
        })
        .with(EntryType::Directory, "tmp/", "", b"", |header| {
            header.set_mode(0o1777)
        })
        .with(EntryType::Regular, "tmp/su", "", b"program", |header| {
            header.set_mode(0o6755);
            header.set_uid(1000);
            header.set_gid(2000);
        })
        .records(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.lines", b"1\n2=3\0"),
            ("SCHILY.xattr.security.selinux", b"of another machine"),
            ("mtime", b"-3.5"),
        ])
        .file("ping", b"")
        .with(
            EntryType::Symlink,
            "/link",
            "/nowhere/../x",
            b"",
            |header| header.set_uid(7),
        )
        .hard_link("tmp/second", "./tmp/su")
        .hard_link("third", "link")
        .with(EntryType::Char, "null", "", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.set_mode(0o666);
        })
        .with(EntryType::Block, "disk", "", b"", |header| {
            header.set_device_major(700).unwrap();
            header.set_device_minor(70_000).unwrap();
        })
        .with(EntryType::Fifo, "fifo", "", b"", |header| {
            header.set_mode(0o620)
        })
        .file("a/b/implied", b"content")
        .finish();
    for packed in [tar.clone(), sample::gzip(&tar), sample::zstd(&tar)] {
        let (folder, unpacked) = unpacked_within(&packed, &Bounds::default());
        let expected = Unpacked {
            bytes: 14,
            entries: 13,
            digest: sample::sha256(&tar),
            hides_all: false,
        };
        assert_eq!(unpacked.unwrap(), expected);
        let at = |path: &str| folder.path().join(path);
        let of = |path: &str| fs::symlink_metadata(at(path)).unwrap();
        let root = fs::metadata(folder.path()).unwrap();
        assert_eq!((root.mode() & 0o7777, root.mtime()), (0o700, TIME as i64));
        assert_eq!(of("tmp").mode() & 0o7777, 0o1777);
        assert_eq!(of("tmp").mtime(), TIME as i64);
        let su = of("tmp/su");
        assert_eq!(
            (su.mode() & 0o7777, su.uid(), su.gid()),
            (0o6755, 1000, 2000)
        );
        assert_eq!((su.mtime(), su.nlink()), (TIME as i64, 2));
        assert_eq!(of("tmp/second").ino(), su.ino());
        assert_eq!(
            attribute(&at("ping"), "security.capability").unwrap(),
            capability
        );
        assert_eq!(attribute(&at("ping"), "user.lines").unwrap(), b"1\n2=3\0");
        assert_eq!(attribute(&at("ping"), "security.selinux"), None);
        assert_eq!(
            (of("ping").mtime(), of("ping").mtime_nsec()),
            (-4, 500_000_000)
        );
        assert_eq!(
            fs::read_link(at("link")).unwrap(),
            Path::new("/nowhere/../x")
        );
        assert_eq!((of("link").uid(), of("link").mtime()), (7, TIME as i64));
        assert_eq!(of("third").ino(), of("link").ino());
        let null = of("null");
        assert!(null.file_type().is_char_device());
        assert_eq!(
            (null.rdev(), null.mode() & 0o777),
            (rustix::fs::makedev(1, 3), 0o666)
        );
        assert!(of("disk").file_type().is_block_device());
        assert_eq!(of("disk").rdev(), rustix::fs::makedev(700, 70_000));
        assert!(of("fifo").file_type().is_fifo());
        assert_eq!(
            (of("fifo").mode() & 0o777, of("fifo").mtime()),
            (0o620, TIME as i64)
        );
        assert_eq!(text(&folder, "a/b/implied"), "content");
        assert_eq!((of("a").mode() & 0o7777, of("a/b").uid()), (0o755, 0));
    }
}

#[test]
fn deletions_are_as_overlayfs_keeps_them() {
    let folder = unpacked(
        Tar::new()
            .file("etc/.wh.gone", b"")
            .file(".wh.folder", b"")
            .file("cache/.wh..wh..opq", b"")
            .file("cache/new", b"new")
            // Both are in the same layer, in either order: only what lies below is deleted.
            .file(".wh.before", b"")
            .file("before", b"there")
            .file("after", b"there")
            .file(".wh.after", b"")
            .file(".wh.tree", b"")
            .file("tree/file", b"there")
            .folder("old")
            .file("old/file", b"there")
            .file(".wh.old", b"")
            .file(".wh.made", b"")
            .folder("made")
            // What aufs kept for itself.
            .file(".wh..wh.plnk/1.2", b"")
            .file(".wh..wh.aufs", b""),
    );
    let at = |path: &str| folder.path().join(path);
    assert!(is_whiteout(&at("etc/gone")) && is_whiteout(&at("folder")));
    assert!(is_opaque(&at("cache")) && !is_opaque(&at("etc")));
    assert_eq!(text(&folder, "cache/new"), "new");
    for path in ["before", "after", "tree/file", "old/file"] {
        assert_eq!(text(&folder, path), "there");
    }
    assert!(is_opaque(&at("tree")) && is_opaque(&at("old")) && is_opaque(&at("made")));
    let names = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().starts_with(".wh."))
    );
}

#[test]
fn a_root_that_hides_all_is_said() {
    let tar = Tar::new().file(".wh..wh..opq", b"").file("a", b"").finish();
    let (folder, unpacked) = unpacked_within(&tar, &Bounds::default());
    assert!(unpacked.unwrap().hides_all);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_last_entry_of_a_path_counts() {
    let folder = unpacked(
        Tar::new()
            .file("file", b"first")
            .file("file", b"second")
            .folder("becomes-file")
            .file("becomes-file/a/b/c", b"")
            .folder("becomes-file/d")
            .file("becomes-file", b"file")
            .file("becomes-folder", b"")
            .folder("becomes-folder")
            .file("becomes-folder/in", b"in")
            .symlink("was-link", "/etc")
            .file("was-link", b"file")
            .symlink("becomes-link", "a")
            .symlink("becomes-link", "b")
            .with(EntryType::Directory, "twice", "", b"", |header| {
                header.set_mode(0o700)
            })
            .file("twice/in", b"in")
            .with(EntryType::Directory, "twice", "", b"", |header| {
                header.set_mode(0o711)
            })
            .folder("gone")
            .symlink("gone", "file")
            .folder("gone"),
    );
    let at = |path: &str| folder.path().join(path);
    assert_eq!(text(&folder, "file"), "second");
    assert_eq!(text(&folder, "becomes-file"), "file");
    assert_eq!(text(&folder, "becomes-folder/in"), "in");
    assert!(is_opaque(&at("becomes-folder")));
    assert_eq!(text(&folder, "was-link"), "file");
    assert_eq!(fs::read_link(at("becomes-link")).unwrap(), Path::new("b"));
    assert_eq!(text(&folder, "twice/in"), "in");
    assert_eq!(fs::metadata(at("twice")).unwrap().mode() & 0o777, 0o711);
    assert!(!is_opaque(&at("twice")));
    assert!(fs::symlink_metadata(at("gone")).unwrap().is_dir());
}

#[test]
fn long_names_and_sparse_files_are_taken() {
    let long = format!("{}file", "folder/".repeat(40));
    let parts = b"1\n1048576\n5\n";
    let content = [&parts[..], &[0; 500], b"hello"].concat();
    let folder = unpacked(
        Tar::new()
            .records(&[("path", long.as_bytes())])
            .file("short", b"content")
            .records(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"1073741824"),
            ])
            .file("GNUSparseFile.0/sparse", &content)
            .file("zeros", &vec![0; 1 << 20])
            .with(EntryType::GNUSparse, "old", "", b"world", |header| {
                let gnu = header.as_gnu_mut().unwrap();
                gnu.set_real_size(1 << 20);
                gnu.sparse[0].set_offset(65_536);
                gnu.sparse[0].set_length(5);
                gnu.sparse[1].set_offset(1 << 20);
                gnu.sparse[1].set_length(0);
            }),
    );
    assert_eq!(text(&folder, &long), "content");
    for (path, size, offset, expected) in [
        ("sparse", 1 << 30, 1 << 20, &b"hello"[..]),
        ("old", 1 << 20, 65_536, b"world"),
        ("zeros", 1 << 20, 5, b"\0\0"),
    ] {
        let file = fs::File::open(folder.path().join(path)).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), size);
        assert!(
            metadata.blocks() <= 16,
            "{path}: {} blocks",
            metadata.blocks()
        );
        let mut found = vec![0; expected.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, offset).unwrap();
        assert_eq!(found, expected);
    }
}
