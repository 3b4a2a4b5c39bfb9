//! Copying files out of a container and into it, as tar streams.
//!
//! The fake has regular files alone: folders are implied by them, and entries of other kinds are
//! no concern of its containers.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use statefork_runtime::{ContainerId, Result, RuntimeError, container_entry, container_path};

use super::files::{Tree, Volumes};
use super::settings::invalid;
use super::state::State;

fn no_such(path: &str) -> RuntimeError {
    invalid(
        format!("path {path}"),
        "no such file or folder in the container",
    )
}

fn is_folder(tree: &Tree, volumes: &Volumes, path: &Path) -> bool {
    tree.has_folder(path) || !tree.files_below(volumes, path).is_empty()
}

/// The archive of one file or folder of a container.
pub(super) fn out(state: &mut State, container: &ContainerId, path: &Path) -> Result<Bytes> {
    let (container, volumes) = state.container_with_volumes(container)?;
    let (_, name) = container_entry(path)?;
    let plain = container_path(path)?;
    let path = Path::new(&plain);
    let tree = &container.tree;
    let archive = if let Ok(content) = tree.read(volumes, path) {
        archive(None, &BTreeMap::from([(PathBuf::from(&name), content)]))
    } else if is_folder(tree, volumes, path) {
        let files = tree.files_below(volumes, path).into_iter();
        let files = files
            .filter_map(|(file, content)| {
                let inside = file.strip_prefix(path).ok()?;
                Some((Path::new(&name).join(inside), content))
            })
            .collect();
        archive(Some(&name), &files)
    } else {
        return Err(no_such(&plain));
    };
    archive.map_err(|error| invalid(format!("path {plain}"), &error.to_string()))
}

fn archive(folder: Option<&str>, files: &BTreeMap<PathBuf, Bytes>) -> io::Result<Bytes> {
    let mut tar = tar::Builder::new(Vec::new());
    if let Some(name) = folder {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, io::empty())?;
    }
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, &content[..])?;
    }
    tar.into_inner().map(Bytes::from)
}

/// Where files can be unpacked: the plain path of a folder of the container.
pub(super) fn target(state: &mut State, container: &ContainerId, folder: &Path) -> Result<PathBuf> {
    let (container, volumes) = state.container_with_volumes(container)?;
    let plain = container_path(folder)?;
    let folder = PathBuf::from(&plain);
    if container.tree.read(volumes, &folder).is_ok() {
        return Err(invalid(format!("path {plain}"), "not a folder"));
    }
    if !is_folder(&container.tree, volumes, &folder) {
        return Err(no_such(&plain));
    }
    if container.tree.is_read_only(&folder) {
        return Err(invalid(format!("path {plain}"), "on a read-only mount"));
    }
    Ok(folder)
}

/// The regular files of an archive.
pub(super) fn unpack(folder: &Path, bytes: &[u8]) -> Result<BTreeMap<PathBuf, Bytes>> {
    let refused = |reason: &str| {
        let what = format!("the archive for {}", folder.display());
        Err(invalid(what, reason))
    };
    match read(bytes) {
        Err(error) => refused(&error.to_string()),
        Ok(files) => {
            let climbs = |path: &Path| path.components().any(|part| part == Component::ParentDir);
            match files.keys().find(|path| climbs(path)) {
                Some(path) => refused(&format!("{} lies outside", path.display())),
                None => Ok(files),
            }
        }
    }
}

fn read(bytes: &[u8]) -> io::Result<BTreeMap<PathBuf, Bytes>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?.into_owned();
            let parts = path.components();
            let parts =
                parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
            let path = parts.collect();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(path, Bytes::from(content));
        }
    }
    Ok(files)
}

/// Writes files into a folder of a container.
pub(super) fn write(
    state: &mut State,
    container: &ContainerId,
    folder: &Path,
    files: BTreeMap<PathBuf, Bytes>,
) -> Result<()> {
    let (container, volumes) = state.container_with_volumes(container)?;
    for (path, content) in files {
        let path = folder.join(path);
        let tree = &mut container.tree;
        let written = if is_folder(tree, volumes, &path) {
            Err(io::Error::from(io::ErrorKind::IsADirectory))
        } else {
            tree.put(volumes, &path, Some(content))
        };
        written.map_err(|error| invalid(format!("path {}", path.display()), &error.to_string()))?;
    }
    Ok(())
}
