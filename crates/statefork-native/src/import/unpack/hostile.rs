//! Layers that mean harm: nothing outside is touched, and what cannot be told apart from an attack is
//! refused.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use tar::EntryType;

use super::tests::{text, unpacked, unpacked_within};
use super::*;
use crate::import::error::Bound;
use crate::import::sample::{self, Tar};

fn refusal(tar: Tar) -> Refusal {
    let (_folder, unpacked) = unpacked_within(&tar.finish(), &Bounds::default());
    match unpacked {
        Err(ImportError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_outside_is_touched() {
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    let out = outside.path().to_str().unwrap();
    let (file, folder) = (victim.to_str().unwrap(), "folder");
    let refused = [
        // Through a link, absolute or relative, to a folder, or to itself.
        (
            Tar::new().symlink("a", out).file("a/victim", b"x"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", out).folder("a/new"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", out).symlink("a/new", "x"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", out).file("a/.wh.victim", b""),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", out).file("a/.wh..wh..opq", b""),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", "../..").file("a/x", b"x"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", "a").file("a/x", b"x"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new().symlink("a", "/proc/self/cwd").file("a/x", b""),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new()
                .folder("b")
                .symlink("b/a", out)
                .file("b/a/c/d", b"x"),
            Refusal::NoFolder("b/a".into()),
        ),
        (
            Tar::new().file("a", b"").file("a/b", b"x"),
            Refusal::NoFolder("a".into()),
        ),
        (
            Tar::new()
                .with(EntryType::Fifo, "a", "", b"", |_| ())
                .file("a/b", b"x"),
            Refusal::NoFolder("a".into()),
        ),
        // By name.
        (Tar::new().file("../victim", b"x"), Refusal::Climbs),
        (Tar::new().file("a/../../victim", b"x"), Refusal::Climbs),
        (Tar::new().file("/../victim", b"x"), Refusal::Climbs),
        (Tar::new().folder(".."), Refusal::Climbs),
        (Tar::new().file(".wh...", b""), Refusal::Whiteout),
        (Tar::new().file(".wh..", b""), Refusal::Whiteout),
        (Tar::new().file("a/.wh.", b""), Refusal::Whiteout),
        (Tar::new().file(".wh.a/b", b""), Refusal::Whiteout),
        (
            Tar::new().records(&[("path", b"a\0b")]).file("c", b""),
            Refusal::Nul,
        ),
        (Tar::new().file("", b"x"), Refusal::Root),
        (Tar::new().file("./", b"x"), Refusal::Root),
        (Tar::new().symlink("/", out), Refusal::Root),
        // By a hard link.
        (
            Tar::new().hard_link("a", file),
            Refusal::HardLink(file[1..].into()),
        ),
        (Tar::new().hard_link("a", "../victim"), Refusal::Climbs),
        (
            Tar::new().symlink("b", out).hard_link("a", "b/victim"),
            Refusal::HardLink("b/victim".into()),
        ),
        (
            Tar::new().folder(folder).hard_link("a", folder),
            Refusal::HardLink(folder.into()),
        ),
        (
            Tar::new().hard_link("a", "a"),
            Refusal::HardLink("a".into()),
        ),
        (
            Tar::new().file("a", b"").hard_link("a", "a"),
            Refusal::HardLink("a".into()),
        ),
        (
            Tar::new().hard_link("a", ""),
            Refusal::HardLink("the root".into()),
        ),
        (
            Tar::new().file(".wh.a", b"").hard_link("b", "a"),
            Refusal::HardLink("a".into()),
        ),
        // What overlayfs would take for its own.
        (
            Tar::new().with(EntryType::Char, "a", "", b"", |_| ()),
            Refusal::Deletes,
        ),
        (
            Tar::new()
                .records(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
                .folder("a"),
            Refusal::Attribute("trusted.overlay.redirect".into()),
        ),
        (Tar::new().symlink("a", ""), Refusal::Symlink),
        (
            Tar::new()
                .records(&[("linkpath", b"a\0")])
                .symlink("a", "x"),
            Refusal::Nul,
        ),
        (
            Tar::new().records(&[("uid", b"4294967295")]).file("a", b""),
            Refusal::Owner,
        ),
        (
            Tar::new().with(EntryType::new(b'D'), "a", "", b"", |_| ()),
            Refusal::Kind('D'),
        ),
    ];
    for (at, (tar, expected)) in refused.into_iter().enumerate() {
        assert_eq!(refusal(tar), expected, "number {at}");
    }
    // Links out may be there, and be replaced.
    let made = unpacked(
        Tar::new()
            .symlink("a", file)
            .file("a", b"x")
            .symlink("b", out)
            .folder("b")
            .file("b/victim", b"x")
            .symlink("c", file)
            .hard_link("d", "c")
            .with(EntryType::Char, "c", "", b"", |header| {
                header.set_device_major(1).unwrap()
            })
            .symlink("e", out)
            .file(".wh.e", b""),
    );
    assert_eq!(text(&made, "b/victim"), "x");
    assert!(
        fs::symlink_metadata(made.path().join("d"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    let metadata = fs::metadata(&victim).unwrap();
    assert_eq!((metadata.nlink(), metadata.uid()), (1, 0));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn bombs_are_stopped() {
    let bounds = Bounds {
        bytes: 1 << 20,
        entries: 10,
        ratio: 100,
    };
    let bound = |tar: &[u8], bounds: &Bounds| match unpacked_within(tar, bounds) {
        (_, Err(ImportError::OutOfBounds(bound))) => bound,
        (_, other) => panic!("{other:?}"),
    };
    let many = (0..11).fold(Tar::new(), |tar, at| tar.file(&format!("{at}"), b""));
    assert_eq!(bound(&many.finish(), &bounds), Bound::Entries(10));
    let deep = Tar::new().file("a/b/c/d/e/f/g/h/i/j/k", b"").finish();
    assert_eq!(bound(&deep, &bounds), Bound::Entries(10));
    let zeros = Tar::new().file("a", &vec![0; 2 << 20]).finish();
    for packed in [zeros.clone(), sample::gzip(&zeros), sample::zstd(&zeros)] {
        assert_eq!(bound(&packed, &bounds), Bound::Bytes(1 << 20));
    }
    let bounds = Bounds {
        bytes: 1 << 40,
        ..bounds
    };
    let zeros = Tar::new().file("a", &vec![0; 80 << 20]).finish();
    assert_eq!(bound(&sample::zstd(&zeros), &bounds), Bound::Ratio(100));
    let bounds = Bounds::default();
    unpacked_within(&zeros, &bounds).1.unwrap();
    // A file that claims to be larger than any can be.
    let claimed = Tar::new()
        .records(&[("size", b"18446744073709551615")])
        .file("a", b"x")
        .finish();
    let (_folder, error) = unpacked_within(&claimed, &bounds);
    assert!(
        matches!(error, Err(ImportError::Malformed { .. })),
        "{error:?}"
    );
}

#[test]
fn the_deepest_tree_can_be_removed() {
    let deepest = format!("{}f", "d/".repeat(255));
    let tar = Tar::new()
        .records(&[("path", deepest.as_bytes())])
        .file("x", b"");
    let folder = unpacked(tar);
    folder.close().unwrap();
}

/// A part of an archive out of few names, so that entries come in each other's way.
fn entry() -> impl Strategy<Value = (u8, String, String)> {
    let name = prop::sample::select(vec!["a", "b", "..", ".wh.a", ".wh..wh..opq", ".", ""]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let link = prop::sample::select(vec!["a", "b/a", "../b", "/", "/etc", "/var/tmp", "a/../.."]);
    (0..7_u8, path, link.prop_map(str::to_owned))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Whatever comes in whatever order: it is unpacked or refused, and the folder's surroundings are as
    /// they were.
    #[test]
    fn no_order_of_entries_leads_out(entries in prop::collection::vec(entry(), 1..12)) {
        let outer = tempfile::tempdir_in("/var/tmp").unwrap();
        for folder in ["a", "b", "target"] {
            fs::create_dir(outer.path().join(folder)).unwrap();
        }
        let mut tar = Tar::new();
        for (kind, path, link) in &entries {
            tar = match kind {
                0 | 1 => tar.file(path, b"content"),
                2 => tar.folder(path),
                3 | 4 => tar.symlink(path, link),
                5 => tar.hard_link(path, link),
                _ => tar.with(EntryType::Fifo, path, "", b"", |_| ()),
            };
        }
        let target = outer.path().join("target");
        let unpacked = unpack(&tar.finish()[..], sample::open(&target).as_fd(), &Bounds::default());
        let is_expected = matches!(unpacked, Ok(_) | Err(ImportError::Refused { .. }));
        prop_assert!(is_expected, "{unpacked:?}");
        for folder in ["a", "b"] {
            prop_assert_eq!(fs::read_dir(outer.path().join(folder)).unwrap().count(), 0);
        }
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 3);
    }

    /// Bytes turned in an archive never do more than fail it.
    #[test]
    fn damage_is_an_error(at in 0..4096_usize, byte: u8) {
        let mut tar = Tar::new()
            .records(&[("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5")])
            .file("a", b"content")
            .symlink("b", "/etc")
            .finish();
        let length = tar.len();
        tar[at % length] = byte;
        let (folder, _) = unpacked_within(&tar, &Bounds::default());
        folder.close().unwrap();
    }
}
