//! The root of a container that is being put together, as a folder that no path leads out of.
//!
//! What is in it, symbolic links above all, comes from an image or a container and may say
//! anything: every path is resolved by the kernel inside the root (openat2, RESOLVE_IN_ROOT).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

/// How many symbolic links are followed on the way of one path, as the kernel does.
const LINKS: u32 = 40;

/// What a path is made as where it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// A folder.
    Folder,
    /// An empty file, in folders that are made too.
    File,
}

/// The root.
pub(super) struct Root(OwnedFd);

impl Root {
    /// The root of a mount.
    pub(super) fn new(mount: OwnedFd) -> Self {
        Self(mount)
    }

    /// Attaches it to a folder.
    pub(super) fn attach_to(&self, folder: &OwnedFd) -> io::Result<()> {
        attach(&self.0, folder)
    }

    /// Attaches a mount at a place in it.
    pub(super) fn attach(&self, mount: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
        attach(mount, place)
    }

    /// Attaches a mount at a path, which is made as `make` says where it does not exist.
    /// Nothing is attached over the root itself.
    pub(super) fn attach_at(&self, mount: &OwnedFd, path: &Path, make: Make) -> io::Result<()> {
        if components(path).is_empty() {
            return Err(Errno::INVAL.into());
        }
        attach(mount, &self.make(path, make)?)
    }

    /// What is at a path, links followed inside; `None` where nothing is.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        match self.open(path, OFlags::empty()) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is at a path, links followed inside; made where it does not exist.
    pub(super) fn make(&self, path: &Path, make: Make) -> io::Result<OwnedFd> {
        // Mostly it exists.
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let mut left: VecDeque<OsString> = components(path);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            match self.open(&next, OFlags::NOFOLLOW) {
                Ok(found) => {
                    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
                    if kind != FileType::Symlink {
                        here = next;
                        continue;
                    }
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&found, c"", Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    for component in components(&target).into_iter().rev() {
                        left.push_front(component);
                    }
                }
                Err(Errno::NOENT) => {
                    let last = left.is_empty() && make == Make::File;
                    self.make_one(&here, &name, last)?;
                    here = next;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.open(&here, OFlags::NOFOLLOW)?)
    }

    /// Makes one folder or file. Somebody else's, made meanwhile, is as good.
    fn make_one(&self, parent: &Path, name: &OsString, file: bool) -> io::Result<()> {
        let parent = self.open(parent, OFlags::DIRECTORY)?;
        let made = if file {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a path as a place only.
    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A name that changes while it is resolved is tried again.
        loop {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    }

    /// Makes it the root of the process's mount namespace, and lets go of all that was there before.
    pub(super) fn enter(self) -> io::Result<()> {
        fchdir(&self.0)?;
        drop(self.0);
        // The old root comes to lie on the new one, from where it is taken off.
        pivot_root(c".", c".")?;
        unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        Ok(())
    }
}

/// The parts of a path that are names, and `..`.
fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Attaches a mount to a place.
fn attach(mount: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", place, c"", flags)?)
}

/// A new mount of a file system, attached nowhere yet. An option without a value is a flag.
pub(super) fn new_mount(
    filesystem: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What it is called in the container's list of mounts.
    fsconfig_set_string(context.as_fd(), "source", filesystem)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), *key, *value)?,
            None => fsconfig_set_flag(context.as_fd(), *key)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// A mount of what is at a place, as a bind mount is, attached nowhere yet.
pub(super) fn bind(place: &OwnedFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(place, c"", flags)?)
}

/// The same of a path of the host.
pub(super) fn bind_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}
