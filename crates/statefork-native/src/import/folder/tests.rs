//! Folders copied.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::CWD;

use super::*;
use crate::import::sample;

fn copy(source: &Path, bounds: &Bounds) -> (tempfile::TempDir, Result<Unpacked, ImportError>) {
    let target = tempfile::tempdir_in("/var/tmp").unwrap();
    let copied = root_from_folder(source, sample::open(target.path()).as_fd(), bounds);
    (target, copied)
}

#[test]
fn a_tree_is_copied_with_everything() {
    let source = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = |path: &str| source.path().join(path);
    fs::create_dir_all(at("bin/deep")).unwrap();
    fs::write(at("bin/su"), "program").unwrap();
    std::os::unix::fs::chown(at("bin/su"), Some(1000), Some(2000)).unwrap();
    fs::set_permissions(at("bin/su"), fs::Permissions::from_mode(0o4750)).unwrap();
    xattr::set(at("bin/su"), "user.a", b"1\n2").unwrap();
    fs::hard_link(at("bin/su"), at("another")).unwrap();
    symlink("/nowhere", at("link")).unwrap();
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, mode, null).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    sparse.write_all_at(b"amid", 1 << 29).unwrap();
    sparse.sync_all().unwrap();

    let (target, copied) = copy(source.path(), &Bounds::default());
    let copied = copied.unwrap();
    let (again, same) = copy(source.path(), &Bounds::default());
    assert_eq!(copied, same.unwrap());
    drop(again);
    assert_eq!(copied.entries, 8);
    assert!(copied.bytes < 100_000, "{}", copied.bytes);
    let made = |path: &str| target.path().join(path);
    for path in [
        "bin", "bin/deep", "bin/su", "another", "link", "fifo", "null", "sparse",
    ] {
        let (from, to) = (
            fs::symlink_metadata(at(path)),
            fs::symlink_metadata(made(path)),
        );
        let facts = |of: fs::Metadata| {
            let owner = (of.uid(), of.gid(), of.mode(), of.rdev());
            let size = if of.is_dir() { 0 } else { of.size() };
            (owner, size, of.mtime(), of.mtime_nsec())
        };
        assert_eq!(facts(from.unwrap()), facts(to.unwrap()), "{path}");
    }
    assert!(!made("socket").exists());
    assert_eq!(fs::metadata(made("bin/su")).unwrap().nlink(), 2);
    assert_eq!(
        xattr::get(made("another"), "user.a").unwrap().unwrap(),
        b"1\n2"
    );
    assert_eq!(fs::read_link(made("link")).unwrap(), Path::new("/nowhere"));
    let sparse = File::open(made("sparse")).unwrap();
    assert!(sparse.metadata().unwrap().blocks() < 64);
    let mut amid = [0; 4];
    sparse.read_exact_at(&mut amid, 1 << 29).unwrap();
    assert_eq!(&amid, b"amid");

    fs::write(at("bin/su"), "changed").unwrap();
    let (_target, changed) = copy(source.path(), &Bounds::default());
    assert_ne!(changed.unwrap().digest, copied.digest);
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let source = tempfile::tempdir_in("/var/tmp").unwrap();
    let inside = source.path().join("b/target");
    fs::create_dir_all(&inside).unwrap();
    fs::write(source.path().join("a"), [7; 5000]).unwrap();
    let target = sample::open(&inside);
    let copied = root_from_folder(source.path(), target.as_fd(), &Bounds::default());
    let is_itself = |error: &ImportError| {
        let ImportError::Refused { refusal, .. } = error else {
            return false;
        };
        *refusal == Refusal::Itself
    };
    assert!(is_itself(&copied.unwrap_err()));
    fs::remove_dir_all(&inside).unwrap();

    let bounds = Bounds {
        bytes: 4999,
        entries: 2,
        ratio: 1,
    };
    let (_target, copied) = copy(source.path(), &bounds);
    assert!(matches!(
        copied,
        Err(ImportError::OutOfBounds(Bound::Bytes(4999)))
    ));
    fs::write(source.path().join("a"), "").unwrap();
    fs::write(source.path().join("c"), "").unwrap();
    let (_target, copied) = copy(source.path(), &bounds);
    assert!(matches!(
        copied,
        Err(ImportError::OutOfBounds(Bound::Entries(2)))
    ));

    fs::write(source.path().join(".wh.c"), "").unwrap();
    let (_target, copied) = copy(source.path(), &Bounds::default());
    let error = copied.unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Refused {
                refusal: Refusal::Deletes,
                ..
            }
        ),
        "{error:?}"
    );
    let (_target, copied) = copy(&source.path().join("absent"), &Bounds::default());
    assert!(matches!(copied, Err(ImportError::Read { .. })));
}
