//! Writing the merged layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use super::index::{Index, Node, OPAQUE, WHITEOUT};
use super::invalid;
use super::member::{BLOCK, Member, padded};

/// Records that say what the header of another name says anew.
const OF_A_NAME: [&[u8]; 3] = [b"path", b"linkpath", b"GNU.sparse.name"];
/// Beginnings of the keys of records that are about content, which a hard link does not have.
const OF_CONTENT: [&[u8]; 2] = [b"size", b"GNU.sparse."];

/// Writes the layer that `index` describes; its entries are in `source`.
pub(super) fn write(
    index: &Index,
    source: &mut (impl Read + Seek),
    out: &mut impl Write,
) -> io::Result<()> {
    let mut first_names: HashMap<usize, &Path> = HashMap::new();
    // The uppermost path at which the layers below are hidden; deletions within it say nothing.
    let mut hidden: Option<&Path> = None;
    for (path, node) in &index.nodes {
        if hidden.is_some_and(|hidden| !path.starts_with(hidden)) {
            hidden = None;
        }
        let mut hides = true;
        match *node {
            Node::Folder { entry, opaque } => {
                if let Some(start) = entry {
                    let member = member(source, start)?;
                    copy(source, out, member.start, member.end)?;
                }
                if opaque && hidden.is_none() {
                    write_marker(out, &path.join(OsStr::from_bytes(OPAQUE)))?;
                }
                hides = opaque;
            }
            Node::Whiteout if hidden.is_none() => {
                let name = path.file_name().unwrap_or_default().as_bytes();
                let name = [WHITEOUT, name].concat();
                write_marker(out, &path.with_file_name(OsStr::from_bytes(&name)))?;
            }
            Node::Whiteout => {}
            Node::File(file) => {
                let member = member(source, index.files[file])?;
                if let Some(&first) = first_names.get(&file) {
                    write_headers(out, &member, path, Some(first))?;
                } else {
                    if member.path == *path {
                        copy(source, out, member.start, member.end)?;
                    } else {
                        write_headers(out, &member, path, None)?;
                        copy(source, out, member.data, member.end)?;
                    }
                    first_names.insert(file, path);
                }
            }
        }
        if hides && hidden.is_none() {
            hidden = Some(path);
        }
    }
    out.write_all(&[0; 2 * BLOCK as usize])
}

fn member(source: &mut (impl Read + Seek), start: u64) -> io::Result<Member> {
    let member = Member::read(source, start, u64::MAX - BLOCK)?;
    member.ok_or_else(|| invalid("an entry is no longer there"))
}

fn copy(
    source: &mut (impl Read + Seek),
    out: &mut impl Write,
    start: u64,
    end: u64,
) -> io::Result<()> {
    source.seek(SeekFrom::Start(start))?;
    let copied = io::copy(&mut source.by_ref().take(end - start), out)?;
    // A last member's filling may be missing.
    match end - start - copied {
        0 => Ok(()),
        missing if missing < BLOCK => out.write_all(&vec![0; missing as usize]),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The headers of a file under another name; as a hard link, if `target` is its first one.
fn write_headers(
    out: &mut impl Write,
    member: &Member,
    path: &Path,
    target: Option<&Path>,
) -> io::Result<()> {
    let mut records: Vec<(&[u8], &[u8])> = member
        .records
        .iter()
        .map(|record| (record.key.as_slice(), record.value.as_slice()))
        .filter(|(key, _)| !OF_A_NAME.contains(key))
        .filter(|(key, _)| target.is_none() || !OF_CONTENT.iter().any(|of| key.starts_with(of)))
        .collect();
    records.push((b"path", path.as_os_str().as_bytes()));
    let link = target.map_or(member.link.as_slice(), |target| {
        target.as_os_str().as_bytes()
    });
    if !link.is_empty() {
        records.push((b"linkpath", link));
    }
    let mut header = member.header.clone();
    set_name(&mut header, path);
    fill(&mut header.as_old_mut().linkname, link);
    if target.is_some() {
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
    }
    header.set_cksum();
    write_records(out, &records)?;
    out.write_all(header.as_bytes())
}

/// An empty entry that says something about lower layers.
pub(super) fn write_marker(out: &mut impl Write, path: &Path) -> io::Result<()> {
    let mut header = Header::new_ustar();
    set_name(&mut header, path);
    header.set_size(0);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let path = path.as_os_str().as_bytes();
    if path.len() > header.as_old().name.len() {
        write_records(out, &[(b"path", path)])?;
    }
    out.write_all(header.as_bytes())
}

/// As much of the name as there is room for; all of it is in a record.
pub(super) fn set_name(header: &mut Header, path: &Path) {
    fill(&mut header.as_old_mut().name, path.as_os_str().as_bytes());
    if let Some(ustar) = header.as_ustar_mut() {
        fill(&mut ustar.prefix, b"");
    }
}

pub(super) fn fill(field: &mut [u8], bytes: &[u8]) {
    field.fill(0);
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// A pax extended header.
pub(super) fn write_records(out: &mut impl Write, records: &[(&[u8], &[u8])]) -> io::Result<()> {
    let mut content = Vec::new();
    for (key, value) in records {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        content.extend_from_slice(format!("{length} ").as_bytes());
        content.extend_from_slice(key);
        content.push(b'=');
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    let mut header = Header::new_ustar();
    set_name(&mut header, Path::new("PaxHeaders/entry"));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_entry_type(EntryType::XHeader);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    content.resize(padded(0, content.len() as u64) as usize, 0);
    out.write_all(&content)
}
