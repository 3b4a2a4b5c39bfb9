//! Loading a filter of system calls.

use std::io;

use super::checked;

/// Loads a filter for this process and all that it becomes or makes, for good (seccomp(2)). It has
/// one thread, and `CAP_SYS_ADMIN` or `no_new_privs`.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(too_long)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which outlive the call, and writes nothing.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    checked(loaded).map(drop)
}
