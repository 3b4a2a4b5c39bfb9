//! Making a container: its cgroup, its first process, and the moment from which it runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::container::{self, Ends};
use super::failure::{Attempt, Result, failure};
use super::monitor::Monitor;
use super::{Reports, Word, let_go_of_stdio};
use crate::cgroup::Cgroup;
use crate::plan::{Failure, FailureKind, NetworkPlan, Plan, ProcessRef, Report, Run, file};
use crate::process::boot_id;
use crate::sys::{self, Forked, Namespaces};

/// Makes the container, tells the command, and stays until it ends.
pub(super) fn run(plan: Plan, reports: Reports) -> io::Result<()> {
    let monitor = match start(&plan, &reports) {
        Ok(monitor) => monitor,
        Err(failure) => return reports.send(&Report::Failed(failure)),
    };
    drop(plan);
    drop(reports);
    monitor.run()
}

/// A container is as urgent as any other, also one that work in the background makes. Where we may not
/// say so, it stays as its maker is.
fn be_as_nice_as_others() -> Result<()> {
    match rustix::process::setpriority_process(None, 0) {
        Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        set => set.or_system("give the container the usual priority"),
    }
}

/// What has been made, and is undone unless it becomes a container.
struct Attempted {
    cgroup: Cgroup,
    init: OwnedFd,
}

impl Attempted {
    /// Kills the first process and removes the cgroup; `failure` is why, and what is told.
    fn undo(self, plan: &Plan, failure: Failure) -> Failure {
        let undone = (|| {
            pidfd_send_signal(&self.init, Signal::KILL)?;
            waitid(WaitId::PidFd(self.init.as_fd()), WaitIdOptions::EXITED)?;
            self.cgroup.remove()?;
            remove_if_there(&plan.folder.join(file::RUN))
        })();
        with_cleanup(failure, undone)
    }
}

/// Adds to a failure that what had been made could not be removed.
fn with_cleanup(mut failure: Failure, undone: io::Result<()>) -> Failure {
    if let Err(error) = undone {
        failure.message += &format!("; what had been made could not be removed: {error}");
    }
    failure
}

/// Makes the container. After a failure nothing is left.
fn start(plan: &Plan, reports: &Reports) -> Result<Monitor> {
    let go = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), super::REPORTS + 1)
        .or_system("take over the command's pipe")?;
    let_go_of_stdio().or_system("open /dev/null")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    be_as_nice_as_others()?;
    let cgroup = Cgroup::new(&plan.cgroup).or_system("find the cgroups of the machine")?;
    cgroup
        .create(&plan.limits)
        .or_system("make the container's cgroup")?;
    let begun = begin(plan, &cgroup);
    let (ends, pid, init) = match begun {
        Ok(begun) => begun,
        Err(failure) => return Err(with_cleanup(failure, cgroup.remove())),
    };
    let attempted = Attempted { cgroup, init };
    match finish(plan, reports, &go, ends, pid) {
        Ok(()) => Ok(Monitor {
            folder: plan.folder.clone(),
            cgroup: attempted.cgroup,
            init: attempted.init,
        }),
        Err(failure) => Err(attempted.undo(plan, failure)),
    }
}

/// The helper's ends of the pipes to the first process: a byte that lets it go on, and its word.
struct Pipes {
    gate: File,
    word: OwnedFd,
}

/// Makes the first process, which puts the container together and waits at the gate.
fn begin(plan: &Plan, cgroup: &Cgroup) -> Result<(Pipes, Pid, OwnedFd)> {
    let open = |name: &str, flags, mode| {
        rustix::fs::open(plan.folder.join(name), flags | OFlags::CLOEXEC, mode)
            .or_system(&format!("open the container's {name}"))
    };
    let append = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    let owner = Mode::RUSR | Mode::WUSR;
    let stdout = open(file::STDOUT, append, owner)?;
    let stderr = open(file::STDERR, append, owner)?;
    let (gate_end, gate) = pipe_with(PipeFlags::CLOEXEC).or_system("make a pipe")?;
    let (word, word_end) = Word::new().or_system("make a pipe")?;
    let v2 = cgroup.v2_fd().or_system("open the container's cgroup")?;
    let namespaces = match plan.network {
        NetworkPlan::Host => Namespaces::New,
        NetworkPlan::Own | NetworkPlan::Loopback => Namespaces::NewWithNetwork,
    };
    let forked = sys::clone_process(namespaces, v2.as_ref().map(AsFd::as_fd))
        .or_system("make the container's namespaces")?;
    match forked {
        Forked::Child => {
            // These are the helper's: the gate must close when the helper dies.
            drop((gate, word));
            let ends = Ends {
                stdout,
                stderr,
                gate: gate_end,
                in_v2: v2.is_some(),
            };
            drop(v2);
            container::run(plan, cgroup, ends, word_end)
        }
        Forked::Parent { pid, pidfd } => {
            let gate = gate.into();
            Ok((Pipes { gate, word }, pid, pidfd))
        }
    }
}

/// Tells the command, waits for its word, writes down that the container runs, and lets the
/// first process execute its program.
fn finish(plan: &Plan, reports: &Reports, go: &OwnedFd, pipes: Pipes, pid: Pid) -> Result<()> {
    let identify = |pid: Pid| {
        ProcessRef::of(pid.as_raw_nonzero().get().cast_unsigned())
            .and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .or_system("look at a process")
    };
    let init = identify(pid)?;
    let tell = |report: &Report| reports.send(report).or_system("tell the command");
    tell(&Report::Made(init))?;
    wait_for_command(go, &pipes.word)?;

    let run = Run {
        boot: boot_id().or_system("read the boot's id")?,
        monitor: identify(rustix::process::getpid())?,
        init,
    };
    write_json(&plan.folder, file::RUN, &run).or_system("write down that the container runs")?;
    let Pipes { mut gate, word } = pipes;
    // Where the first process has failed meanwhile, its word says why.
    match gate.write_all(b"g") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.or_system("let the container's first process begin")?,
    }
    if let Some(failure) = Word::hear(word).or_system("listen to the container's first process")? {
        return Err(failure);
    }
    // Only now: after a start that failed, the container has ended as it had before.
    remove_if_there(&plan.folder.join(file::EXIT)).or_system("remove an earlier exit code")?;
    tell(&Report::Running(run))
}

/// Waits for the command's byte. A failure where the command has died, or the first process has
/// given up.
fn wait_for_command(go: &OwnedFd, word: &OwnedFd) -> Result<()> {
    let mut both = [
        PollFd::new(word, PollFlags::IN),
        PollFd::new(go, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| poll(&mut both, None)).or_system("wait for the command")?;
    if !both[0].revents().is_empty() {
        let word = word.try_clone().or_system("duplicate a pipe")?;
        let said = Word::hear(word).or_system("listen to the container's first process")?;
        return Err(said.unwrap_or_else(|| {
            let message = "make the container: its first process was killed";
            failure(FailureKind::System, message)
        }));
    }
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(go, &mut byte))
        .or_system("wait for the command")?
    {
        0 => Err(failure(
            FailureKind::System,
            "make the container: the command gave it up",
        )),
        _ => Ok(()),
    }
}

/// Writes a file of the container's folder in one piece, in place of one that is there.
pub(super) fn write_json(
    folder: &Path,
    name: &str,
    content: &impl serde::Serialize,
) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, serde_json::to_vec(content)?)?;
    std::fs::rename(new, folder.join(name))
}

/// Removes a file. Absent: success.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
