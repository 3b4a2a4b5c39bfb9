//! Which entry of which layer counts for each path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek};
use std::ops::{Bound, Range};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::invalid;
use super::member::Member;

/// The beginning of the name of an entry that deletes another.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The name of the entry that hides all that lower layers have in its folder.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// The beginning of the names that aufs used for itself; the daemons skip them.
const RESERVED: &[u8] = b".wh..wh.";

/// What the merged layers have at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A folder.
    Folder {
        /// Where its entry begins; `None` where only its content is known.
        entry: Option<u64>,
        /// Whether it hides what lower layers have in it.
        opaque: bool,
    },
    /// Anything else: a number in [`Index::files`], the same for all names of one file.
    File(usize),
    /// A deletion.
    Whiteout,
}

/// The merged layers.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By path, so that a folder comes before its content and nothing comes between.
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    /// Where the entry of each file begins.
    pub(super) files: Vec<u64>,
}

impl Index {
    /// Puts a layer, which lies at `range` of the source, on top.
    pub(super) fn add(
        &mut self,
        source: &mut (impl Read + Seek),
        range: &Range<u64>,
    ) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut at = range.start;
        while let Some(member) = Member::read(source, at, range.end)? {
            at = member.end;
            let name = member.path.file_name().unwrap_or_default().as_bytes();
            if name == OPAQUE {
                self.hide(member.path.parent().unwrap_or(Path::new("")));
            } else if name.starts_with(RESERVED) {
                // Nothing of the image.
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                self.delete(member.path.with_file_name(OsStr::from_bytes(name)));
            } else {
                let link = member.hard_link()?;
                entries.push((member.start, member.path, link, member.is_folder));
            }
        }
        // Deletions are of what lies below, wherever in the layer they stand; so they came first.
        for (start, path, link, is_folder) in entries {
            if is_folder {
                self.put_folder(path, start);
            } else if let Some(target) = link {
                match self.nodes.get(&target) {
                    Some(&Node::File(file)) => self.put_file(path, file),
                    _ => {
                        return Err(invalid(format!(
                            "the hard link {} leads to {}, which the layers do not hold",
                            path.display(),
                            target.display()
                        )));
                    }
                }
            } else {
                self.files.push(start);
                self.put_file(path, self.files.len() - 1);
            }
        }
        Ok(())
    }

    /// Forgets what deletes or hides nothing that the layers `below` hold. Besides being idle, a
    /// deletion in a folder that only one layer has shows in it: overlayfs lists the content of
    /// such a folder as it is, with the devices that stand for deletions.
    pub(super) fn forget_deletions_of_nothing(&mut self, below: &Self) {
        self.nodes.retain(|path, node| match node {
            Node::Whiteout => below.holds(path) || below.holds_more_than(path),
            Node::Folder { entry, opaque } => {
                *opaque &= below.holds_more_than(path);
                *opaque || entry.is_some()
            }
            Node::File(_) => true,
        });
    }

    fn holds(&self, path: &Path) -> bool {
        matches!(
            self.nodes.get(path),
            Some(Node::File(_) | Node::Folder { .. })
        )
    }

    /// Whether something lies in the folder.
    fn holds_more_than(&self, folder: &Path) -> bool {
        self.within(folder).any(|(_, node)| *node != Node::Whiteout)
    }

    /// What lies in the folder.
    fn within(&self, folder: &Path) -> impl Iterator<Item = (&PathBuf, &Node)> {
        let after = (Bound::Excluded(folder), Bound::Unbounded);
        self.nodes
            .range::<Path, _>(after)
            .take_while(move |(path, _)| path.starts_with(folder))
    }

    fn hide(&mut self, folder: &Path) {
        self.clear(folder);
        let entry = match self.nodes.get(folder) {
            Some(Node::Folder { entry, .. }) => *entry,
            _ => None,
        };
        let opaque = true;
        self.nodes
            .insert(folder.to_owned(), Node::Folder { entry, opaque });
    }

    fn delete(&mut self, path: PathBuf) {
        self.clear(&path);
        self.nodes.insert(path, Node::Whiteout);
    }

    fn put_folder(&mut self, path: PathBuf, start: u64) {
        self.open_way(&path);
        let opaque = match self.nodes.get(&path) {
            None => false,
            Some(Node::Folder { opaque, .. }) => *opaque,
            // What had taken the place of a folder of the layers below hid its content.
            Some(Node::File(_) | Node::Whiteout) => true,
        };
        let entry = Some(start);
        self.nodes.insert(path, Node::Folder { entry, opaque });
    }

    fn put_file(&mut self, path: PathBuf, file: usize) {
        self.open_way(&path);
        self.clear(&path);
        self.nodes.insert(path, Node::File(file));
    }

    /// Has folders above `path`, where something else was.
    fn open_way(&mut self, path: &Path) {
        for above in path.ancestors().skip(1) {
            if let Some(node @ (Node::File(_) | Node::Whiteout)) = self.nodes.get_mut(above) {
                *node = Node::Folder {
                    entry: None,
                    opaque: true,
                };
            }
        }
    }

    /// Forgets all that lies in `folder`.
    fn clear(&mut self, folder: &Path) {
        let within: Vec<PathBuf> = self.within(folder).map(|(path, _)| path.clone()).collect();
        for path in within {
            self.nodes.remove(&path);
        }
    }
}
