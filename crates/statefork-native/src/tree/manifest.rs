//! What a writable layer held at its last capture: the next one stores what is different.
//!
//! In a file: `SFMANIF1`, then per entry the length of its path (u32), the path, inode (u64), change
//! time (i64), size (u64), mode (u32) and whether it is opaque (u8), all little-endian.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Stamp};

const MAGIC: &[u8; 8] = b"SFMANIF1";
/// Longer than any path that a walk gives for a file that can be opened.
const LONGEST: u32 = 1 << 20;

/// The stamps of a tree's entries by path; the root is not among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest(HashMap<PathBuf, Stamp>);

impl Manifest {
    /// That of these entries. What is among `unsure` may change without a new stamp, so that it never
    /// counts as unchanged.
    pub(super) fn of(entries: &[Entry], unsure: &HashSet<PathBuf>) -> Self {
        let named = entries
            .iter()
            .filter(|entry| !entry.path.as_os_str().is_empty());
        let stamps = named.map(|entry| {
            let mut stamp = entry.stamp;
            if unsure.contains(&entry.path) {
                stamp.ctime = i64::MIN;
            }
            (entry.path.clone(), stamp)
        });
        Self(stamps.collect())
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Stamp> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Stamp)> {
        self.0.iter()
    }

    /// Reads one; `None` where there is no such file.
    ///
    /// Errors: `InvalidData` for a file that is none, or only a part of one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut file = BufReader::new(file);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let count = u64::from_le_bytes(array(&mut file)?);
        let mut entries = HashMap::new();
        for _ in 0..count {
            let length = u32::from_le_bytes(array(&mut file)?);
            if length > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut path = vec![0; length as usize];
            file.read_exact(&mut path)?;
            let stamp = Stamp {
                inode: u64::from_le_bytes(array(&mut file)?),
                ctime: i64::from_le_bytes(array(&mut file)?),
                size: u64::from_le_bytes(array(&mut file)?),
                mode: u32::from_le_bytes(array(&mut file)?),
                opaque: array::<1>(&mut file)? == [1],
            };
            entries.insert(PathBuf::from(OsString::from_vec(path)), stamp);
        }
        Ok(Some(Self(entries)))
    }

    /// Writes it to `path`, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = BufWriter::new(File::create(&part)?);
        file.write_all(MAGIC)?;
        file.write_all(&(self.0.len() as u64).to_le_bytes())?;
        for (path, stamp) in &self.0 {
            let path = path.as_os_str().as_bytes();
            let length = u32::try_from(path.len()).map_err(|_| io::ErrorKind::InvalidData)?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(path)?;
            file.write_all(&stamp.inode.to_le_bytes())?;
            file.write_all(&stamp.ctime.to_le_bytes())?;
            file.write_all(&stamp.size.to_le_bytes())?;
            file.write_all(&stamp.mode.to_le_bytes())?;
            file.write_all(&[u8::from(stamp.opaque)])?;
        }
        file.flush()?;
        std::fs::rename(&part, path)
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_a_part_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        assert_eq!(Manifest::read(&path).unwrap(), None);
        let stamp = |inode| Stamp {
            inode,
            ctime: -5,
            size: 7,
            mode: 0o100_644,
            opaque: inode == 2,
        };
        let odd = PathBuf::from(OsString::from_vec(vec![b'a', 0xff, b'\n']));
        let manifest = Manifest(HashMap::from([("a".into(), stamp(1)), (odd, stamp(2))]));
        manifest.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), Some(manifest));
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 8, 20, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Manifest::read(&path).is_err(), "{length} bytes");
        }
    }
}
