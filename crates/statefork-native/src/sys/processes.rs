//! Fork, clone3, execve, and the descriptors and signals a program begins with.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use super::checked;

/// `CLONE_INTO_CGROUP` (linux/sched.h), which the C library's crate has in a type too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a fork returns, twice.
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the old one.
    Parent {
        /// The new process, as a number of the old one's pid namespace.
        pid: Pid,
        /// The same, as a descriptor.
        pidfd: OwnedFd,
    },
}

/// The namespaces that a new process gets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// None.
    Same,
    /// Pid, mount, uts and ipc.
    New,
    /// The same and the network's.
    NewWithNetwork,
}

impl Namespaces {
    /// The flags of clone(2).
    fn flags(self) -> u64 {
        let new = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
        let flags = match self {
            Self::Same => 0,
            Self::New => new,
            Self::NewWithNetwork => new | libc::CLONE_NEWNET,
        };
        u64::from(flags.cast_unsigned())
    }
}

/// Forks. The caller is the only thread of its process.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so the child finds no lock held by a thread that it has
    // not got, and may do whatever the parent may.
    let pid = checked(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(Pid::from_raw(pid as libc::pid_t))
}

/// Forks into namespaces and, where it is given, a cgroup of version 2. The caller is the only
/// thread of its process.
pub(crate) fn clone_process(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Forked> {
    let mut pidfd: RawFd = -1;
    let mut flags = namespaces.flags() | libc::CLONE_PIDFD as u64;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let arguments = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
    };
    // SAFETY: memory is not shared and no stack is given, so that this is a fork: the child goes on
    // with a copy of everything, and the process has one thread (see `fork`). `arguments` has the
    // size that is told, and `pidfd` outlives the call.
    let pid = checked(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    })?;
    Ok(match Pid::from_raw(pid as libc::pid_t) {
        None => Forked::Child,
        Some(pid) => Forked::Parent {
            pid,
            // SAFETY: the kernel has just opened it for us (CLONE_PIDFD), and nobody else has it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        },
    })
}

/// Gives the process a cgroup namespace whose root is where it is now.
pub(crate) fn unshare_cgroup_namespace() -> io::Result<()> {
    // SAFETY: a cgroup namespace decides only which paths are shown; no descriptor table or memory
    // that other code counts on is unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?)
}

/// Executes `program` in this process; returns only if that fails.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        let ends = std::iter::once(std::ptr::null());
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain(ends)
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both are arrays of strings that end with a null pointer and outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Takes a descriptor that the process was started with, close-on-exec. Each number is taken once.
pub(crate) fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD changes a flag of a descriptor, and fails for one that is not open.
    checked(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)
    }))?;
    // SAFETY: it is open, and the program begins with nobody owning it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes all descriptors from `first` on, which nobody may use any more.
pub(crate) fn close_all_from(first: RawFd) -> io::Result<()> {
    close_range(first, 0)
}

/// Marks all descriptors from `first` on close-on-exec.
pub(crate) fn mark_close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// close_range(2) from `first` to the last.
fn close_range(first: RawFd, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: a flag is set, or the caller has said that nobody uses them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first.cast_unsigned(),
            libc::c_uint::MAX,
            flags,
        )
    };
    checked(result).map(drop)
}

/// Gives all signals their default action and blocks none: what a program expects to begin with.
/// `ignored` are ignored instead.
pub(crate) fn reset_signals(ignored: &[libc::c_int]) -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        let action = if ignored.contains(&signal) {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        // SAFETY: no handler is installed, only the default or none. It fails for SIGKILL, SIGSTOP
        // and the numbers that the C library keeps, whose action is the default.
        unsafe { libc::signal(signal, action) };
    }
    // SAFETY: the set is filled before it is read, and outlives the call.
    let result = unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
    };
    checked(libc::c_long::from(result)).map(drop)
}
