//! A further process in a container that runs.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::DumpableBehavior;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::failure::{Attempt, Result, failure};
use super::monitor::wait_for;
use super::program::{self, Program, is_gone};
use super::{Reports, Word, let_go_of_stdio};
use crate::cgroup::Cgroup;
use crate::plan::{ExecPlan, Failure, FailureKind, ProcessRef, Report};
use crate::sys::{self, Forked, Namespaces};

/// Starts the process, tells the command, waits for its end and tells that.
pub(super) fn run(plan: ExecPlan, reports: Reports) -> io::Result<()> {
    let (process, child) = match start(&plan) {
        Ok(started) => started,
        Err(failure) => return reports.send(&Report::Failed(failure)),
    };
    drop(plan);
    // The process goes on whether or not somebody listens.
    let heard = reports.send(&Report::Executed(process));
    let code = wait_for(&child)?;
    heard.and_then(|()| reports.send(&Report::Ended(code)))
}

/// Starts it. This process stays outside, so that it is neither frozen nor killed with the container.
fn start(plan: &ExecPlan) -> Result<(ProcessRef, OwnedFd)> {
    let cgroup = Cgroup::new(&plan.cgroup).or_system("find the cgroups of the machine")?;
    let init = plan
        .init
        .open()
        .or_system("open the container's first process")?
        .ok_or_else(ended)?;
    let v2 = unless_ended(cgroup.v2_fd(), "open the container's cgroup")?;
    let pid_namespace = ThreadNameSpaceType::PROCESS_ID;
    let entered = move_into_thread_name_spaces(init.as_fd(), pid_namespace);
    unless_ended(entered, "enter the container's pid namespace")?;
    let (word, word_end) = Word::new().or_system("make a pipe")?;
    let forked = unless_ended(
        sys::clone_process(Namespaces::Same, v2.as_ref().map(AsFd::as_fd)),
        "make a process in the container",
    )?;
    let Forked::Parent { pid, pidfd } = forked else {
        drop(word);
        let in_v2 = v2.is_some();
        // Nothing that leads out of the container comes along.
        drop(v2);
        match enter(plan, &cgroup, init, in_v2) {
            Ok(never) => match never {},
            Err(failure) => word_end.fail(&failure),
        }
    };
    drop((word_end, v2, init));
    // The end of its output is when the last process that can write there is gone.
    let_go_of_stdio().or_system("open /dev/null")?;
    let said = Word::hear(word).or_system("listen to the process in the container")?;
    if let Some(failure) = said {
        wait_for(&pidfd).or_system("wait for a process")?;
        return Err(failure);
    }
    let process = ProcessRef::of(pid.as_raw_nonzero().get().cast_unsigned())
        .or_system("look at a process")?
        .ok_or_else(ended)?;
    Ok((process, pidfd))
}

/// Goes into the container and executes the program.
fn enter(plan: &ExecPlan, cgroup: &Cgroup, init: OwnedFd, in_v2: bool) -> Result<Infallible> {
    // The container's processes see this one from now on, and must not look into it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .or_system("hide the process")?;
    sys::reset_signals(&[]).or_system("reset signals")?;
    rustix::process::setsid().or_system("make a session")?;
    unless_ended(cgroup.join(in_v2), "join the container's cgroup")?;
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::CONTROL_GROUP;
    let entered = move_into_thread_name_spaces(init.as_fd(), namespaces);
    unless_ended(entered, "enter the container")?;
    drop(init);
    program::set_umask();
    if plan.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .or_system("take the terminal over")?;
    }
    Program::new(&plan.process)?
        .prepare(&plan.process, false)?
        .execute()
}

/// The failure of a container that has ended.
fn ended() -> Failure {
    failure(FailureKind::NotRunning, "enter the container: it has ended")
}

/// Tells what fails because the container has ended apart from what fails otherwise.
fn unless_ended<T, E: Into<io::Error>>(result: std::result::Result<T, E>, what: &str) -> Result<T> {
    result.map_err(Into::into).map_err(|error| {
        if is_gone(&error) {
            return ended();
        }
        // Also told apart: a full storage.
        match Err::<Infallible, _>(error).or_system(what) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    })
}
