//! File trees in memory: layers of files, and what is mounted over them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use statefork_runtime::{Change, ChangeKind, MountKind};

/// A layer: path to content, or to `None` for a file that this layer deletes.
pub(super) type Layer = BTreeMap<PathBuf, Option<Bytes>>;

/// What lies under a mount point.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A path of the host, used as it is.
    Bind(PathBuf),
    /// A volume, by name.
    Named(String),
    /// A volume made for one container because its image declares the path.
    Anonymous(Layer),
    /// Memory, empty whenever the container starts.
    Memory(Layer),
}

/// A mount of a container.
#[derive(Clone, Debug)]
pub(super) struct Mounted {
    /// Where.
    pub(super) path: PathBuf,
    /// What.
    pub(super) source: Source,
    /// Whether writing is refused.
    pub(super) read_only: bool,
}

impl Mounted {
    /// What the contract calls it.
    pub(super) fn kind(&self) -> MountKind {
        match self.source {
            Source::Bind(_) => MountKind::Bind,
            Source::Named(_) | Source::Anonymous(_) => MountKind::Volume,
            Source::Memory(_) => MountKind::Tmpfs,
        }
    }
}

/// A container's files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The image's layers, lowest first.
    pub(super) base: Vec<Arc<Layer>>,
    /// What the container changed.
    pub(super) writable: Layer,
    /// What is mounted.
    pub(super) mounts: Vec<Mounted>,
}

/// Named volumes of a runtime.
pub(super) type Volumes = BTreeMap<String, Layer>;

/// Makes a path absolute and plain; `None` if it climbs above its start.
pub(super) fn absolute(workdir: &Path, path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in workdir.join(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(Path::new("/").join(plain))
}

impl Tree {
    /// The content of a file.
    pub(super) fn read(&self, volumes: &Volumes, path: &Path) -> io::Result<Bytes> {
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        match self.mount_of(path) {
            None => self.layered(path).ok_or_else(absent),
            Some(mount) => match &mount.source {
                Source::Bind(host) => {
                    std::fs::read(below(host, &mount.path, path)).map(Bytes::from)
                }
                Source::Named(name) => volumes
                    .get(name)
                    .and_then(|files| files.get(path.strip_prefix(&mount.path).ok()?)?.clone())
                    .ok_or_else(absent),
                Source::Anonymous(files) | Source::Memory(files) => {
                    files.get(path).cloned().flatten().ok_or_else(absent)
                }
            },
        }
    }

    /// Writes a file, or deletes it for `None`.
    pub(super) fn put(
        &mut self,
        volumes: &mut Volumes,
        path: &Path,
        content: Option<Bytes>,
    ) -> io::Result<()> {
        if content.is_none() {
            self.read(volumes, path)?;
        }
        let in_image = self.base_content(path).is_some();
        let Some(mount) = self.mounts_mut_of(path) else {
            if content.is_none() && !in_image {
                self.writable.remove(path);
            } else {
                self.writable.insert(path.to_owned(), content);
            }
            return Ok(());
        };
        if mount.read_only {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        match &mut mount.source {
            Source::Bind(host) => {
                let target = below(host, &mount.path, path);
                match content {
                    Some(content) => std::fs::write(target, content),
                    None => std::fs::remove_file(target),
                }
            }
            Source::Named(name) => {
                let inside = below(Path::new(""), &mount.path, path);
                volumes
                    .entry(name.clone())
                    .or_default()
                    .insert(inside, content);
                Ok(())
            }
            Source::Anonymous(files) | Source::Memory(files) => {
                files.insert(path.to_owned(), content);
                Ok(())
            }
        }
    }

    /// Whether a folder of this path exists: the root, `/tmp`, a mount point, or above a file.
    pub(super) fn has_folder(&self, path: &Path) -> bool {
        path == Path::new("/")
            || path == Path::new("/tmp")
            || self.mounts.iter().any(|mount| mount.path.starts_with(path))
            || self
                .writable
                .iter()
                .any(|(file, content)| content.is_some() && is_above(path, file))
            || self
                .base
                .iter()
                .flat_map(|layer| layer.keys())
                .any(|file| is_above(path, file) && self.layered(file).is_some())
    }

    /// The files below a folder, with what is mounted there.
    pub(super) fn files_below(&self, volumes: &Volumes, path: &Path) -> BTreeMap<PathBuf, Bytes> {
        let mut files = BTreeSet::new();
        let layers = self.base.iter().map(AsRef::as_ref).chain([&self.writable]);
        files.extend(layers.flat_map(BTreeMap::keys).cloned());
        for mount in &self.mounts {
            match &mount.source {
                Source::Bind(host) => files.extend(
                    host_files(host)
                        .iter()
                        .map(|file| below(&mount.path, host, file)),
                ),
                Source::Named(name) => files.extend(
                    volumes
                        .get(name)
                        .into_iter()
                        .flat_map(BTreeMap::keys)
                        .map(|file| mount.path.join(file)),
                ),
                Source::Anonymous(own) | Source::Memory(own) => files.extend(own.keys().cloned()),
            }
        }
        files
            .into_iter()
            .filter(|file| is_above(path, file))
            .filter_map(|file| Some((file.clone(), self.read(volumes, &file).ok()?)))
            .collect()
    }

    /// Forgets what is in memory.
    pub(super) fn lose_memory(&mut self) {
        for mount in &mut self.mounts {
            if let Source::Memory(files) = &mut mount.source {
                files.clear();
            }
        }
    }

    /// Whether a path lies on a mount that the container cannot write.
    pub(super) fn is_read_only(&self, path: &Path) -> bool {
        self.mount_of(path).is_some_and(|mount| mount.read_only)
    }

    /// What the image holds below `path`, as the first content of a volume there.
    pub(super) fn image_files_below(&self, path: &Path) -> Layer {
        self.base
            .iter()
            .flat_map(|layer| layer.keys())
            .filter(|file| file.starts_with(path))
            .filter_map(|file| Some((file.clone(), Some(self.base_content(file)?))))
            .collect()
    }

    /// What differs from the image, with the folders in which it does.
    pub(super) fn changes(&self) -> Vec<Change> {
        let in_image: BTreeSet<&Path> = self
            .base
            .iter()
            .flat_map(|layer| layer.keys())
            .filter(|file| self.base_content(file).is_some())
            .flat_map(|file| file.ancestors())
            .collect();
        let mut kinds = BTreeMap::new();
        for (path, content) in &self.writable {
            let kind = match content {
                None => ChangeKind::Deleted,
                Some(_) if in_image.contains(path.as_path()) => ChangeKind::Modified,
                Some(_) => ChangeKind::Added,
            };
            kinds.insert(path.clone(), kind);
            for folder in path.ancestors().skip(1) {
                if folder == Path::new("/") {
                    break;
                }
                let kind = if in_image.contains(folder) {
                    ChangeKind::Modified
                } else {
                    ChangeKind::Added
                };
                kinds.insert(folder.to_owned(), kind);
            }
        }
        kinds
            .into_iter()
            .map(|(path, kind)| Change { path, kind })
            .collect()
    }

    /// Bytes that the container wrote into its own layer.
    pub(super) fn writable_bytes(&self) -> u64 {
        layer_bytes(&self.writable)
    }

    fn layered(&self, path: &Path) -> Option<Bytes> {
        match self.writable.get(path) {
            Some(content) => content.clone(),
            None => self.base_content(path),
        }
    }

    fn base_content(&self, path: &Path) -> Option<Bytes> {
        self.base
            .iter()
            .rev()
            .find_map(|layer| layer.get(path))
            .cloned()
            .flatten()
    }

    fn mount_of(&self, path: &Path) -> Option<&Mounted> {
        self.mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.path))
            .max_by_key(|mount| mount.path.components().count())
    }

    fn mounts_mut_of(&mut self, path: &Path) -> Option<&mut Mounted> {
        self.mounts
            .iter_mut()
            .filter(|mount| path.starts_with(&mount.path))
            .max_by_key(|mount| mount.path.components().count())
    }
}

/// Bytes of the files of a layer.
pub(super) fn layer_bytes(layer: &Layer) -> u64 {
    layer
        .values()
        .flatten()
        .map(|content| content.len() as u64)
        .sum()
}

/// The files below a folder of the host; none below what is no folder.
fn host_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => host_files(&path),
            false => vec![path],
        })
        .collect()
}

fn is_above(folder: &Path, file: &Path) -> bool {
    file != folder && file.starts_with(folder)
}

/// `path`, which lies at or below `mount`, as seen from `root`.
fn below(root: &Path, mount: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(mount) {
        Ok(rest) if !rest.as_os_str().is_empty() => root.join(rest),
        _ => root.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree {
            base: vec![Arc::new(Layer::from([
                ("/etc/motd".into(), Some("hello".into())),
                ("/etc/old".into(), Some("old".into())),
            ]))],
            ..Tree::default()
        }
    }

    #[test]
    fn changes_name_files_and_their_folders() {
        let mut tree = tree();
        let mut volumes = Volumes::new();
        for (path, content) in [
            ("/etc/motd", Some("bye")),
            ("/etc/old", None),
            ("/data/new", Some("n")),
        ] {
            tree.put(&mut volumes, Path::new(path), content.map(Bytes::from))
                .unwrap();
        }
        let shown: Vec<_> = tree
            .changes()
            .into_iter()
            .map(|change| format!("{:?} {}", change.kind, change.path.display()))
            .collect();
        assert_eq!(
            shown,
            [
                "Added /data",
                "Added /data/new",
                "Modified /etc",
                "Modified /etc/motd",
                "Deleted /etc/old",
            ]
        );
    }

    #[test]
    fn a_file_that_was_added_and_deleted_is_no_change() {
        let mut tree = tree();
        let mut volumes = Volumes::new();
        tree.put(&mut volumes, Path::new("/new"), Some("n".into()))
            .unwrap();
        tree.put(&mut volumes, Path::new("/new"), None).unwrap();
        assert_eq!(tree.changes(), []);
        assert!(tree.put(&mut volumes, Path::new("/new"), None).is_err());
    }

    #[test]
    fn paths_are_taken_from_the_working_directory() {
        let shown = |path| absolute(Path::new("/srv"), Path::new(path));
        assert_eq!(shown("a/../b"), Some("/srv/b".into()));
        assert_eq!(shown("/etc/./x"), Some("/etc/x".into()));
        assert_eq!(shown("../../x"), None);
    }
}
