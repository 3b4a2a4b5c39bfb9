//! What is mounted into a container: of the host, memory, and the three files of its own in `/etc`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{Attempt, Result};
use super::root::{Make, Root, bind, bind_path, new_mount};
use super::system::is_folder;
use crate::plan::{FailureKind, MountFrom, MountPlan, file};
use crate::sys::{MountChange, change_mount};

/// The files that a container has its own of.
const ETC: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Mounts of those of the files in `/etc` that the container's folder holds.
pub(super) fn open_etc(folder: &OwnedFd) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut mounts = Vec::new();
    for name in ETC {
        let path = Path::new(file::ETC).join(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(folder, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            found => found.map_err(io::Error::from),
        };
        let mount = found.and_then(|found| private(&found, false));
        mounts.push((name, mount.or_system(&format!("open {}", path.display()))?));
    }
    Ok(mounts)
}

/// Attaches them.
pub(super) fn attach_etc(root: &Root, mounts: Vec<(&'static str, OwnedFd)>) -> Result<()> {
    for (name, mount) in mounts {
        let path = Path::new("/etc").join(name);
        root.attach_at(&mount, &path, Make::File)
            .or_system(&format!("mount {}", path.display()))?;
    }
    Ok(())
}

/// A mount of a file.
fn private(place: &OwnedFd, read_only: bool) -> io::Result<OwnedFd> {
    let mount = bind(place, false)?;
    restrict(&mount, read_only)?;
    Ok(mount)
}

/// Keeps devices shut, and mounts that come later outside.
fn restrict(mount: &OwnedFd, read_only: bool) -> io::Result<()> {
    let change = MountChange {
        read_only,
        devices: Some(false),
        private: true,
        recursive: true,
    };
    change_mount(mount.as_fd(), change)
}

/// Mounts of what is to be mounted, those of the host with what is mounted below them.
pub(super) fn open_sources(mounts: &[MountPlan]) -> Result<Vec<OwnedFd>> {
    let open = |mount: &MountPlan| {
        let opened = match &mount.source {
            MountFrom::Host(path) => {
                bind_path(path).and_then(|bound| restrict(&bound, mount.read_only).map(|()| bound))
            }
            MountFrom::Memory(size) => memory(*size, mount.read_only),
        };
        opened.or_fail(FailureKind::Mount, &format!("mount {}", mount.source))
    };
    mounts.iter().map(open).collect()
}

/// A new tmpfs, which everybody may write in as in `/tmp`. Nothing in it can be executed.
fn memory(size: Option<u64>, read_only: bool) -> io::Result<OwnedFd> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let size = size.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", Some("1777"))];
    options.extend(size.as_deref().map(|size| ("size", Some(size))));
    new_mount("tmpfs", &options, attributes)
}

/// Attaches them, each at a path of its kind.
pub(super) fn attach_sources(
    root: &Root,
    mounts: &[MountPlan],
    sources: Vec<OwnedFd>,
) -> Result<()> {
    for (mount, source) in mounts.iter().zip(sources) {
        attach(root, &source, &mount.target).or_fail(
            FailureKind::Mount,
            &format!("mount {} at {}", mount.source, mount.target.display()),
        )?;
    }
    Ok(())
}

/// Attaches one.
fn attach(root: &Root, source: &OwnedFd, target: &Path) -> io::Result<()> {
    let make = if is_folder(source)? {
        Make::Folder
    } else {
        Make::File
    };
    root.attach_at(source, target, make)
}
