//! Archives for tests, honest and hostile.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// A tar archive that is being written; names go into it as they are.
pub(super) struct Tar(tar::Builder<Vec<u8>>);

/// The time that entries have.
pub(super) const TIME: u64 = 1_000_000_000;

impl Tar {
    pub(super) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds an entry with root's ownership; `set` changes its header.
    pub(super) fn with(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
        set: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        set(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(super) fn folder(self, path: &str) -> Self {
        self.with(EntryType::Directory, path, "", b"", |_| ())
    }

    pub(super) fn file(self, path: &str, content: &[u8]) -> Self {
        self.with(EntryType::Regular, path, "", content, |_| ())
    }

    pub(super) fn symlink(self, path: &str, to: &str) -> Self {
        self.with(EntryType::Symlink, path, to, b"", |_| ())
    }

    pub(super) fn hard_link(self, path: &str, to: &str) -> Self {
        self.with(EntryType::Link, path, to, b"", |_| ())
    }

    /// Pax records for the next entry.
    pub(super) fn records(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The file as [`unpack`](super::unpack) takes it.
pub(super) fn open(folder: &Path) -> File {
    File::open(folder).unwrap()
}
