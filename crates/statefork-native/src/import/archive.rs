//! The one image in an archive or a layout, and its layers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::blobs::{Blobs, Piece};
use super::bounds::{Bounds, Counted, Hashed, Metered};
use super::compression::{self, Compression, Decoder};
use super::config::Config;
use super::error::ImportError;
use super::unpack::{Unpacked, unpack};
use super::{docker, oci};

/// Bytes that are decompressed at once.
const CHUNK: usize = 128 * 1024;

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Its names as the archive has them, sorted: `RepoTags`, or the annotations
    /// `io.containerd.image.name` or else `org.opencontainers.image.ref.name`, which may be a tag
    /// alone.
    pub(crate) names: Vec<String>,
    /// Its configuration.
    pub(crate) config: Config,
    /// Its layers, the lowest first; not one where the image is empty.
    pub(crate) layers: Vec<LayerRef>,
    blobs: Blobs,
}

/// A layer in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerRef {
    /// SHA-256 of the layer, uncompressed, 64 hex digits: what the configuration says.
    pub(crate) diff_id: String,
    /// The path of its file in the archive.
    pub(super) path: String,
    /// SHA-256 of that file, 64 hex digits, where the archive says it.
    pub(super) digest: Option<String>,
}

/// What the archive formats say of an image.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) names: Vec<String>,
    pub(super) config: Config,
    /// Path of each layer's file, with its digest where that is said.
    pub(super) layers: Vec<(String, Option<String>)>,
}

/// Finds the image in a file: what `docker save` writes, or an OCI archive (OCI image-spec 1.1,
/// "Image Layout"), of several platforms the one of this machine; plain or compressed with gzip or
/// zstd as a whole. A compressed one is decompressed into a file without a name in `scratch`. Only
/// documents are read, and verified where the archive says their digests; not the layers. The
/// file's own position does not matter and does not change.
///
/// Errors: `NoImage` for a tar archive that has none, a root file system for example; `Several`;
/// `Platform`; `Read`, `Malformed`, `Missing`, `Digest`, `OutOfBounds`; of the scratch file
/// `StorageFull` and `Write`.
pub(crate) fn read(file: &File, scratch: &Path, bounds: &Bounds) -> Result<Archive, ImportError> {
    let reading = |error| ImportError::reading("the archive", error);
    let file = file.try_clone().map_err(reading)?;
    let mut start = Piece::whole(file.try_clone().map_err(reading)?).map_err(reading)?;
    let head = compression::head(&mut start).map_err(reading)?;
    let file = match Compression::of(&head)? {
        Compression::Plain => file,
        _ => decompressed(Piece::whole(file).map_err(reading)?, scratch, bounds)?,
    };
    let blobs = Blobs::in_tar(file, bounds)?;
    let found = match docker::find(&blobs)? {
        Some(found) => found,
        None => oci::find(&blobs)?.ok_or(ImportError::NoImage)?,
    };
    Archive::new(found, blobs)
}

/// Finds the image in a folder that is an OCI image layout. Errors: as [`read`].
pub(crate) fn read_folder(folder: &Path) -> Result<Archive, ImportError> {
    let blobs = Blobs::in_folder(folder)?;
    let found = oci::find(&blobs)?.ok_or(ImportError::NoImage)?;
    Archive::new(found, blobs)
}

impl Archive {
    fn new(found: Found, blobs: Blobs) -> Result<Self, ImportError> {
        let Found {
            mut names,
            config,
            layers,
        } = found;
        config.check_platform()?;
        let diff_ids = config.diff_ids();
        if diff_ids.len() != layers.len() {
            let reason = format!("it names {} layers", diff_ids.len());
            let what = format!("the configuration of an image of {} layers", layers.len());
            return Err(ImportError::malformed(what, reason));
        }
        names.sort_unstable();
        names.dedup();
        let layer = |((path, digest), diff_id): (_, &String)| LayerRef {
            diff_id: diff_id.clone(),
            path,
            digest,
        };
        Ok(Self {
            names,
            layers: layers.into_iter().zip(diff_ids).map(layer).collect(),
            config,
            blobs,
        })
    }

    /// Unpacks a layer of this archive as [`unpack`] does, and verifies its digests. Layers may be
    /// unpacked at the same time.
    ///
    /// Errors: those of [`unpack`], `Missing`, and `Digest`, after which `target` holds what is not
    /// the image's.
    pub(crate) fn unpack(
        &self,
        layer: &LayerRef,
        target: BorrowedFd<'_>,
        bounds: &Bounds,
    ) -> Result<Unpacked, ImportError> {
        let what = || format!("the layer {}", layer.path);
        let piece = self.blobs.open(&layer.path)?;
        let piece = piece.ok_or_else(|| ImportError::Missing { what: what() })?;
        let mut hashed = Hashed::new(piece);
        let unpacked = unpack(&mut hashed, target, bounds)?;
        if let Some(expected) = &layer.digest {
            let found = hashed.digest();
            let found = found.map_err(|error| ImportError::reading(&layer.path, error))?;
            verify(what(), expected, found)?;
        }
        let uncompressed = format!("the layer {}, uncompressed", layer.path);
        verify(uncompressed, &layer.diff_id, unpacked.digest.clone())?;
        Ok(unpacked)
    }
}

/// Errors: `Digest` if the digests differ.
pub(super) fn verify(what: String, expected: &str, found: String) -> Result<(), ImportError> {
    if expected == found {
        return Ok(());
    }
    Err(ImportError::Digest {
        what,
        expected: expected.to_owned(),
        found,
    })
}

/// What a compressed file holds, in a file of its own.
fn decompressed(source: Piece, scratch: &Path, bounds: &Bounds) -> Result<File, ImportError> {
    let writing = |error| {
        let what = format!("a temporary file in {}", scratch.display());
        ImportError::writing(what.as_bytes(), error)
    };
    let mut file = tempfile::tempfile_in(scratch).map_err(writing)?;
    let (counted, went_in) = Counted::new(source);
    let mut source = Metered::new(Decoder::new(counted)?, went_in, *bounds);
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(file),
            Ok(read) => file.write_all(&chunk[..read]).map_err(writing)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImportError::reading("the archive", error)),
        }
    }
}

#[cfg(test)]
mod tests;
