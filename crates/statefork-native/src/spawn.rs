//! The command's side of the helper: starting containers, and further processes in them.

mod exec;
mod guard;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;

use crate::cgroup::Cgroup;
use crate::helper::{CREATE, PLAN, REPORTS};
use crate::plan::{Failure, Plan, ProcessRef, Report, Run, file};
use crate::sys::{self, MountChange};

pub(crate) use exec::exec;
pub(crate) use guard::Guard;

/// What the helper is called among the processes of the machine.
const NAME: &str = "statefork";

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The helper says so.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The helper could not be started or talked to.
    #[error("run the helper of a container")]
    Helper(#[source] io::Error),
    /// The helper was killed: it ended before it said what came of it. What it had made has been
    /// removed.
    #[error("run the helper of a container: it was killed")]
    Died,
    /// The network could not be made.
    #[error("make the container's network")]
    Network(#[source] io::Error),
}

/// Starts a container, by `helper`, a program whose `main` begins with
/// [`helper_main`](crate::helper_main).
///
/// `network` is called once the container's namespaces are there, and makes what links it needs;
/// with other networks than [`Own`](crate::plan::NetworkPlan::Own) it has nothing to do. Meanwhile
/// the helper puts the container together.
///
/// After an error nothing is left but what was written to the container's folder and what `network`
/// made outside the container's network namespace. The same, a moment later, if the future is dropped.
pub(crate) async fn start(
    helper: &Path,
    plan: &Plan,
    network: impl AsyncFnOnce(&ProcessRef) -> io::Result<()>,
) -> Result<Run, StartError> {
    let started = attempt(helper, plan, network).await;
    if matches!(started, Err(StartError::Died)) {
        clean_up(plan).await.map_err(StartError::Helper)?;
    }
    started
}

/// Starts it, and leaves what there is if the helper is killed.
async fn attempt(
    helper: &Path,
    plan: &Plan,
    network: impl AsyncFnOnce(&ProcessRef) -> io::Result<()>,
) -> Result<Run, StartError> {
    let (go_end, go) = pipe_with(PipeFlags::CLOEXEC).map_err(system)?;
    let null = null().map_err(StartError::Helper)?;
    let stdio = [go_end, null.try_clone().map_err(StartError::Helper)?, null];
    let mut helper = Helper::start(helper, CREATE, plan, stdio).map_err(StartError::Helper)?;
    let init = match helper.hear().await? {
        Report::Made(init) => init,
        other => return Err(unexpected(other)),
    };
    if let Err(error) = network(&init).await {
        drop(go);
        // It is through with undoing when it has said so.
        return match helper.hear().await {
            Ok(_) => Err(StartError::Network(error)),
            Err(died) => Err(died),
        };
    }
    match File::from(go).write_all(b"g") {
        // It has failed or died meanwhile, and what it said last tells which.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(StartError::Helper)?,
    }
    match helper.hear().await? {
        Report::Running(run) => Ok(run),
        other => Err(unexpected(other)),
    }
}

/// Removes what a helper that was killed had made.
async fn clean_up(plan: &Plan) -> io::Result<()> {
    let cgroup = Cgroup::new(&plan.cgroup)?;
    let run = plan.folder.join(file::RUN);
    let clean = move || {
        cgroup.kill()?;
        cgroup.remove()?;
        match std::fs::remove_file(run) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    };
    tokio::task::spawn_blocking(clean).await?
}

/// What a report means that says nothing has been started.
fn unexpected(report: Report) -> StartError {
    match report {
        Report::Failed(failure) => StartError::Refused(failure),
        other => StartError::Helper(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it reports {other:?} out of turn"),
        )),
    }
}

/// An error of the system before there was a helper.
fn system(error: rustix::io::Errno) -> StartError {
    StartError::Helper(error.into())
}

/// The null device, for reading and writing.
fn null() -> io::Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    Ok(null.into())
}

/// A helper that runs, and its reports.
struct Helper {
    reports: Lines<BufReader<pipe::Receiver>>,
    /// The process that was started, which ends as soon as it has read its plan.
    child: Option<Child>,
}

impl Helper {
    /// Starts it, with these standard input, output and error.
    fn start(
        program: &Path,
        role: &str,
        plan: &impl Serialize,
        [stdin, stdout, stderr]: [OwnedFd; 3],
    ) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create(c"plan", MemfdFlags::CLOEXEC)?;
        let mut memory = File::from(memory);
        memory.write_all(&serde_json::to_vec(plan)?)?;
        memory.rewind()?;
        let (reports, reports_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = sys::start_program(
            &read_only(program)?,
            &[NAME, role],
            &[
                (0, &stdin),
                (1, &stdout),
                (2, &stderr),
                (PLAN, &memory.into()),
                (REPORTS, &reports_end),
            ],
        )?;
        let reports = pipe::Receiver::from_owned_fd(reports)?;
        Ok(Self {
            reports: BufReader::new(reports).lines(),
            child: Some(Child(child)),
        })
    }

    /// The next report.
    async fn hear(&mut self) -> Result<Report, StartError> {
        let line = self.reports.next_line().await.map_err(StartError::Helper)?;
        // Whoever reports is not the process that was started: that has ended.
        drop(self.child.take());
        let line = line.ok_or(StartError::Died)?;
        serde_json::from_str(&line).map_err(|error| StartError::Helper(error.into()))
    }
}

/// The program on a mount of its own that cannot be written to.
///
/// A process of a container can make the helper, while it is becoming a program, execute itself and
/// thus reach the helper's own program through `/proc/PID/exe`; root could then write to it.
fn read_only(program: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let program = open_tree(CWD, program, flags)?;
    let change = MountChange {
        read_only: true,
        ..MountChange::default()
    };
    sys::change_mount(program.as_fd(), change)?;
    Ok(program)
}

/// A process that is waited for, which takes no longer than reading a plan.
struct Child(Pid);

impl Drop for Child {
    fn drop(&mut self) {
        let waited =
            rustix::io::retry_on_intr(|| waitpid(Some(self.0), WaitOptions::empty()).map(drop));
        if let Err(error) = waited {
            tracing::warn!(%error, "a helper could not be waited for");
        }
    }
}
