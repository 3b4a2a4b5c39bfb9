//! The members of a tar stream with all that belongs to them, in the formats that container tools
//! write and read: POSIX ustar with pax extended headers, and GNU (POSIX.1-2017, `pax`, "Extended
//! Description"; GNU tar manual, "Basic Tar Format").

use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{EntryType, Header};

use super::invalid;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
/// Bytes that an extension header may have; Go's reader, which the daemons use, takes as many.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// Bytes of the longest path: Linux takes no longer one.
const PATH_LIMIT: usize = 4096;
/// Where GNU's old sparse format says that a block of further places follows: in the header, and
/// in such a block.
const SPARSE_GOES_ON: [usize; 2] = [482, 504];

/// A record of a pax extended header.
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A member, as its headers tell.
pub(super) struct Member {
    /// Where its first header begins.
    pub(super) start: u64,
    /// Where its content begins.
    pub(super) data: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    /// Its own header.
    pub(super) header: Header,
    /// Its pax records, in order.
    pub(super) records: Vec<Record>,
    /// Relative, without `.`, `..` and doubled slashes; empty for the root.
    pub(super) path: PathBuf,
    /// What a link of either kind leads to, as it is stored; empty for anything else.
    pub(super) link: Vec<u8>,
    /// Whether it is a folder.
    pub(super) is_folder: bool,
}

impl Member {
    /// Reads the member that begins at `start`; `None` at the end of the stream.
    pub(super) fn read(
        source: &mut (impl Read + Seek),
        mut start: u64,
        limit: u64,
    ) -> io::Result<Option<Self>> {
        let mut at = start;
        let mut records = Vec::new();
        let mut long_path = None;
        let mut long_link = None;
        loop {
            let block = (at + BLOCK <= limit)
                .then(|| read_block(source, at))
                .transpose()?;
            let Some(block) = block.filter(|block| block.iter().any(|&byte| byte != 0)) else {
                // Some writers leave the blocks of zeros at the end out.
                return if at == start {
                    Ok(None)
                } else {
                    Err(invalid("it ends after an extension header"))
                };
            };
            let header = Header::from_byte_slice(&block).clone();
            let data = at + BLOCK;
            let kind = header.entry_type();
            if !is_extension(kind) {
                return Self::new(
                    source,
                    start,
                    data,
                    limit,
                    header,
                    records,
                    [long_path, long_link],
                )
                .map(Some);
            }
            let size = header.entry_size()?;
            if size > EXTENSION_LIMIT || data + size > limit {
                return Err(invalid("an extension header is too long"));
            }
            at = padded(data, size);
            let mut content = vec![0; size as usize];
            source.seek(SeekFrom::Start(data))?;
            source.read_exact(&mut content)?;
            match kind {
                EntryType::XHeader => records = read_records(&content)?,
                EntryType::GNULongName => long_path = Some(until_zero(&content)),
                EntryType::GNULongLink => long_link = Some(until_zero(&content)),
                // For all that follow, which the daemons ignore.
                _ => start = at,
            }
        }
    }

    fn new(
        source: &mut (impl Read + Seek),
        start: u64,
        data: u64,
        limit: u64,
        header: Header,
        records: Vec<Record>,
        [long_path, long_link]: [Option<Vec<u8>>; 2],
    ) -> io::Result<Self> {
        let record = |key: &str| {
            let found = records.iter().rev().find(|r| r.key == key.as_bytes());
            found.map(|record| record.value.clone())
        };
        let path = record("GNU.sparse.name")
            .or_else(|| record("path"))
            .or(long_path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = header.entry_type();
        let is_folder = kind.is_dir() || (kind.as_byte() == 0 && path.ends_with(b"/"));
        let link = match kind.is_hard_link() || kind.is_symlink() {
            true => record("linkpath")
                .or(long_link)
                .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default(),
            false => Vec::new(),
        };
        let size = match record("size") {
            _ if is_folder || has_no_content(kind) => 0,
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| invalid("a size is no number"))?,
            None => header.entry_size()?,
        };
        let mut content = data;
        if kind.is_gnu_sparse() {
            let mut goes_on = header.as_bytes()[SPARSE_GOES_ON[0]] != 0;
            while goes_on {
                if content + BLOCK > limit {
                    return Err(invalid("it is cut off"));
                }
                goes_on = read_block(source, content)?[SPARSE_GOES_ON[1]] != 0;
                content += BLOCK;
            }
        }
        // A last member's filling may be missing, its content not.
        if content.checked_add(size).is_none_or(|end| end > limit) {
            return Err(invalid("it is cut off"));
        }
        Ok(Self {
            start,
            data,
            end: padded(content, size),
            path: plain(&path)?,
            link,
            is_folder,
            header,
            records,
        })
    }

    /// The path of a hard link's other name, as plain as its own.
    pub(super) fn hard_link(&self) -> io::Result<Option<PathBuf>> {
        let is_one = self.header.entry_type().is_hard_link();
        is_one.then(|| plain(&self.link)).transpose()
    }
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_pax_global_extensions()
        || kind.is_pax_local_extensions()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink()
}

/// Whatever size their header names.
fn has_no_content(kind: EntryType) -> bool {
    kind.is_hard_link()
        || kind.is_symlink()
        || kind.is_character_special()
        || kind.is_block_special()
        || kind.is_fifo()
}

/// The end of content, filled up to whole blocks.
pub(super) fn padded(start: u64, size: u64) -> u64 {
    start + size.div_ceil(BLOCK) * BLOCK
}

fn read_block(source: &mut (impl Read + Seek), at: u64) -> io::Result<[u8; BLOCK as usize]> {
    let mut block = [0; BLOCK as usize];
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(&mut block)?;
    Ok(block)
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

/// Reads records (`LENGTH KEY=VALUE\n`). A value may hold any bytes, line ends included.
fn read_records(mut bytes: &[u8]) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = || {
            let blank = bytes.iter().position(|&byte| byte == b' ')?;
            let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
            let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            Some((
                length,
                Record {
                    key: record[..equals].to_vec(),
                    value: record[equals + 1..].to_vec(),
                },
            ))
        };
        let (length, record) = record().ok_or_else(|| invalid("a pax record is malformed"))?;
        records.push(record);
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// A path below the root, without detours.
fn plain(path: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let refused = |what| Err(invalid(format!("the path {} {what}", path.display())));
    if path.as_os_str().len() > PATH_LIMIT {
        return refused("is too long");
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir if !plain.pop() => return refused("climbs"),
            Component::ParentDir => {}
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn only(archive: Vec<u8>) -> Member {
        let limit = archive.len() as u64;
        let mut source = Cursor::new(archive);
        let member = Member::read(&mut source, 0, limit).unwrap().unwrap();
        assert!(
            Member::read(&mut source, member.end, limit)
                .unwrap()
                .is_none()
        );
        member
    }

    #[test]
    fn long_names_are_read_in_both_formats() {
        let long = "folder/".repeat(60) + "file";
        let mut gnu = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        gnu.append_link(&mut header, &long, format!("{long}2"))
            .unwrap();
        let member = only(gnu.into_inner().unwrap());
        assert_eq!(member.path, Path::new(&long));
        let link = member.hard_link().unwrap();
        assert_eq!(link, Some(PathBuf::from(format!("{long}2"))));

        let mut pax = tar::Builder::new(Vec::new());
        pax.append_pax_extensions([
            ("path", long.as_bytes()),
            ("SCHILY.xattr.user.a", b"1\n2=3"),
        ])
        .unwrap();
        let mut header = Header::new_ustar();
        header.set_size(600);
        pax.append_data(&mut header, "short", &[7; 600][..])
            .unwrap();
        let member = only(pax.into_inner().unwrap());
        assert_eq!(member.path, Path::new(&long));
        assert_eq!(member.records[1].value, b"1\n2=3");
        assert_eq!(member.end - member.data, 1024);
    }

    #[test]
    fn what_is_no_whole_member_is_refused() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_size(600);
        archive
            .append_data(&mut header, "a", &[7; 600][..])
            .unwrap();
        let archive = archive.into_inner().unwrap();
        let cut = Member::read(&mut Cursor::new(&archive[..1000]), 0, 1000);
        assert_eq!(cut.err().unwrap().kind(), io::ErrorKind::InvalidData);
        for path in ["../a", "a/../../b"] {
            assert!(plain(path.as_bytes()).is_err(), "{path}");
        }
        assert_eq!(plain(b"./c/../a//b/").unwrap(), Path::new("a/b"));
        assert_eq!(plain(b"/").unwrap(), Path::new(""));
    }
}
