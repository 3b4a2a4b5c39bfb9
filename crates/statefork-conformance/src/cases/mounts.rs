//! Bind mounts, volumes and what differs from the image.

use std::fs;
use std::path::Path;

use statefork_runtime::{
    Change, ChangeKind, Container, ContainerMount, ContainerSpec, ErrorKind, ExecExit, Mount,
    MountKind, MountSource,
};

use crate::case::{Case, Failure, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::{Fixture, as_text};

pub(super) const CASES: &[Case] = cases![Mounts:
    a_bind_mount_is_shared_with_the_host,
    a_bind_mount_is_not_in_the_capture,
    a_read_only_mount_refuses_writes,
    a_named_volume_outlives_its_container,
    memory_is_the_container_s_own_and_empty,
    memory_holds_no_more_than_its_size [Programs],
    a_missing_source_is_refused,
    mounts_are_listed_by_path,
    changes_are_listed_by_path,
    changes_start_anew_after_a_launch,
    changes_leave_mounts_out,
];

/// The one volume of the suite: nothing in the contract removes a volume, so that it stays.
const VOLUME: &str = "statefork-conformance";

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        source: MountSource::Bind(source.to_owned()),
        target: target.into(),
        read_only,
    }
}

fn volume(target: &str) -> Mount {
    Mount {
        source: MountSource::Volume(VOLUME.into()),
        target: target.into(),
        read_only: false,
    }
}

async fn mounted(f: &Fixture, mounts: Vec<Mount>) -> Outcome<Container> {
    let spec = ContainerSpec {
        mounts,
        ..f.spec("serve")
    };
    Ok(f.launch_from(&f.base(), spec).await?)
}

async fn a_bind_mount_is_shared_with_the_host(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    fs::write(folder.join("from-host"), "hello")?;
    let container = mounted(f, vec![bind(&folder, "/mnt", false)]).await?;
    let seen = f.file(&container, "/mnt/from-host").await?;
    check_eq!(seen.as_deref(), Some("hello"), "the host's file");
    f.told(&container, "write /mnt/from-container back").await?;
    let seen = fs::read(folder.join("from-container"))?;
    check_eq!(as_text(&seen), "back", "the container's file");
    Ok(())
}

async fn a_bind_mount_is_not_in_the_capture(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    let container = mounted(f, vec![bind(&folder, "/mnt", false)]).await?;
    f.told(&container, "write /mnt/one 1 ; write /data/two 2")
        .await?;
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(back.mounts, [], "its mounts");
    check_eq!(f.file(&back, "/mnt/one").await?, None, "the mount's file");
    let two = f.file(&back, "/data/two").await?;
    check_eq!(two.as_deref(), Some("2"), "the container's file");
    Ok(())
}

async fn a_read_only_mount_refuses_writes(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    fs::write(folder.join("one"), "1")?;
    let container = mounted(f, vec![bind(&folder, "/mnt", true)]).await?;
    let one = f.file(&container, "/mnt/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the file");
    let ran = f.run(&container, "write /mnt/one 2").await?;
    check!(ran.exit != ExecExit::Code(0), "the write succeeded");
    check_eq!(as_text(&fs::read(folder.join("one"))?), "1", "the file is");
    Ok(())
}

async fn a_named_volume_outlives_its_container(f: &Fixture) -> Outcome {
    let name = f.absent();
    let first = mounted(f, vec![volume("/mnt")]).await?;
    f.told(&first, &format!("write /mnt/{name} 1")).await?;
    f.runtime().remove(&first.id).await?;
    let second = mounted(f, vec![volume("/elsewhere")]).await?;
    let path = format!("/elsewhere/{name}");
    let seen = f.file(&second, &path).await?;
    f.told(&second, &format!("rm {path}")).await?;
    check_eq!(seen.as_deref(), Some("1"), "the file");
    Ok(())
}

fn memory(target: &str, size: Option<u64>) -> Mount {
    Mount {
        source: MountSource::Tmpfs { size },
        target: target.into(),
        read_only: false,
    }
}

async fn memory_is_the_container_s_own_and_empty(f: &Fixture) -> Outcome {
    let mounts = vec![memory("/mnt/a", Some(1 << 20)), memory("/mnt/b", None)];
    let first = mounted(f, mounts.clone()).await?;
    let expected = ["/mnt/a", "/mnt/b"].map(|path| ContainerMount {
        path: path.into(),
        kind: MountKind::Tmpfs,
        writable: true,
    });
    check_eq!(first.mounts, expected, "its mounts");
    f.told(
        &first,
        "write /mnt/a/one 1 ; write /mnt/b/one 1 ; write /data/two 2",
    )
    .await?;
    let one = f.file(&first, "/mnt/a/one").await?;
    check_eq!(one.as_deref(), Some("1"), "its file");
    let changes = f.runtime().changes(&first.id).await?;
    let inside = changes.iter().find(|change| {
        let path = &change.path;
        path.starts_with("/mnt/a") || path.starts_with("/mnt/b")
    });
    check!(inside.is_none(), "a change is {inside:?}");
    let capture = f.capture(&first).await?;
    // At the same time.
    let spec = ContainerSpec {
        mounts,
        ..f.spec("serve")
    };
    let second = f.launch_from(&capture, spec).await?;
    for path in ["/mnt/a/one", "/mnt/b/one"] {
        check_eq!(f.file(&second, path).await?, None, "the second's {path}");
    }
    let two = f.file(&second, "/data/two").await?;
    check_eq!(two.as_deref(), Some("2"), "the second's other file");
    f.runtime().kill(&first.id).await?;
    f.runtime().start(&first.id).await?;
    let one = f.file(&first, "/mnt/a/one").await?;
    check_eq!(one, None, "its file after another start");
    Ok(())
}

async fn memory_holds_no_more_than_its_size(f: &Fixture) -> Outcome {
    let container = mounted(f, vec![memory("/mnt", Some(1 << 20))]).await?;
    let filled = |count: u32| {
        format!("dd if=/dev/zero of=/mnt/file bs=1024 count={count} && echo fits || echo full")
    };
    for (count, expected) in [(512, "fits"), (2048, "full")] {
        let said = f.script(&container, &filled(count)).await?;
        check_eq!(said.trim(), expected, "{count} KiB in 1024 are");
    }
    Ok(())
}

async fn a_missing_source_is_refused(f: &Fixture) -> Outcome {
    let source = f.folder()?.join("absent");
    let spec = ContainerSpec {
        mounts: vec![bind(&source, "/mnt", false)],
        ..f.spec("serve")
    };
    let launched = f.launch_from(&f.base(), spec).await;
    fails_with("the launch", launched, &[ErrorKind::Invalid])?;
    check!(!source.exists(), "the source was made");
    Ok(())
}

async fn mounts_are_listed_by_path(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    let mounts = vec![
        bind(&folder, "/mnt/b", true),
        volume("/mnt/c"),
        bind(&folder, "/mnt/a", false),
    ];
    let container = mounted(f, mounts).await?;
    let expected = [
        ("/mnt/a", MountKind::Bind, true),
        ("/mnt/b", MountKind::Bind, false),
        ("/mnt/c", MountKind::Volume, true),
    ]
    .map(|(path, kind, writable)| ContainerMount {
        path: path.into(),
        kind,
        writable,
    });
    check_eq!(container.mounts, expected, "after the launch");
    check_eq!(f.inspect(&container).await?.mounts, expected, "later");
    Ok(())
}

fn kind_of(changes: &[Change], path: &str) -> Option<ChangeKind> {
    let found = changes.iter().find(|change| change.path == Path::new(path));
    found.map(|change| change.kind)
}

async fn changes_are_listed_by_path(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(
        &container,
        "write /etc/motd new ; write /data/b b ; write /data/a a ; rm /etc/old",
    )
    .await?;
    let changes = f.runtime().changes(&container.id).await?;
    check!(changes.is_sorted(), "not sorted: {changes:?}");
    for (path, kind) in [
        ("/data", ChangeKind::Added),
        ("/data/a", ChangeKind::Added),
        ("/data/b", ChangeKind::Added),
        ("/etc", ChangeKind::Modified),
        ("/etc/motd", ChangeKind::Modified),
        ("/etc/old", ChangeKind::Deleted),
    ] {
        check_eq!(kind_of(&changes, path), Some(kind), "{path} is");
    }
    check_eq!(
        kind_of(&changes, "/etc/passwd"),
        None,
        "an unchanged file is"
    );
    Ok(())
}

async fn changes_start_anew_after_a_launch(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/old 1").await?;
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    f.told(&back, "write /data/new 1").await?;
    let changes = f.runtime().changes(&back.id).await?;
    check_eq!(kind_of(&changes, "/data/old"), None, "the captured file is");
    let new = kind_of(&changes, "/data/new");
    check_eq!(new, Some(ChangeKind::Added), "the new file is");
    let data = kind_of(&changes, "/data");
    check_eq!(data, Some(ChangeKind::Modified), "its folder is");
    Ok(())
}

async fn changes_leave_mounts_out(f: &Fixture) -> Outcome {
    let folder = f.folder()?;
    let container = mounted(f, vec![bind(&folder, "/etc/mnt", false)]).await?;
    f.told(&container, "write /etc/mnt/one 1 ; write /data/two 2")
        .await?;
    let changes = f.runtime().changes(&container.id).await?;
    let inside = changes
        .iter()
        .find(|change| change.path.starts_with("/etc/mnt/"));
    if let Some(change) = inside {
        return Err(Failure::new(format!("{change:?} lies on a mount")));
    }
    check!(kind_of(&changes, "/data/two").is_some(), "its file is not");
    Ok(())
}
