//! Process 1 of a container that has one above its program: it starts the program, passes signals on to
//! it, reaps what others leave, and ends with the program's exit code.

use std::convert::Infallible;
use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, WaitStatus};

use super::Word;
use super::failure::{Attempt, Result};
use super::program::Ready;
use crate::sys;

/// What it is called in the container.
const NAME: &std::ffi::CStr = c"sf-init";
/// The exit code where it fails itself, as one that a signal killed.
const FAILED: i32 = 128 + libc::SIGKILL;

/// Starts the program, says if it cannot be, and stays until it ends. The process has become the
/// container's user already.
pub(super) fn run(ready: Ready, word: Word) -> ! {
    // Before there is a child, so that its end is not missed.
    let forked = sys::block_signals()
        .and_then(|()| sys::fork())
        .or_system("make a process in the container");
    match forked {
        Ok(None) => {
            let Err(failure) = start(ready);
            word.fail(&failure)
        }
        Ok(Some(program)) => {
            drop((ready, word));
            // There is nobody left to say anything to.
            std::process::exit(stay(program).unwrap_or(FAILED))
        }
        Err(failure) => word.fail(&failure),
    }
}

/// Becomes the program, in a session of its own.
fn start(ready: Ready) -> Result<Infallible> {
    rustix::process::setsid().or_system("make a session")?;
    sys::reset_signals(&[]).or_system("reset signals")?;
    ready.execute()
}

/// Waits for the program's end. Its exit code, 128 + N for signal N.
fn stay(program: Pid) -> io::Result<i32> {
    // Its memory and its program are the host's, which nobody in the container may look into.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    sys::close_all_from(3)?;
    rustix::process::chdir(c"/")?;
    rustix::thread::set_name(NAME)?;
    loop {
        let signal = sys::wait_for_signal()?;
        if signal != libc::SIGCHLD {
            pass_on(program, signal)?;
        } else if let Some(code) = reap(program)? {
            return Ok(code);
        }
    }
}

/// A program that has become another user may be out of reach, and then hears nothing.
fn pass_on(program: Pid, signal: libc::c_int) -> io::Result<()> {
    match sys::send_signal(program, signal) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        sent => sent,
    }
}

/// Reaps all that have ended; the program's exit code if it is among them.
fn reap(program: Pid) -> io::Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == program => return Ok(Some(code(status))),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The exit code that the status of one that has ended stands for.
fn code(status: WaitStatus) -> i32 {
    let by_signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(by_signal).unwrap_or(FAILED)
}
