//! Merging the layers of an image, for backends whose runtime limits their number.
//!
//! [`read`] takes the layers that are wanted out of an archive as `docker save` writes it,
//! [`Layers::merge`] makes one layer of them, and [`Layer::into_archive`] gives what the runtime
//! loads. What does not fit into memory is in files that the caller brings; held in memory is one
//! path per entry of the layers.
//!
//! # What a merged layer is
//!
//! A layer is a tar stream of what differs from the layers below (OCI image-spec 1.1, "Image
//! Layer Filesystem Changeset"). Over whatever lies below, the merged layer gives the same tree as
//! its parts one after the other:
//!
//! - of each path the uppermost entry counts; it is copied byte for byte with its extension
//!   headers, so that extended attributes, times and whatever else is in them stay;
//! - a folder over a folder keeps what is in it; a folder in the place of something else hides
//!   what lies below, so that it becomes opaque (`.wh..wh..opq`);
//! - a deletion (`.wh.NAME`) stays one, since nothing is known of what lies below;
//! - names of one file stay names of one file (hard links): where the name under which it was
//!   stored is gone, the file is stored under the first that is left. A hard link to something
//!   that is in none of the merged layers cannot be kept and is an error; neither Docker nor
//!   Podman make such layers, since overlayfs copies a file up before it gets a further name.

mod archive;
mod index;
mod member;
mod write;

#[cfg(test)]
mod model;

use std::io;

pub use self::archive::{Layer, LayerError, Layers, read};

/// The error for bytes that are no layer, or one that cannot be merged.
fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
