//! One port that a shim listens on.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use statefork_runtime::PortMapping;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::connection::{Connection, Permits, Shared};
use crate::protocol::Failure;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

/// Pause after an error that the next attempt would meet again, for example no free descriptor.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is listened on, with the task that accepts.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As it is bound.
    pub(crate) mapping: PortMapping,
    /// The port was chosen by the kernel.
    pub(crate) any_port: bool,
    socket: Arc<TcpListener>,
    container: Arc<AtomicU16>,
    acceptor: JoinHandle<()>,
}

/// A port that is bound, while it is not certain that it is wanted.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpListener,
    mapping: PortMapping,
    any_port: bool,
}

impl Bound {
    /// Binds a port. Where a listener of `leaving`, which is to be closed afterwards, is in the
    /// way (another address of the same port), both exist until then.
    pub(crate) fn new(wanted: PortMapping, leaving: &[&Listener]) -> Result<Self, Failure> {
        let address = wanted.host_address();
        let bound = match listen(address, false) {
            Err(Errno::ADDRINUSE) if wanted.host != 0 => listen_beside(address, leaving),
            bound => bound,
        };
        let failed = |errno| failure(address, errno);
        let socket = bound.map_err(failed)?;
        let system = |error: io::Error| Failure::Listen {
            address,
            errno: error.raw_os_error(),
        };
        let host = socket.local_addr().map_err(system)?.port();
        Ok(Self {
            socket: TcpListener::from_std(socket).map_err(system)?,
            mapping: PortMapping { host, ..wanted },
            any_port: wanted.host == 0,
        })
    }

    /// Begins to accept.
    pub(crate) fn start(self, shared: &Arc<Shared>) -> Listener {
        let socket = Arc::new(self.socket);
        let container = Arc::new(AtomicU16::new(self.mapping.container));
        let accepting = accept(
            Arc::clone(&socket),
            Arc::clone(&container),
            Arc::clone(shared),
        );
        Listener {
            mapping: self.mapping,
            any_port: self.any_port,
            socket,
            container,
            acceptor: tokio::spawn(accepting),
        }
    }
}

impl Listener {
    /// Leads new connections to another port of the container.
    pub(crate) fn lead_to(&mut self, container: u16) {
        self.mapping.container = container;
        self.container.store(container, Ordering::Relaxed);
    }

    /// Closes it: on return the port is free.
    pub(crate) async fn close(self) {
        self.acceptor.abort();
        // It ends as aborted; nothing else can come of it.
        drop(self.acceptor.await);
    }
}

/// Listens although those of `leaving` with the same port are in the way.
fn listen_beside(address: SocketAddr, leaving: &[&Listener]) -> rustix::io::Result<StdTcpListener> {
    let in_the_way: Vec<_> = leaving
        .iter()
        .filter(|listener| listener.mapping.host == address.port())
        .collect();
    if in_the_way.is_empty() {
        return Err(Errno::ADDRINUSE);
    }
    let share = |share| {
        in_the_way
            .iter()
            .try_for_each(|listener| sockopt::set_socket_reuseport(&*listener.socket, share))
    };
    let bound = share(true).and_then(|()| listen(address, true));
    // Only for the moment: else another process of this user could listen there too.
    share(false)?;
    bound
}

fn listen(address: SocketAddr, share: bool) -> rustix::io::Result<StdTcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        // `[::]` is the address that was asked for, not also `0.0.0.0`.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Connections of an earlier shim that are still ending do not count.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if share {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    if share {
        sockopt::set_socket_reuseport(&socket, false)?;
    }
    Ok(StdTcpListener::from(socket))
}

fn failure(address: SocketAddr, errno: Errno) -> Failure {
    match errno {
        Errno::ADDRINUSE => Failure::PortInUse { address },
        Errno::ACCESS | Errno::PERM => Failure::PortDenied { address },
        Errno::ADDRNOTAVAIL => Failure::AddressNotAvailable { address },
        errno => Failure::Listen {
            address,
            errno: Some(errno.raw_os_error()),
        },
    }
}

/// Accepts for ever, as long as another connection may wait.
async fn accept(socket: Arc<TcpListener>, container: Arc<AtomicU16>, shared: Arc<Shared>) {
    loop {
        match accept_one(&socket, &shared).await {
            Ok((client, permits)) => {
                let container = container.load(Ordering::Relaxed);
                let connection = Connection::new(client, container, Arc::clone(&shared));
                tokio::spawn(connection.run(permits));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                shared
                    .log
                    .line(format_args!("failed to accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The next connection, accepted only when it may wait. An idle port keeps no permit from another.
async fn accept_one(socket: &TcpListener, shared: &Shared) -> io::Result<(TcpStream, Permits)> {
    let mut permits = pin!(shared.permits());
    poll_fn(|context| {
        let taken = ready!(permits.as_mut().poll(context));
        match socket.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(accepted.map(|(client, _)| (client, taken))),
            Poll::Pending => {
                permits.set(shared.permits());
                Poll::Pending
            }
        }
    })
    .await
}

/// Whether an error of accept(2) has taken the connection that it concerns out of the queue, so
/// that the next attempt meets another. See "Error handling" in accept(2).
fn concerns_one_connection(error: &io::Error) -> bool {
    const OF_THE_CONNECTION: [Errno; 10] = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|errno| OF_THE_CONNECTION.contains(&errno))
}
