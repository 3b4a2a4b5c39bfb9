//! Signals as things to wait for.

use std::io;

use rustix::io::Errno;
use rustix::process::Pid;

use super::checked;

/// Those that tell a process of its own fault, which cannot wait.
const FAULTS: [libc::c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// All signals but the faults.
fn all() -> libc::sigset_t {
    // SAFETY: the set is filled before it is read.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        for fault in FAULTS {
            libc::sigdelset(&raw mut all, fault);
        }
        all
    }
}

/// Has all signals but the faults wait until [`wait_for_signal`] takes them.
pub(crate) fn block_signals() -> io::Result<()> {
    let all = all();
    // SAFETY: the set outlives the call, and the old one is not asked for.
    let blocked =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) };
    checked(libc::c_long::from(blocked)).map(drop)
}

/// Waits for a signal that [`block_signals`] holds back.
pub(crate) fn wait_for_signal() -> io::Result<libc::c_int> {
    let all = all();
    loop {
        // SAFETY: the set outlives the call, and nothing else is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        match checked(libc::c_long::from(signal)) {
            Ok(_) => return Ok(signal),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a signal to a child that has not been waited for. One that has ended hears nothing.
pub(crate) fn send_signal(child: Pid, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: it touches no memory.
    let sent = unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
    match checked(libc::c_long::from(sent)) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
        sent => sent.map(drop),
    }
}
