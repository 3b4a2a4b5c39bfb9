//! What of a writable layer its next capture has to store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Kind};
use super::manifest::Manifest;

/// What a layer gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Entries by their place in the walk, folders before what they hold. Folders on the way to
    /// something are among them.
    pub(super) entries: Vec<usize>,
    /// Folders among them that hide what is below, by their place.
    pub(super) opaque: HashSet<usize>,
    /// What was there at the last capture and has gone.
    pub(super) gone: BTreeSet<PathBuf>,
}

/// What of the writable layer that a walk has shown is not in the layers of its last capture, which
/// held what `before` says. The root is always part of it.
pub(super) fn delta(walked: &[Entry], before: &Manifest) -> Delta {
    let mut choice = Choice {
        walked,
        before,
        wanted: vec![false; walked.len()],
        fresh: Vec::new(),
        opaque: HashSet::new(),
    };
    choice.choose();
    choice.keep_names_together();
    choice.want_folders();
    let gone = choice.gone();
    let wanted = choice.wanted;
    let opaque = choice.opaque;
    Delta {
        entries: (0..walked.len()).filter(|&place| wanted[place]).collect(),
        opaque,
        gone,
    }
}

struct Choice<'a> {
    walked: &'a [Entry],
    before: &'a Manifest,
    wanted: Vec<bool>,
    /// Folders of which the layers below hold nothing that counts any more: all in them is stored.
    fresh: Vec<&'a Path>,
    opaque: HashSet<usize>,
}

impl<'a> Choice<'a> {
    fn choose(&mut self) {
        for (place, entry) in self.walked.iter().enumerate() {
            let path = entry.path.as_path();
            if path.as_os_str().is_empty() {
                self.wanted[place] = true;
                continue;
            }
            // The walk is depth first, so that the innermost fresh folder is the last.
            while self
                .fresh
                .last()
                .is_some_and(|fresh| !path.starts_with(fresh))
            {
                self.fresh.pop();
            }
            let in_fresh = !self.fresh.is_empty();
            let former = self.before.get(path);
            let is_folder = entry.kind() == Kind::Folder;
            if in_fresh {
                // Nothing is below that a whiteout could hide.
                self.wanted[place] = entry.kind() != Kind::Whiteout;
                continue;
            }
            let Some(former) = former else {
                self.wanted[place] = true;
                if is_folder && entry.stamp.opaque {
                    self.opaque.insert(place);
                    self.fresh.push(path);
                }
                continue;
            };
            let was_folder = former.mode & 0o170_000 == 0o040_000;
            if is_folder && was_folder {
                // Another folder in its place, or one that hides by now what it had shown.
                if former.inode != entry.stamp.inode || former.opaque != entry.stamp.opaque {
                    self.wanted[place] = true;
                    self.opaque.insert(place);
                    self.fresh.push(path);
                } else {
                    self.wanted[place] = *former != entry.stamp;
                }
                continue;
            }
            if is_folder {
                // In the place of a file or a whiteout, over which it merges with nothing.
                self.wanted[place] = true;
                self.fresh.push(path);
                continue;
            }
            self.wanted[place] = *former != entry.stamp;
        }
    }

    /// Names of one file are stored together, or it would fall apart.
    fn keep_names_together(&mut self) {
        let mut names: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, entry) in self.walked.iter().enumerate() {
            if entry.kind() == Kind::File && entry.attributes.links > 1 {
                names.entry(entry.stamp.inode).or_default().push(place);
            }
        }
        for places in names.into_values() {
            if places.iter().any(|&place| self.wanted[place]) {
                for place in places {
                    self.wanted[place] = true;
                }
            }
        }
    }

    fn want_folders(&mut self) {
        // From the end, so that a folder comes after all that it holds.
        let mut needed: HashSet<&Path> = HashSet::new();
        for (place, entry) in self.walked.iter().enumerate().rev() {
            if needed.contains(entry.path.as_path()) {
                self.wanted[place] = true;
            }
            if self.wanted[place]
                && let Some(parent) = entry.path.parent()
            {
                needed.insert(parent);
            }
        }
        // Folders from which something has gone have changed themselves: their time has.
    }

    fn gone(&self) -> BTreeSet<PathBuf> {
        let now: HashMap<&Path, usize> = self
            .walked
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.path.as_path(), place))
            .collect();
        let hidden = |path: &Path| {
            path.ancestors().skip(1).any(|above| match now.get(above) {
                // The whiteout of what is above it hides it, or what has taken its place does.
                None => true,
                Some(&place) => {
                    self.walked[place].kind() != Kind::Folder || self.opaque.contains(&place)
                }
            })
        };
        self.before
            .iter()
            // What was a deletion then and is none now: overlayfs has put something in its place.
            .filter(|(path, _)| !now.contains_key(path.as_path()) && !hidden(path))
            .map(|(path, _)| path.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Attributes, Stamp};
    use super::*;

    fn entry(path: &str, inode: u64, mode: u32, opaque: bool) -> Entry {
        Entry {
            path: path.into(),
            stamp: Stamp {
                inode,
                ctime: 1,
                size: 0,
                mode,
                opaque,
            },
            attributes: Attributes {
                uid: 0,
                gid: 0,
                mtime: (0, 0),
                device: 0,
                links: 1,
                stored: 0,
            },
        }
    }

    fn folder(path: &str, inode: u64) -> Entry {
        entry(path, inode, 0o040_755, false)
    }

    fn file(path: &str, inode: u64) -> Entry {
        entry(path, inode, 0o100_644, false)
    }

    fn whiteout(path: &str, inode: u64) -> Entry {
        entry(path, inode, 0o020_000, false)
    }

    fn shown(walked: &[Entry], before: &[Entry]) -> (Vec<String>, Vec<String>) {
        let delta = delta(walked, &Manifest::of(before, &HashSet::new()));
        let stored = delta.entries.iter().map(|place| {
            let mark = if delta.opaque.contains(place) {
                "!"
            } else {
                ""
            };
            format!("{}{mark}", walked[*place].path.display())
        });
        let gone = delta.gone.iter().map(|path| path.display().to_string());
        (stored.collect(), gone.collect())
    }

    #[test]
    fn at_first_everything_is_stored() {
        let now = [
            folder("", 1),
            folder("a", 2),
            file("a/b", 3),
            whiteout("c", 4),
        ];
        assert_eq!(
            shown(&now, &[]),
            (["", "a", "a/b", "c"].map(str::to_owned).into(), vec![])
        );
    }

    #[test]
    fn what_did_not_change_is_not_stored_again() {
        let now = [
            folder("", 1),
            folder("a", 2),
            file("a/b", 3),
            whiteout("c", 4),
        ];
        assert_eq!(shown(&now, &now), (vec![String::new()], vec![]));
        let mut later = now.clone();
        later[2].stamp.ctime = 2;
        assert_eq!(shown(&later, &now).0, ["", "a", "a/b"]);
    }

    #[test]
    fn what_has_gone_gets_a_whiteout_once() {
        let before = [
            folder("", 1),
            folder("a", 2),
            file("a/b", 3),
            file("a/c", 4),
        ];
        assert_eq!(shown(&[folder("", 1)], &before).1, ["a"]);
        let now = [folder("", 1), folder("a", 2), file("a/c", 4)];
        assert_eq!(shown(&now, &before).1, ["a/b"]);
        let now = [folder("", 1), file("a", 9)];
        assert_eq!(shown(&now, &before), (vec!["".into(), "a".into()], vec![]));
    }

    #[test]
    fn a_folder_that_was_made_anew_hides_the_former() {
        let before = [folder("", 1), folder("a", 2), file("a/b", 3)];
        let now = [folder("", 1), folder("a", 7), file("a/c", 8)];
        assert_eq!(
            shown(&now, &before),
            (["", "a!", "a/c"].map(str::to_owned).into(), vec![])
        );
        // The same where it moved there with all that it held.
        let now = [folder("", 1), folder("a", 7), file("a/b", 3)];
        assert_eq!(shown(&now, &before).0, ["", "a!", "a/b"]);
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_stored_whole() {
        let before = [folder("", 1), file("a", 2)];
        let now = [folder("", 1), folder("a", 3), file("a/b", 4)];
        assert_eq!(shown(&now, &before).0, ["", "a", "a/b"]);
    }

    #[test]
    fn names_of_one_file_stay_together() {
        let mut before = [folder("", 1), file("a", 5), folder("d", 2), file("d/b", 5)];
        for place in [1, 3] {
            before[place].attributes.links = 2;
        }
        let mut now = before.clone();
        // The folder was made anew around the same file.
        now[2].stamp.inode = 9;
        assert_eq!(shown(&now, &before).0, ["", "a", "d!", "d/b"]);
    }
}
