//! A layer out of the folder in which an overlay file system keeps it (Linux, "Overlay Filesystem":
//! a device 0/0 deletes, an attribute makes a folder opaque), as the archive that a runtime would
//! have made of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use tar::{EntryType, Header};

use super::index::{OPAQUE, WHITEOUT};
use super::member::padded;
use super::write::{fill, set_name, write_marker, write_records};

/// What may begin the name of an attribute that the file system itself uses.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// What the rest of such a name may be that says nothing of the layer's content.
const OF_THE_MOUNT: [&[u8]; 4] = [b"origin", b"impure", b"nlink", b"uuid"];
/// Attributes with which others than the kernel's overlay file system say what it says otherwise.
const OF_OTHERS: [&[u8]; 2] = [b"user.fuseoverlayfs.", b"user.containers."];
/// What belongs to the machine, not to the file.
const SELINUX: &[u8] = b"security.selinux";
/// Bytes of the longest list of attributes, and of the longest attribute (xattr(7)).
const XATTR_BYTES: usize = 64 * 1024;
/// What the map of users says where they are those of the whole machine.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Why a folder was not read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It says something that a layer cannot, is not there or not readable: there are other ways.
    Otherwise,
    /// A file failed.
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidFilename => Self::Otherwise,
            _ => Self::Io(error),
        }
    }
}

/// The folders in which an overlay file system keeps the uppermost `count` layers of an image,
/// lowest first, from what both daemons say of an image (`GraphDriver`): the folder of the
/// uppermost one, and those below it from there on down, with colons between them. `None` if these
/// are not as many.
pub fn folders(upper: Option<&str>, lower: Option<&str>, count: usize) -> Option<Vec<PathBuf>> {
    let below = lower.into_iter().flat_map(|lower| lower.split(':'));
    let all = upper.into_iter().chain(below).map(PathBuf::from);
    let mut uppermost: Vec<PathBuf> = all.take(count).collect();
    uppermost.reverse();
    (uppermost.len() == count).then_some(uppermost)
}

/// Whether this process has the same files at the same paths as another, and sees of them what only
/// the machine's administrator sees: without those attributes an opaque folder looks like any other.
pub(super) fn sees_files_of(process: i32) -> bool {
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let may = rustix::thread::capabilities(None);
    let link = |process: &str, what| fs::read_link(format!("/proc/{process}/{what}"));
    let is_same = |what| {
        let (own, theirs) = (link("self", what), link(&process.to_string(), what));
        matches!((own, theirs), (Ok(own), Ok(theirs)) if own == theirs)
    };
    users.split_whitespace().eq(ALL_USERS)
        && may.is_ok_and(|may| may.effective.contains(CapabilitySet::SYS_ADMIN))
        && is_same("ns/mnt")
        && is_same("root")
}

/// Writes the layer that `folder` keeps.
pub(super) fn write(folder: &Path, out: &mut impl Write) -> Result<(), Unreadable> {
    let mut packing = Packing {
        folder,
        out,
        names: HashMap::new(),
        buffer: vec![0; XATTR_BYTES],
    };
    // The folder itself is of the file system that keeps it, not of the layer.
    let mut left = packing.children(Path::new(""))?;
    while let Some(path) = left.pop() {
        if packing.entry(&path)? {
            left.extend(packing.children(&path)?);
        }
    }
    packing.out.write_all(&[0; 1024])?;
    Ok(())
}

struct Packing<'a, W> {
    folder: &'a Path,
    out: &'a mut W,
    /// The first name of each file that has several, by device and number.
    names: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl<W: Write> Packing<'_, W> {
    /// What lies in a folder, the first by name last.
    fn children(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.join(path))?;
        let names = entries.map(|entry| Ok(path.join(entry?.file_name())));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Writes an entry; whether it is a folder.
    fn entry(&mut self, path: &Path) -> Result<bool, Unreadable> {
        let full = self.folder.join(path);
        let metadata = fs::symlink_metadata(&full)?;
        let name = path.file_name().unwrap_or_default().as_bytes();
        if name.starts_with(WHITEOUT) {
            return Err(Unreadable::Otherwise);
        }
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            let name = [WHITEOUT, name].concat();
            write_marker(self.out, &path.with_file_name(OsStr::from_bytes(&name)))?;
            return Ok(false);
        }
        if kind.is_socket() {
            // No archive holds one.
            return Ok(false);
        }
        let mut header = header(&metadata);
        if !kind.is_dir() && metadata.nlink() > 1 {
            let file = (metadata.dev(), metadata.ino());
            if let Some(first) = self.names.get(&file) {
                let first = first.clone();
                header.set_entry_type(EntryType::Link);
                self.write(header, path, first.as_os_str().as_bytes(), Vec::new())?;
                return Ok(false);
            }
            self.names.insert(file, path.to_owned());
        }
        let (records, opaque) = self.attributes(&full)?;
        let mut records = records;
        records.extend(time(&metadata));
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.write(header, path, b"", records)?;
            if opaque {
                write_marker(self.out, &path.join(OsStr::from_bytes(OPAQUE)))?;
            }
            return Ok(true);
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(&full)?;
            self.write(header, path, target.as_os_str().as_bytes(), records)?;
        } else if kind.is_file() {
            header.set_size(metadata.len());
            self.write(header, path, b"", records)?;
            self.content(&full, metadata.len())?;
        } else {
            header.set_entry_type(match () {
                () if kind.is_fifo() => EntryType::Fifo,
                () if kind.is_block_device() => EntryType::Block,
                () => EntryType::Char,
            });
            let device = metadata.rdev();
            header.set_device_major(rustix::fs::major(device))?;
            header.set_device_minor(rustix::fs::minor(device))?;
            self.write(header, path, b"", records)?;
        }
        Ok(false)
    }

    fn write(
        &mut self,
        mut header: Header,
        path: &Path,
        link: &[u8],
        mut records: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> io::Result<()> {
        set_name(&mut header, path);
        fill(&mut header.as_old_mut().linkname, link);
        let name = path.as_os_str().as_bytes();
        if name.len() > header.as_old().name.len() {
            records.push((b"path".to_vec(), name.to_vec()));
        }
        if link.len() > header.as_old().linkname.len() {
            records.push((b"linkpath".to_vec(), link.to_vec()));
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
            write_records(self.out, &records.collect::<Vec<_>>())?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn content(&mut self, path: &Path, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut File::open(path)?.take(size), self.out)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let filling = padded(0, size) - size;
        self.out.write_all(&vec![0; filling as usize])
    }

    /// The records of a file's attributes, and whether it is a folder that hides what lies below.
    #[expect(clippy::type_complexity, reason = "records as they are written")]
    fn attributes(&mut self, path: &Path) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), Unreadable> {
        let listed = match rustix::fs::llistxattr(path, &mut self.buffer[..]) {
            Ok(length) => self.buffer[..length].to_vec(),
            Err(Errno::OPNOTSUPP) => Vec::new(),
            Err(errno) => return Err(io::Error::from(errno).into()),
        };
        let (mut records, mut opaque) = (Vec::new(), false);
        for name in listed.split(|&byte| byte == 0).filter(|n| !n.is_empty()) {
            let length = rustix::fs::lgetxattr(path, name, &mut self.buffer[..]);
            let value = &self.buffer[..length.map_err(io::Error::from)?];
            if let Some(own) = OVERLAY.iter().find_map(|own| name.strip_prefix(*own)) {
                match own {
                    b"opaque" if value == b"y" => opaque = true,
                    _ if OF_THE_MOUNT.contains(&own) => {}
                    _ => return Err(Unreadable::Otherwise),
                }
            } else if OF_OTHERS.iter().any(|own| name.starts_with(own)) {
                return Err(Unreadable::Otherwise);
            } else if name != SELINUX {
                let key = [b"SCHILY.xattr.", name].concat();
                records.push((key, value.to_vec()));
            }
        }
        Ok((records, opaque))
    }
}

/// All but the kind, the name and the size.
fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(0);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header
}

/// The record of a time that is no whole second since 1970 (POSIX.1-2017, `pax`, "mtime").
fn time(metadata: &Metadata) -> Option<(Vec<u8>, Vec<u8>)> {
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    let text = match (seconds, nanos) {
        (0.., 0) => return None,
        (0.., _) => format!("{seconds}.{nanos:09}"),
        (_, 0) => format!("{seconds}"),
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    };
    Some((b"mtime".to_vec(), text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use rustix::fs::{CWD, FileType, Mode, XattrFlags};

    use super::*;

    fn attribute(path: &Path, name: &str, value: &[u8]) {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
    }

    fn packed(folder: &Path) -> Result<Vec<u8>, Unreadable> {
        let mut layer = Vec::new();
        write(folder, &mut layer).map(|()| layer)
    }

    #[test]
    fn what_an_overlay_file_system_keeps_becomes_a_layer() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let long = "n".repeat(150);
        fs::create_dir_all(at("data/empty")).unwrap();
        fs::write(at("data/a"), vec![7; 1000]).unwrap();
        fs::hard_link(at("data/a"), at("data/b")).unwrap();
        fs::write(at(&format!("data/{long}")), "").unwrap();
        symlink("/nowhere", at("link")).unwrap();
        fs::set_permissions(at("data/a"), PermissionsExt::from_mode(0o4751)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let file = File::options().write(true).open(at("data/a")).unwrap();
        file.set_modified(time).unwrap();
        attribute(&at("data/a"), "user.key", b"1 2=3");
        attribute(&at("data"), "user.overlay.origin", b"x");
        attribute(&at("data/empty"), "user.overlay.opaque", b"y");
        let deleted = at("old");
        rustix::fs::mknodat(CWD, &deleted, FileType::CharacterDevice, Mode::empty(), 0).unwrap();

        let layer = packed(folder.path()).unwrap();
        let mut archive = tar::Archive::new(&layer[..]);
        let mut seen = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let records = entry.pax_extensions().unwrap().into_iter().flatten();
            let records: Vec<_> = records
                .map(|record| record.unwrap())
                .filter(|record| record.key().unwrap() != "path")
                .map(|record| format!("{}={:?}", record.key().unwrap(), record.value()))
                .collect();
            let link = entry.link_name().unwrap().unwrap_or_default();
            let header = entry.header();
            let what = format!(
                "{:?} {:o} {} {} {}",
                header.entry_type(),
                header.mode().unwrap() & 0o7000,
                header.size().unwrap(),
                link.display(),
                records.join(" ")
            );
            let path = entry.path().unwrap().display().to_string();
            seen.insert(path, what.trim_end().to_owned());
        }
        let expected = [
            (".wh.old", "Regular 0 0"),
            ("data", "Directory 0 0"),
            (
                "data/a",
                r#"Regular 4000 1000  SCHILY.xattr.user.key=Ok("1 2=3") mtime=Ok("1.500000000")"#,
            ),
            ("data/b", "Link 4000 0 data/a"),
            ("data/empty", "Directory 0 0"),
            ("data/empty/.wh..wh..opq", "Regular 0 0"),
            (&format!("data/{long}"), "Regular 0 0"),
            ("link", "Symlink 0 0 /nowhere"),
        ];
        // Times of now have parts of a second.
        let seen = seen.into_iter().map(|(path, what)| {
            let what = match path.as_str() {
                "data/a" => what,
                _ => what.split("  mtime").next().unwrap().to_owned(),
            };
            let what = what.split(" mtime=Ok(\"17").next().unwrap().trim_end();
            (path, what.to_owned())
        });
        let expected = expected.map(|(path, what)| (path.to_owned(), what.to_owned()));
        assert_eq!(seen.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    }

    #[test]
    fn what_a_layer_cannot_say_is_not_guessed() {
        for (name, value) in [
            ("user.overlay.redirect", "/elsewhere"),
            ("user.overlay.metacopy", ""),
            ("user.overlay.opaque", "x"),
            ("user.fuseoverlayfs.opaque", "y"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("a")).unwrap();
            attribute(&folder.path().join("a"), name, value.as_bytes());
            let packed = packed(folder.path());
            assert!(matches!(packed, Err(Unreadable::Otherwise)), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        let absent = packed(&folder.path().join("absent"));
        assert!(matches!(absent, Err(Unreadable::Otherwise)));
        fs::write(folder.path().join(".wh.a"), "").unwrap();
        let marker = packed(folder.path());
        assert!(matches!(marker, Err(Unreadable::Otherwise)));
    }
}
