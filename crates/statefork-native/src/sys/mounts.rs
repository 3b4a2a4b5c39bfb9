//! Attributes of mounts: mount_setattr(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// How a mount is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountChange {
    /// Nothing can be written.
    pub(crate) read_only: bool,
    /// Whether device files can be opened; as it is where `None`.
    pub(crate) devices: Option<bool>,
    /// No mount event comes in or goes out.
    pub(crate) private: bool,
    /// The mounts below it too.
    pub(crate) recursive: bool,
}

/// Changes a mount, given by a descriptor of its root.
pub(crate) fn change_mount(mount: BorrowedFd<'_>, change: MountChange) -> io::Result<()> {
    let (mut set, mut clear) = (0, 0);
    if change.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    match change.devices {
        Some(true) => clear |= libc::MOUNT_ATTR_NODEV,
        Some(false) => set |= libc::MOUNT_ATTR_NODEV,
        None => {}
    }
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: if change.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a string, `attributes` has the size that is told; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(result).map(drop)
}
