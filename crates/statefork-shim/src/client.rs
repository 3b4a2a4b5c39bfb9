//! The side of a command: one control connection to a branch's shim.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use statefork_runtime::PortMapping;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};

use crate::directory::Directory;
use crate::error::{Result, ShimError};
use crate::peer;
use crate::protocol::{Envelope, Hello, Reply, Request, ShimStatus, Target, VERSION};
use crate::start;
use crate::wire::{self, LineReader};

/// Longest time that a request, or connecting, or starting takes.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shim may take to end by itself before it is killed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Between two looks at whether a process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A control connection to a running shim.
///
/// The methods are cancel-safe in that a dropped one may or may not have taken effect, and the
/// next one gets its own answer. After an error of kind `Io` or `TimedOut` connect anew. Dropping
/// the connection ends a hold that was asked for through it, as [`release`](Self::release) does.
#[derive(Debug)]
pub struct Shim {
    dir: PathBuf,
    reader: LineReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    hello: Hello,
    process: Pid,
    next_id: u64,
}

impl Shim {
    /// Connects to the shim of `dir`; `None` when none runs. One of another protocol version is
    /// connected to as well, for [`shutdown`](Self::shutdown); all else then fails with `Version`.
    ///
    /// Errors: `Io`, `Protocol`, `TimedOut`.
    pub async fn connect(dir: &Path) -> Result<Option<Self>> {
        let connecting = Self::connect_unbounded(dir);
        timeout(TIMEOUT, connecting)
            .await
            .map_err(|_| timed_out("connect to", dir))?
    }

    async fn connect_unbounded(dir: &Path) -> Result<Option<Self>> {
        let failed = |source| ShimError::Io {
            op: "connect to the shim of",
            path: dir.to_owned(),
            source,
        };
        let directory = match Directory::open(dir) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let stream = match UnixStream::connect(directory.socket_path()).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let broken = |reason: String| ShimError::Protocol {
            dir: dir.to_owned(),
            reason,
        };
        let credentials = stream.peer_cred().map_err(failed)?;
        if !peer::is_trusted(credentials.uid()) {
            return Err(broken(format!(
                "its socket belongs to user {}",
                credentials.uid()
            )));
        }
        let process = credentials
            .pid()
            .and_then(Pid::from_raw)
            .ok_or_else(|| broken("its process is in another pid namespace".to_owned()))?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = LineReader::new(reader);
        let greeted = match wire::write(&mut writer, &Hello::ours()).await {
            Ok(()) => reader.read::<Hello>().await,
            Err(error) => Err(error),
        };
        match greeted {
            Ok(Some(hello)) => Ok(Some(Self {
                dir: dir.to_owned(),
                reader,
                writer,
                hello,
                process,
                next_id: 1,
            })),
            // It ended while we came.
            Ok(None) => Ok(None),
            Err(error) if is_disconnect(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(broken(error.to_string()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Connects to the shim of `dir`, starting `helper` if none runs or an older one does. `dir`
    /// is made, mode 0700, if it is absent. The shim outlives the caller.
    ///
    /// Errors: `HelperMissing`, `StartFailed`, `Version` for a newer one, `Io`, `Protocol`,
    /// `TimedOut`.
    pub async fn ensure(helper: &Path, dir: &Path) -> Result<Self> {
        timeout(TIMEOUT, start::ensure(helper, dir))
            .await
            .map_err(|_| timed_out("start", dir))?
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it said of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Listens on exactly these ports; see [`Request::Listen`]. Returns them in the same order,
    /// each host port 0 replaced by the real one.
    ///
    /// Errors: `PortInUse`, `PortDenied`, `AddressNotAvailable`, `Listen`, and then the ports are
    /// as before; `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn listen(&mut self, ports: &[PortMapping]) -> Result<Vec<PortMapping>> {
        let request = Request::Listen {
            ports: ports.to_vec(),
        };
        match self.request("listen through", request).await? {
            Reply::Bound { ports } => Ok(ports),
            reply => Err(self.unexpected(&reply)),
        }
    }

    /// Leads each container port to its address and ends a hold; see [`Request::Target`].
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn target(&mut self, targets: &BTreeMap<u16, SocketAddr>) -> Result<()> {
        let targets = targets
            .iter()
            .map(|(container, address)| Target {
                container: *container,
                address: *address,
            })
            .collect();
        self.command("retarget", Request::Target { targets }).await
    }

    /// Keeps new connections waiting until [`target`](Self::target), [`release`](Self::release),
    /// the end of this connection or `limit`; see [`Request::Hold`].
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn hold(&mut self, limit: Duration) -> Result<()> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.command("hold the connections of", Request::Hold { limit_ms })
            .await
    }

    /// Ends a hold: what waits goes to the targets that there were.
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn release(&mut self) -> Result<()> {
        self.command("release the connections of", Request::Release)
            .await
    }

    /// Has `if_dead` run should this connection end before [`unguard`](Self::unguard), and
    /// `if_late` after `limit`; see [`Request::Guard`].
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn guard(
        &mut self,
        if_dead: &[String],
        if_late: &[String],
        limit: Duration,
    ) -> Result<()> {
        let request = Request::Guard {
            if_dead: if_dead.to_vec(),
            if_late: if_late.to_vec(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        self.command("have a freeze guarded by", request).await
    }

    /// Ends a guard.
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn unguard(&mut self) -> Result<()> {
        self.command("end the guard of", Request::Unguard).await
    }

    /// Has a program run in the background, unless one does already; see [`Request::Work`].
    ///
    /// Errors: `Version`, `Io`, `Protocol`, also for a program that cannot be run, `TimedOut`.
    pub async fn work(&mut self, command: &[String]) -> Result<()> {
        let command = command.to_vec();
        self.command("have work done by", Request::Work { command })
            .await
    }

    /// Has a program run at a moment, in ms since 1970-01-01 UTC; see [`Request::Expire`].
    ///
    /// Errors: `Version`, `Io`, `Protocol`, also for a program that cannot be run, `TimedOut`.
    pub async fn expire(&mut self, at_ms: u64, command: &[String]) -> Result<()> {
        let command = command.to_vec();
        let request = Request::Expire { at_ms, command };
        self.command("have time kept by", request).await
    }

    /// How it is.
    ///
    /// Errors: `Version`, `Io`, `Protocol`, `TimedOut`.
    pub async fn status(&mut self) -> Result<ShimStatus> {
        match self.request("ask", Request::Status).await? {
            Reply::Status(status) => Ok(status),
            reply => Err(self.unexpected(&reply)),
        }
    }

    /// Ends the shim: on return its process is gone and its ports are free. One that does not end
    /// within 2 s is killed. Its directory stays, with lock and log.
    ///
    /// Errors: `Io`, `TimedOut`.
    pub async fn shutdown(mut self) -> Result<()> {
        const OP: &str = "shut down";
        let started = Instant::now();
        let failed = |dir: &Path, errno: Errno| ShimError::Io {
            op: "shut down the shim of",
            path: dir.to_owned(),
            source: errno.into(),
        };
        let pidfd = match rustix::process::pidfd_open(self.process, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(failed(&self.dir, errno)),
        };
        let watch_failed = |dir: &Path, errno: Errno| ShimError::Io {
            op: "watch the shim of",
            path: dir.to_owned(),
            source: errno.into(),
        };
        let polite = async {
            match self.exchange(Request::Shutdown).await {
                Ok(_) => {}
                Err(error) if is_disconnect(&error) => {}
                Err(source) => {
                    return Err(ShimError::Io {
                        op: "shut down the shim of",
                        path: self.dir.clone(),
                        source,
                    });
                }
            }
            has_ended(&pidfd)
                .await
                .map_err(|errno| watch_failed(&self.dir, errno))
        };
        if let Ok(ended) = timeout(SHUTDOWN_GRACE, polite).await {
            return ended;
        }
        match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(&self.dir, errno)),
        }
        let rest = TIMEOUT.saturating_sub(started.elapsed());
        match timeout(rest, has_ended(&pidfd)).await {
            Ok(ended) => ended.map_err(|errno| watch_failed(&self.dir, errno)),
            Err(_) => Err(timed_out(OP, &self.dir)),
        }
    }

    /// A request whose only answer is `done`.
    async fn command(&mut self, op: &'static str, request: Request) -> Result<()> {
        match self.request(op, request).await? {
            Reply::Done => Ok(()),
            reply => Err(self.unexpected(&reply)),
        }
    }

    async fn request(&mut self, op: &'static str, request: Request) -> Result<Reply> {
        if self.hello.hello != VERSION {
            return Err(ShimError::Version {
                dir: self.dir.clone(),
                build: self.hello.build.clone(),
            });
        }
        match timeout(TIMEOUT, self.exchange(request)).await {
            Ok(Ok(Reply::Failed(failure))) => {
                Err(ShimError::from_failure(failure, self.dir.clone()))
            }
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ShimError::Protocol {
                    dir: self.dir.clone(),
                    reason: error.to_string(),
                })
            }
            Ok(Err(source)) => Err(ShimError::Io {
                op: "talk to the shim of",
                path: self.dir.clone(),
                source,
            }),
            Err(_) => Err(timed_out(op, &self.dir)),
        }
    }

    async fn exchange(&mut self, request: Request) -> io::Result<Reply> {
        let id = self.next_id;
        self.next_id += 1;
        let envelope = Envelope {
            id,
            message: request,
        };
        wire::write(&mut self.writer, &envelope).await?;
        // Answers to requests whose futures were dropped come first; each is read once.
        loop {
            match self.reader.read::<Envelope<Reply>>().await? {
                Some(envelope) if envelope.id == id => return Ok(envelope.message),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn unexpected(&self, reply: &Reply) -> ShimError {
        ShimError::Protocol {
            dir: self.dir.clone(),
            reason: format!("it answered {reply:?}"),
        }
    }
}

/// Waits for the end of a process. It takes a few ms, and tokio watches only children.
async fn has_ended(process: &OwnedFd) -> Result<(), Errno> {
    let now = Timespec::default();
    loop {
        let mut watched = [PollFd::new(process, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&now)) {
            Ok(0) | Err(Errno::INTR) => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

fn timed_out(op: &'static str, dir: &Path) -> ShimError {
    ShimError::TimedOut {
        op,
        dir: dir.to_owned(),
        after: TIMEOUT,
    }
}

/// Whether the other side has ended.
fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}
