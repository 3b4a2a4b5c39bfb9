//! Who may speak through a control socket.

/// Whether `uid`, as the kernel tells it for the other end, is this user or root.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
