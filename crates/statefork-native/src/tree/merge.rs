//! One layer in the place of several.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use super::changes::is_there;
use super::entry::{Entry, Kind, is_opaque, kind, names, open_entry, open_folder, open_root};
use super::write::{Reader, Writer, sync_folder};

/// Writes into `target`, an empty folder, what `layers` give one upon the other, the uppermost first,
/// over those of `below`, and makes it durable. `copies` is an empty folder on the same file system.
/// Bytes of the files' contents.
pub(crate) fn merge(
    layers: &[PathBuf],
    below: &[PathBuf],
    target: &Path,
    copies: &Path,
) -> io::Result<u64> {
    let open = |layers: &[PathBuf]| {
        let opened = layers.iter().map(|layer| open_root(layer));
        opened.collect::<io::Result<Vec<_>>>()
    };
    let (layers, below) = (open(layers)?, open(below)?);
    let mut merge = Merge {
        readers: layers
            .iter()
            .enumerate()
            .map(|(origin, layer)| Reader::new(layer, origin, copies))
            .collect(),
        layers: &layers,
        below: &below,
        writer: Writer::new(target)?,
    };
    let all: Vec<usize> = (0..layers.len()).collect();
    merge.folder(Path::new(""), &all, false, false)?;
    let bytes = merge.writer.finish()?;
    if let Some(layers) = target.parent() {
        sync_folder(layers)?;
    }
    Ok(bytes)
}

struct Merge<'a> {
    layers: &'a [OwnedFd],
    below: &'a [OwnedFd],
    readers: Vec<Reader<'a>>,
    writer: Writer,
}

impl Merge<'_> {
    /// Merges a folder that these layers have, the uppermost first. `hides`: of what is below all of
    /// them nothing counts here any more. `opaque`: this folder says so itself.
    fn folder(
        &mut self,
        path: &Path,
        having: &[usize],
        hides: bool,
        opaque: bool,
    ) -> io::Result<()> {
        self.put(path, having[0], opaque)?;
        let mut entries: BTreeMap<OsString, Vec<(usize, Kind)>> = BTreeMap::new();
        for &layer in having {
            let folder = open_folder(&self.layers[layer], path)?;
            for name in names(&folder)? {
                let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                let kind = kind(stat.st_mode, stat.st_rdev);
                entries.entry(name).or_default().push((layer, kind));
            }
        }
        for (name, found) in entries {
            let path = path.join(name);
            let (uppermost, kind) = found[0];
            match kind {
                Kind::Whiteout => {
                    if !hides && is_there(self.below, &path)? {
                        self.writer.whiteout(&path)?;
                    }
                }
                Kind::Folder => {
                    let (merged, ends) = self.stack(&path, &found)?;
                    let opaque = ends && !hides && is_there(self.below, &path)?;
                    self.folder(&path, &merged, hides || ends, opaque)?;
                }
                Kind::File | Kind::Link | Kind::Node => self.put(&path, uppermost, false)?,
            }
        }
        Ok(())
    }

    /// The layers whose folders at this path make up one, and whether something ends it there, so
    /// that nothing of what is below counts.
    fn stack(&self, path: &Path, found: &[(usize, Kind)]) -> io::Result<(Vec<usize>, bool)> {
        let mut merged = Vec::new();
        for &(layer, kind) in found {
            if kind != Kind::Folder {
                return Ok((merged, true));
            }
            merged.push(layer);
            let folder = open_folder(&self.layers[layer], path)?;
            if is_opaque(folder.as_fd())? {
                return Ok((merged, true));
            }
        }
        Ok((merged, false))
    }

    fn put(&mut self, path: &Path, layer: usize, opaque: bool) -> io::Result<()> {
        let found = open_entry(self.layers[layer].as_fd(), path)?;
        let entry = Entry::new(path.to_owned(), &rustix::fs::fstat(&found)?, false);
        let held = self.readers[layer].read(&entry)?;
        let held = held.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.writer.put(held, opaque)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode};

    use super::super::entry::{OPAQUE, walk};
    use super::*;

    /// Makes layers of lines: `d PATH`, `f PATH`, `w PATH` (whiteout), `o PATH` (opaque folder).
    fn layer(dir: &Path, name: &str, lines: &[&str]) -> PathBuf {
        let root = dir.join(name);
        fs::create_dir(&root).unwrap();
        for line in lines {
            let (kind, path) = line.split_once(' ').unwrap();
            let path = root.join(path);
            match kind {
                "f" => fs::write(&path, name).unwrap(),
                "w" => rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)
                    .unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            if kind == "o" {
                xattr::set(&path, OPAQUE, b"y").unwrap();
            }
        }
        root
    }

    /// A tree as such lines, files with their content.
    fn lines(root: &Path) -> Vec<String> {
        let walked = walk(open_root(root).unwrap().as_fd()).unwrap();
        let line = |entry: &Entry| {
            let path = entry.path.display();
            match entry.kind() {
                Kind::Whiteout => format!("w {path}"),
                Kind::Folder if entry.stamp.opaque => format!("o {path}"),
                Kind::Folder => format!("d {path}"),
                _ => format!(
                    "f {path} {}",
                    fs::read_to_string(root.join(&entry.path)).unwrap()
                ),
            }
        };
        walked[1..].iter().map(line).collect()
    }

    #[test]
    fn the_merged_layer_gives_what_its_parts_give() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let below = layer(dir, "base", &["d a", "f a/1", "f b", "d c", "f c/1", "f e"]);
        let first = layer(
            dir,
            "one",
            &["w b", "o a", "f a/2", "f new", "d d", "f d/1", "w e"],
        );
        let second = layer(
            dir,
            "two",
            &["d a", "w a/2", "f a/3", "w new", "w c", "w d", "f e"],
        );
        let third = layer(dir, "three", &["d c", "f c/2", "d d", "f d/2"]);
        let (target, copies) = (layer(dir, "target", &[]), layer(dir, "copies", &[]));
        let bytes = merge(&[third, second, first], &[below], &target, &copies).unwrap();
        assert_eq!(
            lines(&target),
            [
                "o a",
                "f a/3 two",
                "w b",
                "o c",
                "f c/2 three",
                "d d",
                "f d/2 three",
                "f e two"
            ]
        );
        assert_eq!(bytes, 16);
        assert_eq!(fs::read_dir(&copies).unwrap().count(), 0);
    }
}
