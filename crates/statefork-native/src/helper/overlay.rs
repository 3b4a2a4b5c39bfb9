//! The layers of a container as one file system (Linux, overlayfs).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen,
};

use super::failure::{Attempt, Result};
use super::root::bind;
use crate::plan::{Plan, file};

/// What keeps a layer readable by itself: without these a kernel may note things in the writable
/// layer that mean something only together with those below. A kernel that does not know one of
/// them does not do it either.
const OPTIONS: [(&str, &str); 4] = [
    ("redirect_dir", "off"),
    ("index", "off"),
    ("metacopy", "off"),
    ("xino", "off"),
];

/// The same for an identity that newer kernels note.
const UUID: (&str, &str) = ("uuid", "null");

/// Opens the container's folder.
pub(super) fn open_folder(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).or_system("open the container's folder")
}

/// Mounts the layers, attached nowhere yet. No device file in them can be opened: a container may
/// make nodes, also of a disk.
pub(super) fn mount(plan: &Plan, folder: &OwnedFd) -> Result<OwnedFd> {
    let mounted = match mount_layers(&plan.layers, &plan.lower, folder) {
        // A kernel before 6.5 does not take the layers one by one.
        Err(Errno::INVAL | Errno::NOSYS) => by_option_string(plan, folder),
        mounted => mounted.map_err(io::Error::from),
    };
    mounted.or_system("mount the container's layers")
}

/// By the mount API of file descriptors: any number of layers, relative to the folder `layers`. The
/// working directory is `/` afterwards.
pub(crate) fn mount_layers(
    layers: &Path,
    lower: &[PathBuf],
    folder: &OwnedFd,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"source", c"overlay")?;
    for (key, value) in OPTIONS.into_iter().chain([UUID]) {
        match fsconfig_set_string(context.as_fd(), key, value) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    // A value has at most 255 bytes, so the paths are relative.
    rustix::process::chdir(layers)?;
    for layer in lower {
        fsconfig_set_string(context.as_fd(), c"lowerdir+", layer)?;
    }
    rustix::process::fchdir(folder)?;
    fsconfig_set_string(context.as_fd(), c"upperdir", file::UPPER)?;
    fsconfig_set_string(context.as_fd(), c"workdir", file::WORK)?;
    fsconfig_create(context.as_fd())?;
    let mount = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    rustix::process::chdir(c"/")?;
    Ok(mount)
}

/// By mount(2), whose options have 4095 bytes in all: relative paths of the layers, and descriptors
/// for what lies elsewhere.
fn by_option_string(plan: &Plan, folder: &OwnedFd) -> io::Result<OwnedFd> {
    let open = |name: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::empty())
    };
    let (upper, work) = (open(file::UPPER)?, open(file::WORK)?);
    let mut options = b"lowerdir=".to_vec();
    for (number, layer) in plan.lower.iter().enumerate() {
        if number > 0 {
            options.push(b':');
        }
        for byte in layer.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\' | b',') {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    for (key, descriptor) in [("upperdir", &upper), ("workdir", &work)] {
        let number = descriptor.as_raw_fd();
        options.extend_from_slice(format!(",{key}=/proc/self/fd/{number}").as_bytes());
    }
    for (key, value) in OPTIONS {
        options.extend_from_slice(format!(",{key}={value}").as_bytes());
    }
    let options = CString::new(options)?;
    rustix::process::chdir(&plan.layers)?;
    // It has to be attached somewhere to be had: at the container's folder, where it belongs.
    let place = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let flags = MountFlags::NODEV;
    rustix::mount::mount(
        c"overlay",
        place.as_str(),
        c"overlay",
        flags,
        options.as_c_str(),
    )?;
    rustix::process::chdir(c"/")?;
    let attached = rustix::fs::open(&plan.folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    bind(&attached, false)
}
