//! What of a file, besides its content, a copy keeps; and copies too large to hold.

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use statefork_runtime::{ByteStream, Container};
use tar::EntryType;

use super::copy::bytes;
use crate::case::{Case, Failure, Outcome, cases, check, check_eq};
use crate::fixture::{Fixture, one_piece};

pub(super) const CASES: &[Case] = cases![Copy:
    modes_times_and_links_come_out [Programs],
    modes_owners_times_and_links_go_in [Programs],
    a_link_at_the_end_is_itself [Programs],
    a_folder_behind_a_link_takes_an_archive [Programs],
    a_folder_is_not_replaced_by_a_file [Programs],
    what_is_copied_need_not_fit_in_memory [Programs],
];

/// An entry, in short: kind, mode, time, target of a link.
fn shown(header: &tar::Header) -> Outcome<String> {
    let target = header
        .link_name()?
        .map(|target| target.display().to_string());
    Ok(format!(
        "{:?} {:o} {} {}",
        header.entry_type(),
        header.mode()? & 0o7777,
        header.mtime()?,
        target.unwrap_or_default()
    ))
}

async fn entries(f: &Fixture, container: &Container, path: &str) -> Outcome<Vec<String>> {
    let archive = f.runtime().copy_out(&container.id, Path::new(path)).await?;
    let archive = bytes(archive).await?;
    let mut entries = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries()? {
        let entry = entry?;
        let path = entry.path()?.display().to_string();
        let path = path.trim_end_matches('/');
        entries.push(format!("{path} {}", shown(entry.header())?));
    }
    entries.sort();
    Ok(entries)
}

async fn modes_times_and_links_come_out(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let script = "mkdir -p /data/top; cd /data/top; echo 1 > set; chmod 4751 set; echo 2 > plain; \
                  chmod 600 plain; ln -s plain link; ln -s /no/where dangling; \
                  touch -h -d @1000000000 set plain link dangling; \
                  chmod 2750 /data/top; touch -d @1000000000 /data/top";
    f.script(&container, script).await?;
    check_eq!(
        entries(f, &container, "/data/top").await?,
        [
            "top Directory 2750 1000000000 ",
            "top/dangling Symlink 777 1000000000 /no/where",
            "top/link Symlink 777 1000000000 plain",
            "top/plain Regular 600 1000000000 ",
            "top/set Regular 4751 1000000000 ",
        ],
        "they are"
    );
    check_eq!(
        entries(f, &container, "/data/top/set").await?,
        ["set Regular 4751 1000000000 "],
        "a file alone is"
    );
    Ok(())
}

fn entry(kind: EntryType, mode: u32, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner + 1);
    header.set_mtime(1_000_000_000);
    header.set_size(0);
    header
}

async fn modes_owners_times_and_links_go_in(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/kept 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut folder = entry(EntryType::Directory, 0o2750, 10);
    archive.append_data(&mut folder, "top", std::io::empty())?;
    let mut file = entry(EntryType::Regular, 0o4751, 1234);
    file.set_size(1);
    archive.append_data(&mut file, "top/set", &b"1"[..])?;
    let mut link = entry(EntryType::Symlink, 0o777, 20);
    archive.append_link(&mut link, "top/link", "set")?;
    let archive = one_piece(archive.into_inner()?);
    f.runtime()
        .copy_in(&container.id, Path::new("/data"), archive)
        .await?;
    let script = "cd /data; stat -c '%n %F %a %u %g %Y' top top/set top/link; readlink top/link; \
                  cat kept";
    check_eq!(
        f.script(&container, script).await?,
        "top directory 2750 10 11 1000000000\n\
         top/set regular file 4751 1234 1235 1000000000\n\
         top/link symbolic link 777 20 21 1000000000\n\
         set\n1",
        "they are"
    );
    Ok(())
}

async fn a_link_at_the_end_is_itself(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let script = "mkdir -p /data/real/deep; echo 1 > /data/real/file; cd /data; \
                  ln -s real folder; ln -s ../data/real/file file; ln -s no/where dangling; \
                  ln -s /data/real /link; ln -s ../file real/deep/up; \
                  touch -h -d @1000000000 folder file dangling /link real/deep/up";
    f.script(&container, script).await?;
    for (path, shown) in [
        ("/data/folder", "folder Symlink 777 1000000000 real"),
        (
            "/data/file",
            "file Symlink 777 1000000000 ../data/real/file",
        ),
        ("/data/dangling", "dangling Symlink 777 1000000000 no/where"),
        ("/link", "link Symlink 777 1000000000 /data/real"),
        ("/link/deep/up", "up Symlink 777 1000000000 ../file"),
        ("/data/folder/", "folder Symlink 777 1000000000 real"),
    ] {
        let entries = entries(f, &container, path).await?;
        check_eq!(entries, [shown], "{path} is");
    }
    // On the way they are followed.
    let through = entries(f, &container, "/data/folder/file").await?;
    check!(
        matches!(through.as_slice(), [file] if file.starts_with("file Regular")),
        "behind a link it is {through:?}"
    );
    Ok(())
}

async fn a_folder_behind_a_link_takes_an_archive(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.script(&container, "mkdir -p /data/real; ln -s real /data/link")
        .await?;
    let archive = one_piece(crate::image::tar(&[("one", "1")])?);
    f.runtime()
        .copy_in(&container.id, Path::new("/data/link"), archive)
        .await?;
    let seen = f.script(&container, "cat /data/real/one; readlink /data/link");
    check_eq!(seen.await?, "1real", "the file and the link are");
    Ok(())
}

async fn a_folder_is_not_replaced_by_a_file(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/top/kept 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let archive = one_piece(crate::image::tar(&[("top", "file")])?);
    let copied = f
        .runtime()
        .copy_in(&container.id, Path::new("/data"), archive)
        .await;
    let kinds = [statefork_runtime::ErrorKind::Invalid];
    crate::case::fails_with("the copy", copied, &kinds)?;
    let kept = f.file(&container, "/data/top/kept").await?;
    check_eq!(kept.as_deref(), Some("1"), "what the folder holds is");
    Ok(())
}

/// Size of the big file, and of the pieces that it is sent in.
const BIG: u64 = 50 << 20;
const PIECE: usize = 64 << 10;

/// What this process may need in addition to copy the big file: far less than the file, and room
/// for what other cases do meanwhile.
const MEMORY: u64 = 25 << 20;

/// The largest amount of memory that this process had, in bytes (proc(5), `VmHWM`).
fn peak_memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let kib = kib.ok_or_else(|| Failure::new("the system does not say how much memory it is"))?;
    Ok(kib << 10)
}

/// An archive with one big file, made piece by piece, and the digest of the file.
fn big_archive() -> Outcome<(ByteStream, String)> {
    let mut header = entry(EntryType::Regular, 0o644, 0);
    header.set_path("big")?;
    header.set_size(BIG);
    header.set_cksum();
    let head = Bytes::copy_from_slice(header.as_bytes());
    let piece = |number: u64| {
        let mut piece = number.to_le_bytes().repeat(PIECE / 8);
        piece.truncate(PIECE);
        Bytes::from(piece)
    };
    let count = BIG / PIECE as u64;
    let mut digest = Sha256::new();
    for number in 0..count {
        digest.update(piece(number));
    }
    let digest: String = digest
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let pieces = (0..count).map(piece);
    let end = Bytes::from_static(&[0; 1024]);
    let all = std::iter::once(head).chain(pieces).chain([end]).map(Ok);
    Ok((stream::iter(all).boxed(), digest))
}

async fn what_is_copied_need_not_fit_in_memory(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/x x ; serve").await?;
    f.until_said(&container, "serving").await?;
    let (archive, digest) = big_archive()?;
    let before = peak_memory()?;
    let folder = Path::new("/data");
    f.runtime().copy_in(&container.id, folder, archive).await?;
    let seen = f.script(&container, "sha256sum < /data/big").await?;
    check_eq!(seen.split(' ').next(), Some(&*digest), "the file's digest");

    let path = Path::new("/data/big");
    let mut archive = f.runtime().copy_out(&container.id, path).await?;
    // The header of the one entry is one block; the file is a whole number of blocks.
    let (mut skip, mut left, mut back) = (512, BIG, Sha256::new());
    while let Some(mut piece) = archive.try_next().await? {
        let skipped = piece.split_to(piece.len().min(skip));
        skip -= skipped.len();
        piece.truncate(piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        left -= piece.len() as u64;
        back.update(&piece);
    }
    let back: String = back.finalize().iter().map(|b| format!("{b:02x}")).collect();
    check_eq!(back, digest, "the digest of what came back");
    let more = peak_memory()?.saturating_sub(before);
    check!(more < MEMORY, "it took {more} bytes more of memory");
    Ok(())
}
