//! The directory of a shim: its socket, its lock, its log.
//!
//! | Name | What |
//! |---|---|
//! | `sock` | the control socket, mode 0600, while the shim runs |
//! | `lock` | held with flock(2) while the shim runs; its content names the holder |
//! | `log` | what the shim has to tell, bounded |
//!
//! A socket address takes 107 bytes of path; a home may be deeper. The socket is therefore bound
//! and connected through a descriptor of the directory, as `/proc/self/fd/N/sock`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

const SOCKET: &str = "sock";
const LOCK: &str = "lock";
const LOG: &str = "log";

/// Control connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Longest content of the lock file that is read.
const MAX_HOLDER: u64 = 4096;

/// An open directory of a shim.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
}

/// What the lock file says about the shim that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Its process id.
    pub(crate) pid: u32,
    /// Version of its program.
    pub(crate) build: String,
}

/// The outcome of taking the lock.
#[derive(Debug)]
pub(crate) enum Lock {
    /// Ours until the file is closed.
    Taken(File),
    /// Another process has it; its description if it could be read.
    Held(Option<Holder>),
}

/// Which socket was bound, so that a foreign one is never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketId {
    device: u64,
    inode: u64,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Whether nobody but this user and root can enter it: whoever can could replace the socket.
    pub(crate) fn is_private(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.fd)?;
        let ours = rustix::process::geteuid().as_raw();
        Ok((stat.st_uid == ours || stat.st_uid == 0) && stat.st_mode & 0o077 == 0)
    }

    /// A short name of the socket, valid in this process while `self` lives.
    pub(crate) fn socket_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.fd.as_raw_fd()))
    }

    /// Takes the lock without waiting.
    pub(crate) fn lock(&self) -> io::Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.fd,
            LOCK,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.take(MAX_HOLDER).read_to_string(&mut text)?;
                // The holder may be about to write it.
                return Ok(Lock::Held(serde_json::from_str(&text).ok()));
            }
            Err(errno) => return Err(errno.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        serde_json::to_writer(
            &file,
            &Holder {
                pid: std::process::id(),
                build: env!("CARGO_PKG_VERSION").to_owned(),
            },
        )?;
        file.write_all(b"\n")?;
        Ok(Lock::Taken(file))
    }

    /// Opens the log for appending.
    pub(crate) fn open_log(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(File::from(rustix::fs::openat(&self.fd, LOG, flags, mode)?))
    }

    /// Binds the control socket; one that a killed shim left is replaced. Only under the lock.
    pub(crate) fn bind(&self) -> io::Result<(UnixListener, SocketId)> {
        self.unlink_socket()?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(self.socket_path())?)?;
        // Before it listens, so that nobody connects through a wider mode.
        rustix::fs::chmodat(
            self.fd.as_fd(),
            SOCKET,
            Mode::RUSR | Mode::WUSR,
            AtFlags::empty(),
        )?;
        rustix::net::listen(&socket, BACKLOG)?;
        let id = self
            .socket_id()?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((UnixListener::from(socket), id))
    }

    /// Which socket is there now.
    pub(crate) fn socket_id(&self) -> io::Result<Option<SocketId>> {
        match rustix::fs::statat(&self.fd, SOCKET, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(SocketId {
                device: stat.st_dev,
                inode: stat.st_ino,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the socket. Absent: success.
    pub(crate) fn unlink_socket(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
