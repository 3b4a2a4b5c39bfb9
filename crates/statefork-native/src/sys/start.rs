//! Starting a program from a process with many threads, with chosen descriptors (posix_spawn(3)).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// Below this lie the numbers that a program is given descriptors as.
const FIRST_FREE: RawFd = 16;

/// Starts an open program with these arguments, the first of which is its name, an empty environment
/// and these descriptors, each under its number, which is below 16; it gets no other. It is a child,
/// to be waited for.
pub(crate) fn start_program(
    program: &OwnedFd,
    arguments: &[&str],
    descriptors: &[(RawFd, &OwnedFd)],
) -> io::Result<Pid> {
    let program = rustix::io::fcntl_dupfd_cloexec(program, FIRST_FREE)?;
    let path = CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
    let mut argv = Vec::new();
    for argument in arguments {
        argv.push(CString::new(*argument)?);
    }
    let mut pointers: Vec<*mut libc::c_char> =
        argv.iter().map(|text| text.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let env: [*mut libc::c_char; 1] = [std::ptr::null_mut()];

    // Out of the way of the numbers, so that none is overwritten before it is used.
    let mut high = Vec::new();
    for (number, descriptor) in descriptors {
        high.push((
            *number,
            rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST_FREE)?,
        ));
    }
    let mut actions = Actions::new()?;
    for (number, descriptor) in &high {
        actions.duplicate(descriptor.as_raw_fd(), *number)?;
    }
    let mut pid = 0;
    // SAFETY: the strings end with zeros and the arrays with null pointers; all of them and the
    // initialised actions outlive the call, which does not change them.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            std::ptr::null(),
            pointers.as_ptr(),
            env.as_ptr(),
        )
    };
    number(error)?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What is done in the new process before it executes the program.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    /// Nothing.
    fn new() -> io::Result<Self> {
        // SAFETY: it is a structure of numbers and pointers, which the next call initialises.
        let mut actions = Self(unsafe { std::mem::zeroed() });
        // SAFETY: `actions` outlives the call.
        number(unsafe { libc::posix_spawn_file_actions_init(&raw mut actions.0) })?;
        Ok(actions)
    }

    /// Duplicates a descriptor.
    fn duplicate(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised.
        number(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they are initialised, and this is their end.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// Turns an error number that a function returns into ours.
fn number(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
