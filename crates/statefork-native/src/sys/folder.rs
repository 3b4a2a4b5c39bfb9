//! Work in a thread with a working directory of its own.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `work` on a thread of its own, whose working directory is nobody else's.
pub(crate) fn with_own_folder<T: Send>(
    work: impl FnOnce() -> rustix::io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: only the working directory and its like are unshared, no descriptors.
            unsafe { unshare_unsafe(UnshareFlags::FS) }?;
            work()
        })?;
        match thread.join() {
            Ok(result) => result.map_err(io::Error::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
