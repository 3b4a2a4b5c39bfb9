//! The helper: the process that makes a container and stays as its parent, or brings a further
//! process into one.
//!
//! It is the command's own program, started anew with one thread: namespaces belong to threads, and
//! what is forked from many threads may do hardly anything. The plan comes as JSON on descriptor 3,
//! reports ([`Report`]) go to descriptor 4, a line of JSON each. It leaves the command's side at
//! once: the process that the command waits for ends, its child goes on.
//!
//! - `create`: makes a container; its child is `container`, the first process, which puts its own
//!   file system together (`root`, `overlay`, `system`, `shared`). Then `monitor` waits for its end.
//!   Where it is asked for, `init` stays as process 1 above the program.
//! - `exec`: a further process.
//! - `guard`: thaws a container if the process that froze it dies.
//! - `program`: what either does last: user (`user`), privileges (`privileges`, `seccomp`), execve.

mod container;
mod create;
mod exec;
mod failure;
mod guard;
mod init;
mod monitor;
pub(crate) mod overlay;
mod privileges;
mod program;
mod root;
mod seccomp;
mod shared;
mod syscalls;
mod system;
mod user;

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use failure::{Attempt, Result};

use crate::plan::{Failure, Report};
use crate::sys;

/// The argument with which the program is the helper that makes a container.
pub(crate) const CREATE: &str = "container-create";
/// The argument with which it brings a process into a container.
pub(crate) const EXEC: &str = "container-exec";

/// The argument with which it waits beside a freeze.
pub(crate) const GUARD: &str = "container-guard";
/// What the guard reads when there is nothing left to guard.
pub(crate) const DONE: u8 = b'd';

/// The descriptor that the plan is read from.
pub(crate) const PLAN: i32 = 3;
/// The descriptor that reports are written to.
pub(crate) const REPORTS: i32 = 4;

/// What the program does before anything else: if its first argument makes it the helper, that, to
/// the end. `None` for anything else, and then nothing has been done.
///
/// Call it before there is a second thread.
pub fn main() -> Option<ExitCode> {
    let role = std::env::args_os().nth(1)?;
    let ran = if role == CREATE {
        begin(c"sf-monitor", create::run)
    } else if role == EXEC {
        begin(c"sf-exec", exec::run)
    } else if role == GUARD {
        begin(c"sf-guard", guard::run)
    } else {
        return None;
    };
    Some(match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Only somebody who calls it by hand sees this: the command gets reports.
            eprintln!("failed to run as the helper of a container: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Reads the plan and goes on in a child that nobody waits for.
fn begin<P: DeserializeOwned>(
    name: &CStr,
    run: fn(P, Reports) -> io::Result<()>,
) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("it has more than one thread"));
    }
    // A write to a command that is gone is an error, and a signal meant for the command's group or
    // terminal is not meant for a container.
    sys::reset_signals(&[libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM])?;
    sys::close_all_from(REPORTS + 1)?;
    let mut plan = Vec::new();
    File::from(sys::take_descriptor(PLAN)?).read_to_end(&mut plan)?;
    let reports = Reports(sys::take_descriptor(REPORTS)?.into());
    match detach(plan, name) {
        Ok(Some(plan)) => run(plan, reports),
        Ok(None) => Ok(()),
        Err(failure) => reports.send(&Report::Failed(failure)),
    }
}

/// Leaves the command's process behind: gives the plan in the child, nothing in the parent.
fn detach<P: DeserializeOwned>(plan: Vec<u8>, name: &CStr) -> Result<Option<P>> {
    let plan = serde_json::from_slice(&plan).or_system("read the plan")?;
    if sys::fork().or_system("make a process")?.is_some() {
        return Ok(None);
    }
    rustix::process::setsid().or_system("make a session")?;
    rustix::process::chdir(c"/").or_system("leave the working directory")?;
    rustix::thread::set_name(name).or_system("name the process")?;
    Ok(Some(plan))
}

/// Where the helper says what it has done.
struct Reports(File);

impl Reports {
    /// Says it. An error where nobody listens any more.
    fn send(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }
}

/// The end of a pipe through which a child says why it could not execute its program. It closes
/// when the program is executed, with nothing said.
struct Word(File);

impl Word {
    /// Both ends, the reading one first.
    fn new() -> io::Result<(OwnedFd, Self)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((read, Self(write.into())))
    }

    /// Says why, and ends the process.
    fn fail(mut self, failure: &Failure) -> ! {
        // If that cannot be said, the end of the process says the same without the reason.
        let said = serde_json::to_vec(failure)
            .map_err(io::Error::from)
            .and_then(|said| self.0.write_all(&said));
        std::process::exit(if said.is_ok() { 1 } else { 2 });
    }

    /// Waits until the program is executed or the child has said why not.
    fn hear(end: OwnedFd) -> io::Result<Option<Failure>> {
        let mut said = Vec::new();
        File::from(end).read_to_end(&mut said)?;
        if said.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&said)?))
    }
}

/// Points standard input, output and error to `/dev/null`.
fn let_go_of_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
