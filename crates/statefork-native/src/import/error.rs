//! Why an image was not imported.

use std::io;

/// The error of everything in [`import`](super). Each text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// What is to be imported cannot be read: the system or the stream says why.
    #[error("read {what}")]
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Bytes that are not what they should be: no archive, cut off, or not of its format.
    #[error("read {what}: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is an archive, and there is no image in it: neither `manifest.json` nor `index.json`.
    #[error("find an image in the archive: it has neither manifest.json nor index.json")]
    NoImage,
    /// There are several images, of which one would have to be chosen.
    #[error("import one image of {}: {}", .images.len(), .images.join(", "))]
    Several {
        /// Their names, or digests where they have none.
        images: Vec<String>,
    },
    /// The image is for other machines.
    #[error("run an image for {found} here: this machine is {wanted}")]
    Platform {
        /// What this machine is, `OS/ARCHITECTURE`.
        wanted: String,
        /// What the image is for.
        found: String,
    },
    /// Something that the image names is not in the archive.
    #[error("find {what} in the archive")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// The bytes are not those that the image names.
    #[error("verify {what}: its digest is sha256:{found}, not sha256:{expected}")]
    Digest {
        /// Whose bytes.
        what: String,
        /// The digest that the image names, hex.
        expected: String,
        /// The one of the bytes, hex.
        found: String,
    },
    /// A value of the image's configuration cannot be used.
    #[error("use {field} {value:?} of the image's configuration: {reason}")]
    Setting {
        /// The field, as the specification names it.
        field: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// An entry that a layer must not have.
    #[error("unpack {path}: {refusal}")]
    Refused {
        /// The entry's path as the archive has it, bytes that are no text replaced.
        path: String,
        /// Why.
        refusal: Refusal,
    },
    /// More than [`Bounds`](super::Bounds) allows: an accident or an attack.
    #[error("unpack the archive: {0}")]
    OutOfBounds(Bound),
    /// The file system is full, or the user's share of it.
    #[error("write {path}: no space left")]
    StorageFull {
        /// What was written.
        path: String,
    },
    /// Something else went wrong as it was written.
    #[error("write {path}")]
    Write {
        /// What was written.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It has `..` in its path.
    #[error("its path has `..` in it")]
    Climbs,
    /// A byte 0 in its path, link or an attribute's name.
    #[error("there is a byte 0 in its path, its link or the name of an attribute")]
    Nul,
    /// A path, or a part of it, that is longer than Linux takes.
    #[error("its path is too long")]
    TooLong,
    /// So many folders in each other that it could hardly be removed again.
    #[error("it lies too many folders deep")]
    TooDeep,
    /// Nothing but a folder can be the root.
    #[error("the root can only be a folder")]
    Root,
    /// What should be a folder above it is something else, a symbolic link for example.
    #[error("{0} above it is no folder")]
    NoFolder(String),
    /// A hard link to something that this layer has not, or a link to a folder.
    #[error("the hard link leads to {0}, which is no file of the same archive")]
    HardLink(String),
    /// A symbolic link that leads nowhere, or is longer than Linux takes.
    #[error("the symbolic link is empty or too long")]
    Symlink,
    /// The mark of a deletion with no name in it, or with entries below it.
    #[error("it marks a deletion and names nothing that can be deleted")]
    Whiteout,
    /// A device 0:0, or a file named as a deletion is: either would delete.
    #[error("it would be taken for a deletion")]
    Deletes,
    /// An attribute with which the file system itself works.
    #[error("the attribute {0} belongs to the file system")]
    Attribute(String),
    /// User or group beyond 32 bits, or the number that means none.
    #[error("its owner is no user or group")]
    Owner,
    /// An entry of a kind that no container tool writes.
    #[error("entries of kind {0:?} are not known")]
    Kind(char),
    /// The folder that is written to lies in the one that is copied.
    #[error("it is the folder that is written to")]
    Itself,
}

/// A bound that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bound {
    /// Bytes unpacked.
    #[error("it has more than {0} bytes")]
    Bytes(u64),
    /// Files, folders and everything else.
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// Bytes unpacked for each one that is packed.
    #[error("it grows more than {0} times as it is decompressed")]
    Ratio(u64),
}

impl ImportError {
    /// What an error of reading `what` means. Of our own readers, it may be one of ours inside.
    pub(super) fn reading(what: &str, error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        let what = what.to_owned();
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => error.to_string(),
            _ => {
                return Self::Read {
                    what,
                    source: error,
                };
            }
        };
        Self::Malformed { what, reason }
    }

    /// What an error of writing the entry `path` means.
    pub(super) fn writing(path: &[u8], error: impl Into<io::Error>) -> Self {
        let source = error.into();
        let path = shown(path);
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull { path },
            _ => Self::Write { path, source },
        }
    }

    /// The error for the entry `path`.
    pub(super) fn refused(path: &[u8], refusal: Refusal) -> Self {
        Self::Refused {
            path: shown(path),
            refusal,
        }
    }

    /// The error for bytes that are no `what`.
    pub(super) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

/// A path for people.
pub(super) fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return "the root".into();
    }
    String::from_utf8_lossy(path).into_owned()
}
