//! What a container has of the system: `/proc`, `/sys` and `/dev`, less what it must not see or
//! change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dev, FileType, Mode, OFlags, makedev, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{Attempt, Result};
use super::root::{Make, Root, bind, new_mount};
use crate::sys::{MountChange, change_mount};

/// What is hidden: it tells about the host or reaches into it.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What can be read only: it belongs to the whole machine.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The devices that there are, with their minor numbers; the major number is 1 (memory devices) but
/// for the last, the process's own terminal.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The links that programs expect in `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts all of it. With `cgroups` the container sees its own limits, by its cgroup namespace.
pub(super) fn mount_all(root: &Root, cgroups: bool) -> Result<()> {
    proc(root).or_system("mount /proc")?;
    sys(root).or_system("mount /sys")?;
    if cgroups {
        mount_cgroups(root).or_system("mount /sys/fs/cgroup")?;
    }
    dev(root).or_system("make /dev")?;
    for path in MASKED {
        mask(root, Path::new(path)).or_system(&format!("hide {path}"))?;
    }
    for path in READ_ONLY {
        protect(root, Path::new(path)).or_system(&format!("make {path} read-only"))?;
    }
    Ok(())
}

/// No program there is executed, or with other privileges, and no device is one.
fn plain() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// The processes of the container's pid namespace.
fn proc(root: &Root) -> io::Result<()> {
    let mount = new_mount("proc", &[], plain())?;
    root.attach_at(&mount, Path::new("/proc"), Make::Folder)
}

/// The system, with the network interfaces of the network namespace.
fn sys(root: &Root) -> io::Result<()> {
    let read_only = plain() | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mount = new_mount("sysfs", &[], read_only)?;
    root.attach_at(&mount, Path::new("/sys"), Make::Folder)
}

/// The cgroups of version 2: the container's own is the root, which it can read only.
fn mount_cgroups(root: &Root) -> io::Result<()> {
    let mount = new_mount("cgroup2", &[], plain() | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    root.attach_at(&mount, Path::new("/sys/fs/cgroup"), Make::Folder)
}

/// The devices, terminals, shared memory and message queues.
fn dev(root: &Root) -> io::Result<()> {
    // A node that the container makes here is no device: the few that are have mounts of their own.
    let options = [("mode", Some("755")), ("size", Some("65536k"))];
    let no_devices = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = new_mount("tmpfs", &options, no_devices)?;
    root.attach_at(&dev, Path::new("/dev"), Make::Folder)?;
    for (name, major, minor) in DEVICES {
        make_device(root, &dev, name, makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    let terminals = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("gid", Some("5")),
    ];
    let no_programs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = new_mount("devpts", &terminals, no_programs)?;
    root.attach_at(&pts, Path::new("/dev/pts"), Make::Folder)?;
    let options = [("mode", Some("1777")), ("size", Some("65536k"))];
    let shm = new_mount("tmpfs", &options, plain())?;
    root.attach_at(&shm, Path::new("/dev/shm"), Make::Folder)?;
    match new_mount("mqueue", &[], plain()) {
        Ok(queues) => root.attach_at(&queues, Path::new("/dev/mqueue"), Make::Folder),
        // The kernel was built without them.
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a device, with a mount of the one node over itself. The node is the container's own, so that
/// it can change its mode without the host's being changed.
fn make_device(root: &Root, dev: &OwnedFd, name: &str, number: Dev) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(dev, name, FileType::CharacterDevice, mode, number)?;
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let node = rustix::fs::openat(dev, name, place, Mode::empty())?;
    let mount = bind(&node, false)?;
    let change = MountChange {
        devices: Some(true),
        ..MountChange::default()
    };
    change_mount(mount.as_fd(), change)?;
    root.attach(&mount, &node)
}

/// Hides a path, if it exists: an empty folder, or the null device, lies over it.
fn mask(root: &Root, path: &Path) -> io::Result<()> {
    let Some(place) = root.find(path)? else {
        return Ok(());
    };
    let cover = if is_folder(&place)? {
        let options = [
            ("mode", Some("755")),
            ("size", Some("0")),
            ("nr_inodes", Some("1")),
        ];
        new_mount(
            "tmpfs",
            &options,
            plain() | MountAttrFlags::MOUNT_ATTR_RDONLY,
        )?
    } else {
        let null = root.find(Path::new("/dev/null"))?;
        bind(&null.ok_or(io::ErrorKind::NotFound)?, false)?
    };
    root.attach(&cover, &place)
}

/// Makes a path read-only, if it exists.
fn protect(root: &Root, path: &Path) -> io::Result<()> {
    let Some(place) = root.find(path)? else {
        return Ok(());
    };
    let mount = bind(&place, true)?;
    let change = MountChange {
        read_only: true,
        recursive: true,
        ..MountChange::default()
    };
    change_mount(mount.as_fd(), change)?;
    root.attach(&mount, &place)
}

/// Whether a place is a folder.
pub(super) fn is_folder(place: &OwnedFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(place)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}
