//! The merge against a plain model: over any base, the merged layer gives the same tree as its
//! parts one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::member::Member;
use super::{LayerError, read};

/// An entry of a layer.
#[derive(Clone, Debug)]
enum Entry {
    Folder(PathBuf, u32),
    /// Its content, which is also the value of its extended attribute.
    File(PathBuf, Vec<u8>),
    Symlink(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Whiteout(PathBuf),
    Opaque(PathBuf),
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Folder(u32),
    /// Content, and a number that all names of the file share.
    File(Vec<u8>, usize),
    Symlink(PathBuf, usize),
}

#[derive(Clone, Debug, Default)]
struct Tree {
    things: BTreeMap<PathBuf, Thing>,
    made: usize,
}

impl Tree {
    fn remove_below(&mut self, path: &Path) {
        self.things
            .retain(|other, _| other == path || !other.starts_with(path));
    }

    fn remove(&mut self, path: &Path) {
        self.things.retain(|other, _| !other.starts_with(path));
    }

    fn is_folder(&self, path: &Path) -> bool {
        path == Path::new("") || matches!(self.things.get(path), Some(Thing::Folder(_)))
    }

    /// Applies a layer: deletions are of what was there before it.
    fn apply(&mut self, layer: &[Entry]) {
        for entry in layer {
            match entry {
                Entry::Whiteout(path) => self.remove(path),
                Entry::Opaque(folder) => self.remove_below(folder),
                _ => {}
            }
        }
        for entry in layer {
            self.made += 1;
            let (path, thing) = match entry {
                Entry::Whiteout(_) | Entry::Opaque(_) => continue,
                Entry::Folder(path, mode) => {
                    if !self.is_folder(path) {
                        self.remove(path);
                    }
                    self.things.insert(path.clone(), Thing::Folder(*mode));
                    continue;
                }
                Entry::File(path, content) => (path, Thing::File(content.clone(), self.made)),
                Entry::Symlink(path, target) => (path, Thing::Symlink(target.clone(), self.made)),
                Entry::Link(path, target) => (path, self.things[target].clone()),
            };
            self.remove(path);
            self.things.insert(path.clone(), thing);
        }
    }

    /// With the numbers of files replaced by their first names.
    fn plain(&self) -> BTreeMap<PathBuf, (Thing, PathBuf)> {
        let mut first = BTreeMap::new();
        let mut plain = BTreeMap::new();
        for (path, thing) in &self.things {
            let mut thing = thing.clone();
            let mut name = path.clone();
            if let Thing::File(_, number) | Thing::Symlink(_, number) = &mut thing {
                name = first.entry(*number).or_insert(name).clone();
                *number = 0;
            }
            plain.insert(path.clone(), (thing, name));
        }
        plain
    }
}

/// Makes a layer as an overlay file system would: with the folders above each entry, deletions
/// only in folders, and links only to what the layers above the base hold.
fn layer(ops: &[(u8, Vec<u8>, Vec<u8>)], below: &Tree, own: &mut BTreeSet<PathBuf>) -> Vec<Entry> {
    let mut layer = Vec::new();
    let mut tree = below.clone();
    let push = |entry: Entry, layer: &mut Vec<Entry>, tree: &mut Tree| {
        layer.push(entry);
        *tree = below.clone();
        tree.apply(layer);
    };
    for (number, (kind, path, other)) in ops.iter().enumerate() {
        let path = path_of(path);
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|folder| *folder != Path::new(""));
        for folder in above.iter().rev() {
            let known = |entry: &Entry| matches!(entry, Entry::Folder(path, _) if path == folder);
            if !layer.iter().any(known) || !tree.is_folder(folder) {
                let mode = match tree.things.get(*folder) {
                    Some(Thing::Folder(mode)) => *mode,
                    _ => 0o700 + number as u32 % 8,
                };
                push(
                    Entry::Folder((*folder).to_owned(), mode),
                    &mut layer,
                    &mut tree,
                );
            }
        }
        let entry = match kind {
            0 => Entry::Folder(path, 0o750 + u32::from(other[0])),
            1 | 2 => Entry::File(path, [b"\n=", other.as_slice(), b" 9 "].concat()),
            3 => Entry::Symlink(
                path,
                PathBuf::from("l".repeat(80 * usize::from(other[0]) + 1)),
            ),
            // Deletions come first: one after a link would take what that leads to.
            4 | 5 if layer.iter().any(|entry| matches!(entry, Entry::Link(..))) => continue,
            4 => Entry::Whiteout(path),
            5 => {
                push(Entry::Opaque(path.clone()), &mut layer, &mut tree);
                Entry::Folder(path, 0o700)
            }
            _ => {
                let target = path_of(other);
                let is_file = matches!(
                    tree.things.get(&target),
                    Some(Thing::File(..) | Thing::Symlink(..))
                );
                let in_layers = own.contains(&target)
                    || layer.iter().any(|entry| {
                        matches!(entry, Entry::File(path, _) | Entry::Symlink(path, _)
                        | Entry::Link(path, _) if *path == target)
                    });
                if !is_file || !in_layers || target == path {
                    continue;
                }
                Entry::Link(path, target)
            }
        };
        push(entry, &mut layer, &mut tree);
    }
    for entry in &layer {
        if let Entry::File(path, _) | Entry::Symlink(path, _) | Entry::Link(path, _) = entry {
            own.insert(path.clone());
        }
    }
    layer
}

/// A short path; some of its names are long, so that no header has room for them.
fn path_of(numbers: &[u8]) -> PathBuf {
    let names = numbers.iter().map(|number| match number {
        3 => "d".repeat(120),
        number => char::from(b'a' + number).to_string(),
    });
    names.collect()
}

fn write(layer: &[Entry]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for entry in layer {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        match entry {
            Entry::Folder(path, mode) => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                out.append_data(&mut header, path.join(""), &[][..])
            }
            Entry::File(path, content) => {
                out.append_pax_extensions([("SCHILY.xattr.user.a", content.as_slice())])
                    .unwrap();
                header.set_size(content.len() as u64);
                out.append_data(&mut header, path, content.as_slice())
            }
            Entry::Symlink(path, target) => {
                header.set_entry_type(EntryType::Symlink);
                out.append_link(&mut header, path, target)
            }
            Entry::Link(path, target) => {
                header.set_entry_type(EntryType::Link);
                out.append_link(&mut header, path, target)
            }
            Entry::Whiteout(path) => {
                let name = format!(".wh.{}", path.file_name().unwrap().display());
                out.append_data(&mut header, path.with_file_name(name), &[][..])
            }
            Entry::Opaque(path) => out.append_data(&mut header, path.join(".wh..wh..opq"), &[][..]),
        }
        .unwrap();
    }
    out.into_inner().unwrap()
}

fn entries(layer: &[u8]) -> Vec<Entry> {
    let mut source = Cursor::new(layer);
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(member) = Member::read(&mut source, at, layer.len() as u64).unwrap() {
        at = member.end;
        let path = member.path.clone();
        let name = path.file_name().unwrap().display().to_string();
        let kind = member.header.entry_type();
        entries.push(if name == ".wh..wh..opq" {
            Entry::Opaque(path.parent().unwrap().to_owned())
        } else if let Some(name) = name.strip_prefix(".wh.") {
            Entry::Whiteout(path.with_file_name(name))
        } else if let Some(target) = member.hard_link().unwrap() {
            Entry::Link(path, target)
        } else if kind.is_symlink() {
            let target = String::from_utf8(member.link).unwrap();
            Entry::Symlink(path, target.into())
        } else if member.is_folder {
            Entry::Folder(path, member.header.mode().unwrap())
        } else {
            source.seek(SeekFrom::Start(member.data)).unwrap();
            let mut content = vec![0; member.header.entry_size().unwrap() as usize];
            source.read_exact(&mut content).unwrap();
            let attribute = member.records.iter().find(|r| r.key.starts_with(b"SCHILY"));
            assert_eq!(attribute.unwrap().value, content);
            Entry::File(path, content)
        });
    }
    entries
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Merges layers as a backend does: out of an archive that holds another one too, in pieces.
async fn merge(base: &[u8], parts: &[Vec<u8>]) -> Result<Vec<u8>, LayerError<()>> {
    let mut archive = tar::Builder::new(Vec::new());
    let other = write(&[Entry::File("other".into(), vec![1; 2000])]);
    let layers: Vec<Vec<u8>> = [base.to_vec()].into_iter().chain(parts.to_vec()).collect();
    let all: Vec<&Vec<u8>> = layers.iter().chain([&other]).collect();
    for (number, layer) in all.into_iter().enumerate().rev() {
        let mut header = Header::new_ustar();
        header.set_size(layer.len() as u64);
        let path = format!("{number}/layer.tar");
        archive
            .append_data(&mut header, path, layer.as_slice())
            .unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let pieces = archive
        .chunks(1000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let wanted: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let layers = read(stream::iter(pieces), &wanted, Cursor::new(Vec::new())).await?;
    let merged = layers.merge(1, Cursor::new(Vec::new())).await;
    let merged = merged.map_err(LayerError::Io)?;
    let Some(digest) = merged.iter().next().map(|(digest, _)| digest.to_owned()) else {
        return Ok(Vec::new());
    };
    let files = [("manifest.json".to_owned(), b"[]".to_vec())];
    let path = |number, _: &str| format!("{number}/layer.tar");
    let archive = merged.into_archive(&files, path).unwrap();
    let archive: Vec<Bytes> = archive.try_collect().await.unwrap();
    let archive = archive.concat();
    let mut archive = tar::Archive::new(archive.as_slice());
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    assert_eq!(
        entries.next().unwrap().path().unwrap(),
        Path::new("manifest.json")
    );
    let mut layer = Vec::new();
    entries.next().unwrap().read_to_end(&mut layer).unwrap();
    assert_eq!(sha256(&layer), digest);
    Ok(layer)
}

fn merged(base: &[Entry], parts: &[Vec<u8>]) -> Vec<u8> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    tokio.block_on(merge(&write(base), parts)).unwrap()
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4_u8, 1..4)
}

fn ops() -> impl Strategy<Value = Vec<(u8, Vec<u8>, Vec<u8>)>> {
    prop::collection::vec((0..8_u8, paths(), paths()), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_merged_layer_gives_the_tree_of_its_parts(
        base in ops(),
        parts in prop::collection::vec(ops(), 1..5),
    ) {
        let mut tree = Tree::default();
        let lowest = layer(&base, &Tree::default(), &mut BTreeSet::new());
        tree.apply(&lowest);
        let base = tree.clone();
        let mut own = BTreeSet::new();
        let mut layers = Vec::new();
        for ops in &parts {
            let layer = layer(ops, &tree, &mut own);
            tree.apply(&layer);
            layers.push(write(&layer));
        }
        let merged = entries(&merged(&lowest, &layers));
        for entry in &merged {
            if let Entry::Whiteout(path) = entry {
                prop_assert!(base.things.contains_key(path), "{path:?} hides nothing");
            }
        }
        let mut flat = base.clone();
        flat.apply(&merged);
        prop_assert_eq!(flat.plain(), tree.plain());
    }
}

#[test]
fn a_file_whose_first_name_is_gone_keeps_its_bytes_under_the_next() {
    let base = [Entry::File("a".into(), b"former".to_vec())];
    let first = [
        Entry::File("a".into(), b"content".to_vec()),
        Entry::Link("b".into(), "a".into()),
        Entry::Link("c".into(), "a".into()),
    ];
    let second = [Entry::Whiteout("a".into())];
    let merged = entries(&merged(&base, &[write(&first), write(&second)]));
    assert_eq!(
        format!("{merged:?}"),
        r#"[Whiteout("a"), File("b", [99, 111, 110, 116, 101, 110, 116]), Link("c", "b")]"#
    );
}

#[test]
fn deletions_of_what_is_not_there_say_nothing() {
    let first = [
        Entry::Folder("a".into(), 0o755),
        Entry::Opaque("a".into()),
        Entry::File("a/b".into(), b"1".to_vec()),
    ];
    let second = [
        Entry::Folder("a".into(), 0o700),
        Entry::Whiteout("a/b".into()),
    ];
    let layers = [write(&first), write(&second)];
    let over_something = [
        Entry::Folder("a".into(), 0o755),
        Entry::File("a/c".into(), b"2".to_vec()),
    ];
    let shown = |base| format!("{:?}", entries(&merged(base, &layers)));
    assert_eq!(shown(&over_something), r#"[Folder("a", 448), Opaque("a")]"#);
    assert_eq!(shown(&[]), r#"[Folder("a", 448)]"#);
}

#[tokio::test]
async fn a_link_to_what_no_layer_holds_is_refused() {
    let layer = write(&[Entry::Link("a".into(), "b".into())]);
    match merge(&write(&[]), &[layer]).await {
        Err(LayerError::Io(error)) => {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("the hard link a"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_layer_that_is_not_there_and_a_source_that_fails_are_told_apart() {
    let nothing = stream::iter([Ok::<_, u8>(Bytes::from(vec![0; 1024]))]);
    let wanted = [sha256(b"")];
    let missing = read(nothing, &wanted, Cursor::new(Vec::new())).await;
    assert!(matches!(missing, Err(LayerError::Missing(id)) if id == wanted[0]));
    let broken = stream::iter([Ok(Bytes::from(vec![0; 1024])), Err(7)]);
    let broken = read(broken, &wanted, Cursor::new(Vec::new())).await;
    assert!(matches!(broken, Err(LayerError::Source(7))));
}
