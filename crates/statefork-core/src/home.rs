//! The home: the state directory with the store, the locks and the shims' folders.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::StatFs;
use statefork_runtime::{HomeId, ObjectId};

use crate::error::{CoreError, Result};
use crate::store::Store;

/// `f_type` of file systems on which locks or the database's shared memory are not dependable
/// (statfs(2)): NFS, SMB, CIFS, SMB2, FUSE-less 9p.
const NETWORK_FILE_SYSTEMS: [u64; 5] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];

/// An opened home.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    store: Store,
}

impl Home {
    /// Opens a home, and makes it (mode 0700) where there is none.
    ///
    /// Refused: a folder that neither the caller nor root owns, or that others can write; a network
    /// file system.
    pub fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|source| io("find", path, source))?;
        if !path.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| io("make home", &path, source))?;
        }
        check(&path)?;
        for folder in ["locks", "shims"] {
            let folder = path.join(folder);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|source| io("make", &folder, source))?;
        }
        let store = Store::open(&path.join("store.sqlite"))?;
        Ok(Self { path, store })
    }

    /// Its folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its random id.
    pub fn id(&self) -> &HomeId {
        self.store.home()
    }

    /// All environments in it, as name and runtime, sorted.
    pub fn environments(&self) -> Result<Vec<(String, String)>> {
        self.store.environment_names()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The lock of an environment that may not exist yet. Names are safe in file names.
    pub(crate) fn environment_lock(&self, name: &str, runtime: &str) -> PathBuf {
        self.path.join("locks").join(format!("{runtime}.{name}"))
    }

    /// The lock of those who wait for an environment's lock, which they take one after the other.
    pub(crate) fn environment_gate(&self, name: &str, runtime: &str) -> PathBuf {
        // No branch has an empty name.
        self.branch_lock(name, runtime, "")
    }

    /// The lock of a branch.
    pub(crate) fn branch_lock(&self, name: &str, runtime: &str, branch: &str) -> PathBuf {
        // A tilde cannot occur in a name, so no environment's lock has this name.
        let file = format!("{runtime}.{name}~{branch}");
        self.path.join("locks").join(file)
    }

    /// The lock of the processes in a branch's container.
    pub(crate) fn processes_lock(&self, name: &str, runtime: &str, branch: &str) -> PathBuf {
        let file = format!("{runtime}.{name}~{branch}~processes");
        self.path.join("locks").join(file)
    }

    /// The folder of a branch's shim.
    pub(crate) fn shim_dir(&self, branch: i64) -> PathBuf {
        self.path.join("shims").join(branch.to_string())
    }

    /// The folder of what a container is told of itself.
    pub(crate) fn identity_dir(&self, object: &ObjectId) -> PathBuf {
        self.path.join("identity").join(object.as_str())
    }

    /// All such folders.
    pub(crate) fn identities(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.join("identity");
        let listed = || {
            let entries = match std::fs::read_dir(&folder) {
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Vec::new());
                }
                entries => entries?,
            };
            entries.map(|entry| Ok(entry?.path())).collect()
        };
        listed().map_err(|source| io("list", &folder, source))
    }

    /// Removes one. Absent is success.
    pub(crate) fn remove_identity(&self, object: &ObjectId) -> Result<()> {
        let folder = self.identity_dir(object);
        match std::fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", &folder, source))
            }
            _ => Ok(()),
        }
    }

    /// Where the image of a build waits for its import, in a folder that is there.
    pub(crate) fn build_archive(&self, build: &ObjectId) -> Result<PathBuf> {
        let folder = self.path.join("builds");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| io("make", &folder, source))?;
        Ok(self.waiting(build))
    }

    /// Removes what waits there. Absent is success.
    pub(crate) fn remove_build_archive(&self, build: &ObjectId) -> Result<()> {
        let path = self.waiting(build);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    fn waiting(&self, build: &ObjectId) -> PathBuf {
        self.path.join("builds").join(format!("{build}.tar"))
    }
}

fn check(path: &Path) -> Result<()> {
    let refuse = |reason: String| {
        Err(CoreError::Home {
            path: path.to_owned(),
            reason,
        })
    };
    let metadata = path
        .metadata()
        .map_err(|source| io("look at home", path, source))?;
    if !metadata.is_dir() {
        return refuse("it is not a folder".to_owned());
    }
    let caller = rustix::process::geteuid().as_raw();
    if metadata.uid() != caller && metadata.uid() != 0 {
        return refuse(format!(
            "it belongs to user {}, neither to you nor to root",
            metadata.uid()
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(format!(
            "others can write in it (mode {:o}); `chmod 700 {}` mends that",
            metadata.mode() & 0o7777,
            path.display()
        ));
    }
    let StatFs { f_type, .. } =
        rustix::fs::statfs(path).map_err(|source| io("look at home", path, source.into()))?;
    if NETWORK_FILE_SYSTEMS.contains(&(f_type as u64)) {
        return refuse("it lies on a network file system, where locks do not hold".to_owned());
    }
    Ok(())
}

fn io(op: &'static str, path: &Path, source: std::io::Error) -> CoreError {
    CoreError::Io {
        op,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_home_is_private_and_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let id = Home::open(&path).unwrap().id().clone();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(Home::open(&path).unwrap().id(), &id);
    }

    #[test]
    fn a_home_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Home::open(folder.path()).unwrap_err();
        assert!(matches!(error, CoreError::Home { .. }), "{error}");
    }

    #[test]
    fn a_file_is_no_home() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            Home::open(file.path()).unwrap_err(),
            CoreError::Home { .. }
        ));
    }
}
