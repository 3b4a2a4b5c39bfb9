//! The storage: the folder in which everything lies, and what is where in it.
//!
//! ```text
//! books.sqlite      what there is (module `books`)
//! layers/N/         a layer's files, in overlayfs' own form
//! containers/ID/    a container: its writable layer, its output, what the helper wrote down
//! volumes/NAME/     a named volume
//! network.lock      held while rules of the host are made or removed
//! ```
//!
//! A layer is written once, made durable, and never the upper of a mount.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use statefork_runtime::{ContainerId, Result, RuntimeError};

use crate::NAME;
use crate::books::LayerId;

/// How often a folder is removed into which somebody puts something meanwhile.
const ATTEMPTS: u32 = 10;

/// The folder of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    root: PathBuf,
}

impl Storage {
    /// The storage in `root`, absolute; nothing is touched.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes what is missing of it, open to its owner only.
    ///
    /// Errors: `Invalid` for a folder that others may enter: layers hold programs that run as root.
    pub(crate) fn make(&self) -> Result<()> {
        for folder in [self.layers(), self.containers(), self.volumes()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| self.unusable(error))?;
        }
        let metadata = self.root.metadata();
        let mode = metadata.map_err(|error| self.unusable(error))?.mode();
        if mode & 0o077 != 0 {
            let root = self.root.display();
            return Err(RuntimeError::Invalid {
                what: format!("the storage {root}"),
                reason: format!(
                    "others may enter it (mode {:o}); `chmod 700 {root}` mends that",
                    mode & 0o7777
                ),
            });
        }
        Ok(())
    }

    fn unusable(&self, error: io::Error) -> RuntimeError {
        match error.kind() {
            io::ErrorKind::PermissionDenied => RuntimeError::PermissionDenied {
                runtime: NAME,
                endpoint: self.root.display().to_string(),
                source: error.into(),
            },
            _ => system_at("make the storage", &self.root, error),
        }
    }

    /// Waits for whoever changes what the host does for all containers; released when it is dropped.
    pub(crate) fn lock_network(&self) -> Result<File> {
        lock(&self.root.join("network.lock"))
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the books.
    pub(crate) fn books(&self) -> PathBuf {
        self.root.join("books.sqlite")
    }

    /// The folder of all layers.
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The files of a layer.
    pub(crate) fn layer(&self, layer: LayerId) -> PathBuf {
        self.layers().join(layer.to_string())
    }

    /// Where copies lie until they are part of a layer that is being written.
    pub(crate) fn copies(&self, layer: LayerId) -> PathBuf {
        self.layers().join(format!("{layer}.copies"))
    }

    fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The folder of a container.
    pub(crate) fn container(&self, container: &ContainerId) -> PathBuf {
        self.containers().join(container.as_str())
    }

    fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The folder of a volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }
}

/// Waits for the lock of a file, which is made where it does not exist; released when it is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let locked = File::create(path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| system_at("wait for a lock", path, error))
}

/// The same for a folder that somebody else may remove: `None` where it is gone.
pub(crate) fn lock_if_there(path: &Path) -> Result<Option<File>> {
    let locked = File::create(path).and_then(|file| file.lock().map(|()| file));
    match locked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked
            .map(Some)
            .map_err(|error| system_at("wait for a lock", path, error)),
    }
}

/// Removes a folder with all that is in it; absent is success.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    let mut attempt = 1;
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Somebody who waits for the lock in it has made that anew.
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            removed => return removed,
        }
    }
}

/// What a failure of the system means for whoever asked for `op`: `StorageFull` where there was no
/// room, else an error with the system's own words.
pub(crate) fn system(op: &'static str, error: io::Error) -> RuntimeError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            RuntimeError::StorageFull { op, runtime: NAME }
        }
        _ => RuntimeError::Daemon {
            op,
            status: None,
            message: "the system refused".into(),
            source: Some(error.into()),
        },
    }
}

/// The same for what was done to a path, which the text then names.
pub(crate) fn system_at(op: &'static str, path: &Path, error: io::Error) -> RuntimeError {
    match system(op, error) {
        RuntimeError::Daemon {
            op, status, source, ..
        } => RuntimeError::Daemon {
            op,
            status,
            message: path.display().to_string(),
            source,
        },
        other => other,
    }
}

/// Runs what blocks on a thread of its own. It comes to its end although the future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    op: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(system(op, io::Error::other(cancelled))),
        },
    }
}
