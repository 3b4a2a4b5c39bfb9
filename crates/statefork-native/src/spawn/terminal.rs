//! A terminal of a container: its end in the command (pty(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use statefork_runtime::TerminalSize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::{StartError, system};
use crate::plan::{Failure, FailureKind, ProcessRef};
use crate::sys;

/// What statfs(2) says of the file system of terminals.
const DEVPTS: i64 = 0x1cd1;
/// What a terminal takes for the end of its input (termios(3), VEOF).
const END: u8 = 4;

/// The terminal, which is read and written.
#[derive(Clone, Debug)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// Opens a new one in the container that this is the first process of. The other end is for a
    /// process there.
    pub(super) fn open(init: &ProcessRef) -> Result<(Self, OwnedFd), StartError> {
        let master = open_multiplexer(init).map_err(|error| match error {
            Errno::NOENT | Errno::SRCH => ended(),
            error => system(error),
        })?;
        // Looked at after the folder of the process was opened: it is not another's.
        if !init.alive().map_err(StartError::Helper)? {
            return Err(ended());
        }
        unlockpt(&master).map_err(system)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).map_err(system)?;
        let master = sys::watch(master, Interest::READABLE | Interest::WRITABLE)
            .map_err(StartError::Helper)?;
        Ok((Self(Arc::new(master)), slave))
    }

    /// Tells it its size.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(self.0.get_ref(), size)?)
    }
}

/// The failure of a container that has ended.
fn ended() -> StartError {
    StartError::Refused(Failure {
        kind: FailureKind::NotRunning,
        message: "open a terminal in the container: it has ended".to_owned(),
    })
}

/// Opens the container's own multiplexer of terminals; anything else in its place is refused.
fn open_multiplexer(init: &ProcessRef) -> rustix::io::Result<OwnedFd> {
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{}/root", init.pid), place, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let folder = rustix::fs::openat2(&root, "dev/pts", place, Mode::empty(), resolve)?;
    if rustix::fs::fstatfs(&folder)?.f_type != DEVPTS {
        return Err(Errno::NOTTY);
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&folder, "ptmx", flags, Mode::empty(), resolve)
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|terminal| Ok(rustix::io::read(terminal.get_ref(), &mut *space)?)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other end open any more: the end.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|terminal| Ok(rustix::io::write(terminal.get_ref(), bytes)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Says the end of the input, as a person does by a key; the terminal itself stays.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(context, &[END]).map_ok(drop)
    }
}
