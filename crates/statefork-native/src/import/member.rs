//! The members of a tar stream, read from front to back: POSIX ustar with pax extended headers, and
//! GNU (POSIX.1-2017, `pax`, "Extended Description"; GNU tar manual, "Basic Tar Format").

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::{ImportError, Refusal};
use super::field::{self, Record, natural, number, numeric};
use super::sparse::Map;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
/// Bytes that an extension header may have; Go's reader, which the daemons use, takes as many.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// The beginning of the key of an extended attribute.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// A GNU archive's own name, no file.
const VOLUME_NAME: u8 = b'V';

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    /// A character device of that number, major and minor.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
    Fifo,
}

/// An extended attribute: its name and its value.
pub(super) type Extended = (Vec<u8>, Vec<u8>);

/// Owner, permissions, time and the like.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// The user's number.
    pub(super) user: u32,
    /// The group's number.
    pub(super) group: u32,
    /// The permissions with the set-user-id, set-group-id and sticky bits.
    pub(super) mode: u32,
    /// When it was changed, in seconds since 1970 and nanoseconds.
    pub(super) time: (i64, u32),
    /// The extended attributes.
    pub(super) extended: Vec<Extended>,
}

/// A member, as its headers tell.
#[derive(Debug)]
pub(super) struct Member {
    /// As the archive has it.
    pub(super) path: Vec<u8>,
    /// What a link of either kind leads to, as the archive has it; empty for anything else.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
    /// What of a file's content the archive holds.
    pub(super) content: Map,
}

/// What members are read from.
pub(super) trait Source: Read + Sized {
    /// Leaves out the next `bytes`.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        match skipped == bytes {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The members of a stream.
pub(super) struct Members<S> {
    source: S,
    /// Bytes of the present member's content that were not yet read.
    content: u64,
    /// Bytes that fill its last block.
    padding: u64,
    /// Whether a member was read.
    has_begun: bool,
}

impl<S: Source> Members<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            content: 0,
            padding: 0,
            has_begun: false,
        }
    }

    /// The next member; `None` at the end of the archive, which need not be that of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ImportError> {
        let (mut records, mut long_path, mut long_link) = (Vec::new(), None, None);
        let mut is_extended = false;
        loop {
            self.skip_rest()?;
            // Some writers leave the blocks of zeros at the end out.
            let Some(header) = self.header()? else {
                return match is_extended {
                    true => Err(malformed("it ends after an extension header")),
                    false => Ok(None),
                };
            };
            self.has_begun = true;
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => records = field::records(&self.extension(&header)?)?,
                EntryType::GNULongName => {
                    long_path = Some(until_zero(self.extension(&header)?));
                }
                EntryType::GNULongLink => {
                    long_link = Some(until_zero(self.extension(&header)?));
                }
                // For all that follow, which the daemons ignore.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                _ if kind.as_byte() == VOLUME_NAME => {}
                _ => {
                    return self
                        .member(&header, &records, long_path, long_link)
                        .map(Some);
                }
            }
            is_extended |= !kind.is_pax_global_extensions() && kind.as_byte() != VOLUME_NAME;
        }
    }

    /// Reads on in the present member's content, as the archive holds it; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ImportError> {
        let limit = usize::try_from(self.content).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(limit);
        let read = loop {
            match self.source.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(reading)?,
            }
        };
        if read == 0 && wanted > 0 {
            return Err(malformed("it is cut off"));
        }
        self.content -= read as u64;
        Ok(read)
    }

    /// How many bytes of the present member's content are left.
    pub(super) fn left(&self) -> u64 {
        self.content
    }

    /// The stream, wherever it was read to.
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Reads what is left of the stream, and gives it back.
    pub(super) fn finish(mut self) -> Result<S, ImportError> {
        io::copy(&mut self.source, &mut io::sink()).map_err(reading)?;
        Ok(self.source)
    }

    fn skip_rest(&mut self) -> Result<(), ImportError> {
        let content = std::mem::take(&mut self.content);
        self.source.skip(content).map_err(reading)?;
        // A last member's filling may be missing, its content not.
        let padding = std::mem::take(&mut self.padding);
        let mut filling = self.source.by_ref().take(padding);
        io::copy(&mut filling, &mut io::sink()).map_err(reading)?;
        Ok(())
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, ImportError> {
        let mut block = Vec::with_capacity(BLOCK as usize);
        let mut source = self.source.by_ref().take(BLOCK);
        source.read_to_end(&mut block).map_err(reading)?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let no_archive = || match self.has_begun {
            true => malformed("a header is damaged"),
            false => malformed("it is no tar archive"),
        };
        if block.len() < BLOCK as usize {
            return Err(no_archive());
        }
        let header = Header::from_byte_slice(&block).clone();
        let is_valid = header
            .cksum()
            .is_ok_and(|sum| sum == field::checksum(&block));
        match is_valid {
            true => Ok(Some(header)),
            false => Err(no_archive()),
        }
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ImportError> {
        let size = natural(&header.as_old().size)?;
        if size > EXTENSION_LIMIT {
            return Err(malformed("an extension header is too long"));
        }
        self.begin_content(size);
        let mut content = vec![0; size as usize];
        self.source.read_exact(&mut content).map_err(reading)?;
        self.content = 0;
        Ok(content)
    }

    /// Content of that many bytes follows.
    fn begin_content(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn member(
        &mut self,
        header: &Header,
        records: &[Record],
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member, ImportError> {
        let record = |key: &str| {
            let found = records.iter().rev().find(|r| r.key == key.as_bytes());
            // An empty value stands for what the header says.
            let value = found.map(|record| &record.value[..]);
            value.filter(|value| !value.is_empty())
        };
        let path = record("GNU.sparse.name").or_else(|| record("path"));
        let path = path.map(<[u8]>::to_vec).or(long_path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind(header, &path)?;
        let link = match kind {
            Kind::Symlink | Kind::HardLink => record("linkpath")
                .map(<[u8]>::to_vec)
                .or(long_link)
                .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        // Other kinds have no content, whatever size their header names.
        let stored = match record("size") {
            _ if kind != Kind::File => 0,
            Some(text) => number(text)?,
            None => natural(&header.as_old().size)?,
        };
        let content = if header.entry_type().is_gnu_sparse() {
            let map = Map::gnu(header, stored, &mut self.source)?;
            self.begin_content(stored);
            map
        } else if let Some((map, taken)) = Map::pax(records, stored, &mut self.source)? {
            self.begin_content(stored);
            self.content -= taken;
            map
        } else {
            self.begin_content(stored);
            Map::whole(stored)
        };
        let owner = |key, own: &[u8]| {
            let number = match record(key) {
                Some(text) => number(text)?,
                None => natural(own)?,
            };
            let number = u32::try_from(number)
                .ok()
                .filter(|&number| number != u32::MAX);
            number.ok_or_else(|| ImportError::refused(&path, Refusal::Owner))
        };
        let extended = records.iter().filter_map(|record| {
            let name = record.key.strip_prefix(ATTRIBUTE)?;
            Some((name.to_vec(), record.value.clone()))
        });
        let attributes = Attributes {
            user: owner("uid", &header.as_old().uid)?,
            group: owner("gid", &header.as_old().gid)?,
            mode: (natural(&header.as_old().mode)? & 0o7777) as u32,
            time: match record("mtime") {
                Some(text) => field::time(text)?,
                None => (numeric(&header.as_old().mtime)?, 0),
            },
            extended: extended.collect(),
        };
        Ok(Member {
            path,
            link,
            kind,
            attributes,
            content,
        })
    }
}

fn reading(error: io::Error) -> ImportError {
    ImportError::reading("the archive", error)
}

fn malformed(reason: &str) -> ImportError {
    ImportError::malformed("the archive", reason)
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, ImportError> {
    let device = || {
        let ustar = header.as_ustar().map(|own| [own.dev_major, own.dev_minor]);
        let gnu = || header.as_gnu().map(|own| [own.dev_major, own.dev_minor]);
        let no_number = || malformed("a device has no number");
        let [major, minor] = ustar.or_else(gnu).ok_or_else(no_number)?;
        let part = |field: &[u8]| u32::try_from(natural(field)?).map_err(|_| no_number());
        Ok::<_, ImportError>((part(&major)?, part(&minor)?))
    };
    Ok(match header.entry_type() {
        EntryType::Regular if header.as_old().linkflag == [0] && path.ends_with(b"/") => {
            // Archives from before there was a kind of its own for folders.
            Kind::Folder
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::Char(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        other => {
            let kind = char::from(other.as_byte());
            return Err(ImportError::refused(path, Refusal::Kind(kind)));
        }
    })
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(archive: &[u8]) -> Result<Vec<Member>, ImportError> {
        let mut members = Members::new(archive);
        let mut all = Vec::new();
        while let Some(member) = members.next()? {
            all.push(member);
        }
        Ok(all)
    }

    impl Source for &[u8] {}

    #[test]
    fn long_names_and_records_are_read_in_both_formats() {
        let long = "folder/".repeat(60) + "file";
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        header.set_uid(70_000);
        let link = format!("{long}2");
        archive.append_link(&mut header, &long, &link).unwrap();
        let records = [
            ("path", long.as_bytes()),
            ("mtime", b"-1.25"),
            ("uid", b"3000000"),
            ("gid", b""),
            ("SCHILY.xattr.user.a", b"1\n2=3"),
        ];
        archive.append_pax_extensions(records).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(600);
        header.set_mode(0o100_4755);
        header.set_gid(5);
        let content = [7; 600];
        archive
            .append_data(&mut header, "short", &content[..])
            .unwrap();
        let archive = archive.into_inner().unwrap();
        let found = members(&archive).unwrap();
        assert_eq!(found[0].path, long.as_bytes());
        assert_eq!(found[0].link, link.as_bytes());
        assert_eq!(found[0].attributes.user, 70_000);
        assert_eq!(found[1].path, long.as_bytes());
        let Attributes {
            user,
            group,
            mode,
            time,
            ref extended,
        } = found[1].attributes;
        assert_eq!((user, group, mode), (3_000_000, 5, 0o4755));
        assert_eq!(time, (-2, 750_000_000));
        assert_eq!(extended[..], [(b"user.a".to_vec(), b"1\n2=3".to_vec())]);
        assert_eq!(found[1].content, Map::whole(600));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_no_whole_archive_is_refused() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_size(600);
        archive
            .append_data(&mut header, "a", &[7; 600][..])
            .unwrap();
        let archive = archive.into_inner().unwrap();
        // Without the zeros at the end, and without the last filling, it is whole.
        for length in [archive.len(), 1536, 1112] {
            assert_eq!(members(&archive[..length]).unwrap().len(), 1);
        }
        let mut damaged = archive.clone();
        damaged[0] = b'b';
        for bytes in [
            &archive[..1111],
            &archive[..600],
            &archive[..100],
            &damaged,
            b"text",
        ] {
            let error = members(bytes).unwrap_err();
            assert!(matches!(error, ImportError::Malformed { .. }), "{error:?}");
        }
        assert_eq!(members(b"").unwrap().len(), 0);
    }
}
