//! The system calls that no safe library offers: all `unsafe` code of the crate.
//!
//! - `processes`: fork, clone3, execve, and the descriptors a program begins with.
//! - `start`: starting the helper from a process with many threads.
//! - `mounts`: attributes of mounts.
//! - `readiness`: waiting for descriptors.
//! - `signals`: waiting for signals.
//! - `links`: the loopback interface.
//! - `filter`: filters of system calls.
//! - `folder`: a thread with a working directory of its own.

#![expect(
    unsafe_code,
    reason = "these calls have no safe form; each block says why it is sound"
)]

#[cfg(test)]
mod before_main;
mod filter;
mod folder;
mod links;
mod mounts;
mod processes;
mod readiness;
mod signals;
mod start;

pub(crate) use filter::load_filter;
pub(crate) use folder::with_own_folder;
pub(crate) use links::bring_loopback_up;
pub(crate) use mounts::{MountChange, change_mount};
pub(crate) use processes::{
    Forked, Namespaces, clone_process, close_all_from, execute, fork, mark_close_on_exec_from,
    reset_signals, take_descriptor, unshare_cgroup_namespace,
};
pub(crate) use readiness::watch;
pub(crate) use signals::{block_signals, send_signal, wait_for_signal};
pub(crate) use start::start_program;

/// Turns the result of a call of the C library, -1 and `errno` for an error, into ours.
fn checked(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}
