//! What a process of a container may do: user, capabilities, `no_new_privs`, system calls.
//!
//! The capabilities are Docker's default set. Root has them; another user has none.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::failure::{Attempt, Result};
use super::seccomp;
use super::user::User;

/// The capabilities that a container's root keeps.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Becomes the user, for good, with what it may do. `no_new_privileges`: nor may it get more by what
/// it executes.
pub(super) fn drop_to(user: &User, no_new_privileges: bool) -> Result<()> {
    if no_new_privileges {
        set_no_new_privs(true).or_system("set no_new_privs")?;
    }
    // Before the rights go: without no_new_privs it takes CAP_SYS_ADMIN. It allows what follows.
    seccomp::load().or_system("load the filter of system calls")?;
    become_user(user).or_system(&format!("become user {}:{}", user.uid, user.gid))
}

/// Changes users and capabilities, in the order in which each step still may.
fn become_user(user: &User) -> rustix::io::Result<()> {
    limit_bounding_set()?;
    clear_ambient_capability_set()?;
    let groups: Vec<_> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid)?;
    let kept = if uid.is_root() {
        KEPT & capabilities(None)?.permitted
    } else {
        CapabilitySet::empty()
    };
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Takes all but the kept capabilities from what any program may ever have.
fn limit_bounding_set() -> rustix::io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !KEPT.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
