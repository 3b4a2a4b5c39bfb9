//! Moving and merging the layers of an image, for backends whose runtime limits their number.
//!
//! [`read`] takes the layers of an image out of an archive as `docker save` writes it, and
//! [`read_folders`] takes them from where an overlay file system keeps them; [`Layers::merge`]
//! makes one layer of the upper ones, and [`Layers::into_archive`] gives what the runtime loads.
//! What does not fit into memory is in files that the caller brings; held in memory is one path per
//! entry of the layers.
//!
//! # What a merged layer is
//!
//! A layer is a tar stream of what differs from the layers below (OCI image-spec 1.1, "Image
//! Layer Filesystem Changeset"). Over the layers below, the merged layer gives the same tree as its
//! parts one after the other:
//!
//! - of each path the uppermost entry counts; it is copied byte for byte with its extension
//!   headers, so that extended attributes, times and whatever else is in them stay;
//! - a folder over a folder keeps what is in it; a folder in the place of something else hides
//!   what lies below, so that it becomes opaque (`.wh..wh..opq`);
//! - a deletion (`.wh.NAME`) stays one if the layers below hold what it deletes, and goes if they
//!   do not;
//! - names of one file stay names of one file (hard links): where the name under which it was
//!   stored is gone, the file is stored under the first that is left. A hard link to something
//!   that is in none of the merged layers cannot be kept and is an error; neither Docker nor
//!   Podman make such layers, since overlayfs copies a file up before it gets a further name.

mod archive;
mod folder;
mod index;
mod member;
mod write;

#[cfg(test)]
mod model;

use std::io;

pub use self::archive::{LayerError, Layers, read, read_folders};
pub use self::folder::folders;
use crate::{ImageId, RuntimeError};

/// What a failure in the caller's files means for who wanted the layers of `image` merged:
/// `Damaged` for layers that are none, otherwise an error of `op`.
pub fn local_error(op: &'static str, image: &ImageId, error: io::Error) -> RuntimeError {
    if error.kind() == io::ErrorKind::InvalidData {
        return RuntimeError::Damaged {
            what: format!("the layers of image {image}"),
            reason: error.to_string(),
        };
    }
    RuntimeError::Daemon {
        op,
        status: None,
        message: "the temporary files cannot be used".into(),
        source: Some(error.into()),
    }
}

/// The error for bytes that are no layer, or one that cannot be merged.
fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
