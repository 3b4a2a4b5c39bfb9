//! How much may come out of an archive, and the readers that watch it.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::error::{Bound, ImportError};

/// Bytes that may come out before their ratio to those that went in counts: a short run of zeros
/// compresses more than any bomb has to.
const RATIO_COUNTS_FROM: u64 = 64 << 20;

/// How much may come out of one archive or layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of it, decompressed.
    pub(crate) bytes: u64,
    /// Files, folders and everything else.
    pub(crate) entries: u64,
    /// Bytes decompressed for each compressed one, once there are more than 64 MiB.
    pub(crate) ratio: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 5_000_000,
            ratio: 1000,
        }
    }
}

impl Bounds {
    /// Whether one more may follow `entries` that there are.
    pub(super) fn one_more(&self, entries: u64) -> Result<u64, ImportError> {
        match entries < self.entries {
            true => Ok(entries + 1),
            false => Err(ImportError::OutOfBounds(Bound::Entries(self.entries))),
        }
    }
}

/// Counts the bytes that are read.
pub(super) struct Counted<R> {
    source: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Counted<R> {
    /// The reader, and its count.
    pub(super) fn new(source: R) -> (Self, Rc<Cell<u64>>) {
        let count = Rc::new(Cell::new(0));
        let counted = Self {
            source,
            count: count.clone(),
        };
        (counted, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Passes decompressed bytes on while they are within bounds, and takes their digest. An error of
/// its own is an [`ImportError`] in an [`io::Error`].
pub(super) struct Metered<R> {
    source: R,
    went_in: Rc<Cell<u64>>,
    came_out: u64,
    bounds: Bounds,
    hash: Sha256,
}

impl<R: Read> Metered<R> {
    /// `went_in` counts the compressed bytes.
    pub(super) fn new(source: R, went_in: Rc<Cell<u64>>, bounds: Bounds) -> Self {
        Self {
            source,
            went_in,
            came_out: 0,
            bounds,
            hash: Sha256::new(),
        }
    }

    /// The digest of all bytes that were read, hex.
    pub(super) fn digest(self) -> String {
        hex(self.hash)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.came_out += read as u64;
        let Bounds { bytes, ratio, .. } = self.bounds;
        let exceeded = if self.came_out > bytes {
            Some(Bound::Bytes(bytes))
        } else if self.came_out > RATIO_COUNTS_FROM
            && self.came_out / self.went_in.get().max(1) >= ratio
        {
            Some(Bound::Ratio(ratio))
        } else {
            None
        };
        match exceeded {
            Some(bound) => Err(io::Error::other(ImportError::OutOfBounds(bound))),
            None => Ok(read),
        }
    }
}

/// Takes the digest of what is read.
pub(super) struct Hashed<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(source: R) -> Self {
        let hash = Sha256::new();
        Self { source, hash }
    }

    /// The digest, hex, after the rest has been read.
    pub(super) fn digest(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(self.hash))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The digest of what was hashed, as 64 hex digits.
pub(super) fn hex(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of bytes, as 64 hex digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}
