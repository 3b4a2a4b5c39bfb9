//! Copying files out of a container and into it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use statefork_runtime::{
    ByteStream, Container, ContainerId, ContainerSpec, ErrorKind, Mount, MountSource, ObjectKind,
    Result,
};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::{Fixture, as_text, one_piece};
use crate::image::tar;

pub(super) const CASES: &[Case] = cases![Copy:
    a_file_is_copied_out_under_its_name,
    a_folder_is_copied_out_with_all_below,
    an_archive_is_unpacked_in_a_folder,
    a_running_container_can_be_copied,
    a_paused_container_can_be_copied [Pause],
    an_exited_container_can_be_copied,
    what_lies_on_a_mount_is_copied,
    a_read_only_mount_is_not_written,
    what_is_not_there_cannot_be_copied,
    a_folder_to_unpack_in_must_be_one,
    what_is_no_archive_is_not_unpacked,
    no_entry_gets_out_of_the_folder,
];

/// What an archive holds: the text of each file, nothing for a folder.
pub(super) type Held = BTreeMap<String, Option<String>>;

/// The bytes of a stream.
pub(super) async fn bytes(stream: ByteStream) -> Outcome<Vec<u8>> {
    let pieces: Vec<_> = stream.try_collect().await?;
    Ok(pieces.concat())
}

fn held(archive: &[u8]) -> Outcome<Held> {
    let mut held = Held::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let path = path.trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let is_file = entry.header().entry_type().is_file();
        held.insert(path, is_file.then(|| as_text(&content)));
    }
    Ok(held)
}

async fn copied_out(f: &Fixture, container: &Container, path: &str) -> Outcome<Held> {
    let archive = f.runtime().copy_out(&container.id, Path::new(path)).await?;
    held(&bytes(archive).await?)
}

async fn copy_in(
    f: &Fixture,
    container: &Container,
    folder: &str,
    files: &[(&str, &str)],
) -> Outcome<Result<()>> {
    let archive = one_piece(tar(files)?);
    let folder = Path::new(folder);
    Ok(f.runtime().copy_in(&container.id, folder, archive).await)
}

fn file(path: &str, text: &str) -> Held {
    Held::from([(path.to_owned(), Some(text.to_owned()))])
}

async fn a_file_is_copied_out_under_its_name(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/deep/one 1").await?;
    let motd = copied_out(f, &container, "/etc/motd").await?;
    check_eq!(motd, file("motd", "welcome"), "a file of the image is");
    for path in ["/data/deep/one", "/data//./deep/one"] {
        let one = copied_out(f, &container, path).await?;
        check_eq!(one, file("one", "1"), "{path} is");
    }
    Ok(())
}

async fn a_folder_is_copied_out_with_all_below(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let line = "write /data/top/one 1 ; write /data/top/deep/two 2 ; write /data/other 3 ; \
                write /data/top/gone 4 ; rm /data/top/gone";
    f.told(&container, line).await?;
    for path in ["/data/top", "/data/top/"] {
        let top = copied_out(f, &container, path).await?;
        check_eq!(top.get("top"), Some(&None), "{path}: the folder itself is");
        let files: Held = top.into_iter().filter(|(_, text)| text.is_some()).collect();
        let mut expected = file("top/one", "1");
        expected.extend(file("top/deep/two", "2"));
        check_eq!(files, expected, "{path}: its files are");
    }
    Ok(())
}

async fn an_archive_is_unpacked_in_a_folder(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/kept k ; write /data/replaced old")
        .await?;
    let files = [("replaced", "new"), ("deep/in/it", "2"), ("./plain", "3")];
    copy_in(f, &container, "/data", &files).await??;
    for (path, text) in [
        ("/data/replaced", "new"),
        ("/data/deep/in/it", "2"),
        ("/data/plain", "3"),
        ("/data/kept", "k"),
    ] {
        let seen = f.file(&container, path).await?;
        check_eq!(seen.as_deref(), Some(text), "{path} is");
    }
    copy_in(f, &container, "/", &[("data/root", "4")]).await??;
    let root = f.file(&container, "/data/root").await?;
    check_eq!(root.as_deref(), Some("4"), "what was unpacked in the root");
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let seen = f.file(&back, "/data/plain").await?;
    check_eq!(seen.as_deref(), Some("3"), "in the capture it");
    Ok(())
}

/// Copies out, in and out again.
async fn there_and_back(f: &Fixture, container: &Container) -> Outcome {
    let one = copied_out(f, container, "/data/one").await?;
    check_eq!(one, file("one", "1"), "the file is");
    copy_in(f, container, "/data", &[("two", "2")]).await??;
    let two = copied_out(f, container, "/data/two").await?;
    check_eq!(two, file("two", "2"), "what was copied in is");
    Ok(())
}

async fn a_running_container_can_be_copied(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    there_and_back(f, &container).await?;
    let two = f.file(&container, "/data/two").await?;
    check_eq!(two.as_deref(), Some("2"), "its processes see");
    Ok(())
}

async fn a_paused_container_can_be_copied(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    f.runtime().pause(&container.id).await?;
    let before = f.state(&container).await?;
    there_and_back(f, &container).await?;
    check_eq!(f.state(&container).await?, before, "its state");
    f.runtime().unpause(&container.id).await?;
    let two = f.file(&container, "/data/two").await?;
    check_eq!(two.as_deref(), Some("2"), "its processes see");
    Ok(())
}

async fn an_exited_container_can_be_copied(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; exit 3").await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code");
    there_and_back(f, &container).await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code is still");
    Ok(())
}

async fn mounted(f: &Fixture, source: &Path, read_only: bool) -> Outcome<Container> {
    let spec = ContainerSpec {
        mounts: vec![Mount {
            source: MountSource::Bind(source.to_owned()),
            target: "/mnt".into(),
            read_only,
        }],
        ..f.spec("serve")
    };
    Ok(f.launch_from(&f.base(), spec).await?)
}

async fn what_lies_on_a_mount_is_copied(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    fs::write(folder.join("one"), "1")?;
    let container = mounted(f, &folder, false).await?;
    for state in ["running", "exited"] {
        let out = copied_out(f, &container, "/mnt/one").await?;
        check_eq!(out, file("one", "1"), "{state}: the host's file is");
        let all = copied_out(f, &container, "/mnt").await?;
        let one = all.get("mnt/one").cloned().flatten();
        check_eq!(one.as_deref(), Some("1"), "{state}: in its folder it is");
        copy_in(f, &container, "/mnt", &[(state, "2")]).await??;
        let seen = fs::read(folder.join(state))?;
        check_eq!(as_text(&seen), "2", "{state}: what the host sees is");
        f.runtime()
            .stop(&container.id, Duration::from_secs(5))
            .await?;
    }
    Ok(())
}

async fn a_read_only_mount_is_not_written(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    fs::write(folder.join("one"), "1")?;
    let container = mounted(f, &folder, true).await?;
    let out = copied_out(f, &container, "/mnt/one").await?;
    check_eq!(out, file("one", "1"), "the host's file is");
    let copied = copy_in(f, &container, "/mnt", &[("one", "2")]).await?;
    fails_with("the copy", copied, &[ErrorKind::Invalid])?;
    check_eq!(as_text(&fs::read(folder.join("one"))?), "1", "the file is");
    Ok(())
}

async fn what_is_not_there_cannot_be_copied(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let out = async |path: &str| f.runtime().copy_out(&container.id, Path::new(path)).await;
    for path in [
        "/no-such",
        "/etc/no-such/file",
        "/etc/motd/below",
        "/",
        "etc/motd",
        "/data/../etc/motd",
    ] {
        match out(path).await {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let text = error.to_string();
                check!(text.contains(path), "{path:?} is not in {text:?}");
            }
            other => fails_with(path, other, &[ErrorKind::Invalid])?,
        }
    }
    let absent = ContainerId::new(f.absent());
    let kinds = [ErrorKind::NotFound(ObjectKind::Container)];
    let copied = f.runtime().copy_out(&absent, Path::new("/etc/motd")).await;
    fails_with("an absent container", copied, &kinds)?;
    let archive = one_piece(tar(&[("one", "1")])?);
    let copied = f.runtime().copy_in(&absent, Path::new("/etc"), archive);
    fails_with("an absent container", copied.await, &kinds)
}

async fn a_folder_to_unpack_in_must_be_one(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    for folder in ["/no-such", "/etc/motd", "etc", "/etc/../data"] {
        let copied = copy_in(f, &container, folder, &[("one", "1")]).await?;
        if let Err(error) = &copied {
            let text = error.to_string();
            check!(text.contains(folder), "{folder:?} is not in {text:?}");
        }
        fails_with(folder, copied, &[ErrorKind::Invalid])?;
    }
    let made = f.file(&container, "/no-such/one").await?;
    check_eq!(made, None, "the file in the absent folder");
    let motd = f.file(&container, "/etc/motd").await?;
    check_eq!(motd.as_deref(), Some("welcome"), "the file that is none");
    Ok(())
}

async fn what_is_no_archive_is_not_unpacked(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let text = "no tar. ".repeat(1000);
    let archive = one_piece(text.into_bytes());
    let copied = f
        .runtime()
        .copy_in(&container.id, Path::new("/etc"), archive);
    fails_with("text", copied.await, &[ErrorKind::Invalid])
}

async fn no_entry_gets_out_of_the_folder(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/deep/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    // The library refuses such a name.
    let name = b"../evil";
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, &b"evil"[..])?;
    let archive = one_piece(archive.into_inner()?);
    let copied = f
        .runtime()
        .copy_in(&container.id, Path::new("/data/deep"), archive)
        .await;
    // Whether it is refused or unpacked inside is the runtime's affair.
    if copied.is_err() {
        fails_with("the copy", copied, &[ErrorKind::Invalid])?;
    }
    let evil = f.file(&container, "/data/evil").await?;
    check_eq!(evil, None, "the file outside");
    Ok(())
}
