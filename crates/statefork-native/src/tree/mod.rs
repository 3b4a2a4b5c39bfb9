//! File trees in overlayfs' own form: the writable layer of a container, and layers.
//!
//! In such a tree a deletion is a character device 0:0 (*whiteout*), and a folder that hides what
//! lies below is marked (*opaque*) by the extended attribute `trusted.overlay.opaque`
//! (Linux, filesystems/overlayfs, "whiteouts and opaque directories").
//!
//! [`capture`] makes a layer of what a writable layer holds more than at its last capture,
//! [`merge`] makes one layer of several, [`changes`] tells what differs from the layers below.
//!
//! A writable layer is the container's: whatever is opened in it is opened component by component,
//! without following links, since a process of the container may swap a folder for a link meanwhile.

pub(crate) mod capture;
pub(crate) mod changes;
mod content;
mod delta;
mod entry;
mod manifest;
mod mapped;
pub(crate) mod merge;
mod write;

pub(crate) use self::entry::prepare_upper;
pub(crate) use self::manifest::Manifest;
