//! Images from outside: archives of images, root file systems, and their layers unpacked as
//! overlayfs wants them.
//!
//! [`read`] and [`read_folder`] find the one image in an archive or an OCI layout; its layers are
//! then unpacked one by one with [`Archive::unpack`], each into an empty folder. [`unpack`] does
//! that for a layer from any stream, which is also how a root file system as a plain tar is read;
//! [`root_from_folder`] copies one that is a folder.
//!
//! Everything here blocks and belongs on a thread of its own. What is read is believed in nothing:
//! see [`unpack`] for what an archive cannot do.

mod archive;
mod attributes;
mod blobs;
mod bounds;
mod compression;
mod config;
mod content;
mod docker;
mod error;
mod field;
mod folder;
mod member;
mod oci;
mod path;
mod signal;
mod sparse;
mod target;
mod unpack;

#[cfg(test)]
mod sample;

pub(crate) use self::archive::{Archive, LayerRef, read, read_folder};
pub(crate) use self::bounds::Bounds;
pub(crate) use self::error::ImportError;
pub(crate) use self::folder::root_from_folder;
pub(crate) use self::unpack::{Unpacked, unpack};
