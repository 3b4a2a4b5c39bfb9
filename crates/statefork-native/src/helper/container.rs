//! The first process of a container, from its birth to its program.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::DumpableBehavior;

use super::failure::{Attempt, Result, failure};
use super::program::{self, Program, Ready};
use super::root::Root;
use super::{Word, init, overlay, shared, system};
use crate::cgroup::Cgroup;
use crate::plan::{FailureKind, NetworkPlan, Plan};
use crate::sys;

/// What the first process is given by the helper.
pub(super) struct Ends {
    /// Where its standard output goes.
    pub(super) stdout: OwnedFd,
    /// Its standard error.
    pub(super) stderr: OwnedFd,
    /// A byte comes when it may execute its program; its end when it must not.
    pub(super) gate: OwnedFd,
    /// Whether it is in the cgroup of version 2 already.
    pub(super) in_v2: bool,
}

/// Puts the container together and executes its program; says why it cannot.
pub(super) fn run(plan: &Plan, cgroup: &Cgroup, ends: Ends, word: Word) -> ! {
    match start(plan, cgroup, ends) {
        Ok(ready) if plan.init => init::run(ready, word),
        Ok(ready) => {
            let Err(failure) = ready.execute();
            word.fail(&failure)
        }
        Err(failure) => word.fail(&failure),
    }
}

/// The steps. All but the last are done while the command makes the network.
fn start(plan: &Plan, cgroup: &Cgroup, ends: Ends) -> Result<Ready> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .or_system("hide the process")?;
    sys::reset_signals(&[]).or_system("reset signals")?;
    rustix::process::setsid().or_system("make a session")?;
    cgroup
        .join(ends.in_v2)
        .or_system("join the container's cgroup")?;
    sys::unshare_cgroup_namespace().or_system("make a cgroup namespace")?;
    if plan.network != NetworkPlan::Host {
        sys::bring_loopback_up().or_system("bring the loopback interface up")?;
        allow_users().or_system("set up the network namespace")?;
    }
    rustix::system::sethostname(plan.hostname.as_bytes()).or_fail(
        FailureKind::Setting,
        &format!("set the host name {}", plan.hostname),
    )?;

    enter_root(plan, cgroup.is_all_in_v2())?;
    program::set_umask();
    let program = Program::new(&plan.process)?;
    program::connect_stdin()?;
    rustix::stdio::dup2_stdout(&ends.stdout).or_system("connect standard output")?;
    rustix::stdio::dup2_stderr(&ends.stderr).or_system("connect standard error")?;
    drop((ends.stdout, ends.stderr));
    let ready = program.prepare(&plan.process, true)?;

    let mut byte = [0];
    let read = File::from(ends.gate)
        .read(&mut byte)
        .or_system("wait for the helper")?;
    if read == 0 {
        // Nobody is left to hear it.
        return Err(failure(
            FailureKind::System,
            "make the container: its helper died",
        ));
    }
    Ok(ready)
}

/// Lets users other than root use any port, and ping, as they can on Docker: in the network namespace
/// there is nobody else whom that could harm.
fn allow_users() -> io::Result<()> {
    for (name, value) in [
        ("ip_unprivileged_port_start", "0"),
        ("ping_group_range", "0 2147483647"),
    ] {
        match std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value) {
            // The kernel has no such setting.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(())
}

/// Makes the container's file system and makes it the root. `cgroups`: whether it sees its own.
fn enter_root(plan: &Plan, cgroups: bool) -> Result<()> {
    // What happens here is not seen outside, nor the other way.
    mount_change(
        c"/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .or_system("make the container's mounts private")?;
    rustix::process::umask(Mode::empty());
    // Looked up before the overlay covers the container's folder.
    let folder = overlay::open_folder(&plan.folder)?;
    let etc = shared::open_etc(&folder)?;
    let sources = shared::open_sources(&plan.mounts)?;
    let root = Root::new(overlay::mount(plan, &folder)?);
    root.attach_to(&folder)
        .or_system("attach the container's layers")?;
    drop(folder);

    system::mount_all(&root, cgroups)?;
    shared::attach_etc(&root, etc)?;
    shared::attach_sources(&root, &plan.mounts, sources)?;
    root.enter()
        .or_system("make the container's layers its root")
}
