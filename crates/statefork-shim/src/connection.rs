//! One connection of a client, from its acceptance to its end.
//!
//! ```text
//! accepted ──► waiting ──► joined ──► finished
//!                 ▲  │        │  │
//!                 │  ▼        │  ▼
//!                 │ closed    │ cut
//!                 └───────────┘  no byte has gone yet, and a hold began or the target moved
//! ```
//!
//! A target that refuses is not tried again: the orchestrator names one only after the container
//! is ready, and holds before it takes one away, so that a refusal is the application's own answer.
//! A connection that is closed or cut is reset rather than finished: what a client has received
//! until then must not look complete.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::log::Log;
use crate::protocol::MAX_HELD;
use crate::pump;
use crate::routes::{Routes, Verdict};

/// How long a target may take to answer at all: some packets are lost, or nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where they go.
    pub(crate) routes: watch::Sender<Routes>,
    /// One permit for each that is not joined.
    waiting: Arc<Semaphore>,
    /// One permit for each.
    places: Arc<Semaphore>,
    /// Those that are not joined.
    pub(crate) held: AtomicU32,
    /// Those that are joined.
    pub(crate) open: AtomicU32,
    pub(crate) log: Log,
}

/// What a connection needs before it is accepted: a place, and one to wait in.
#[derive(Debug)]
pub(crate) struct Permits {
    waiting: OwnedSemaphorePermit,
    place: OwnedSemaphorePermit,
}

impl Shared {
    /// For at most `places` connections.
    pub(crate) fn new(places: usize, log: Log) -> Self {
        Self {
            routes: watch::Sender::new(Routes::default()),
            waiting: Arc::new(Semaphore::new(MAX_HELD)),
            places: Arc::new(Semaphore::new(places)),
            held: AtomicU32::new(0),
            open: AtomicU32::new(0),
            log,
        }
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn permits(&self) -> Permits {
        Permits {
            waiting: permit(&self.waiting).await,
            place: permit(&self.places).await,
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_owned()
        .await
        .expect("it is never closed")
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: TcpStream,
    container: u16,
    routes: watch::Receiver<Routes>,
    shared: Arc<Shared>,
}

/// How being joined ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// Both sides have finished.
    Finished,
    /// It led elsewhere, or a side failed.
    Cut,
    /// It goes back to waiting.
    Detached,
}

impl Connection {
    /// For `client`, which came for the port `container`.
    pub(crate) fn new(client: TcpStream, container: u16, shared: Arc<Shared>) -> Self {
        Self {
            client,
            container,
            routes: shared.routes.subscribe(),
            shared,
        }
    }

    /// Serves it to its end.
    pub(crate) async fn run(mut self, permits: Permits) {
        let Permits { waiting, place } = permits;
        if !self.serve(waiting).await {
            reset_on_close(&self.client);
        }
        // Only now is there room for another.
        drop((self, place));
    }

    /// Waits and copies, in turn; whether both sides have finished.
    async fn serve(&mut self, mut waiting: OwnedSemaphorePermit) -> bool {
        loop {
            let Some((target, address)) = self.join().await else {
                return false;
            };
            drop(waiting);
            match self.forward(&target, address).await {
                Parting::Finished => return true,
                Parting::Cut => {
                    reset_on_close(&target);
                    return false;
                }
                Parting::Detached => {}
            }
            waiting = match Arc::clone(&self.shared.waiting).try_acquire_owned() {
                Ok(permit) => permit,
                // As many wait already as may.
                Err(_) => return false,
            };
        }
    }

    /// Waits for a target and connects to it; `None`: the connection is to be closed.
    async fn join(&mut self) -> Option<(TcpStream, SocketAddr)> {
        let _held = Counted::new(&self.shared.held);
        let expiries = self.routes.borrow_and_update().expiries();
        loop {
            let verdict = self
                .routes
                .borrow_and_update()
                .verdict(self.container, expiries);
            let address = match verdict {
                Verdict::Close => return None,
                Verdict::Wait => {
                    self.routes.changed().await.ok()?;
                    continue;
                }
                Verdict::Go(address) => address,
            };
            tokio::select! {
                biased;
                changed = self.routes.changed() => changed.ok()?,
                connected = connect(address, &self.client) => match connected {
                    Ok(target) => return Some((target, address)),
                    Err(error) => {
                        self.shared.log.line(format_args!(
                            "failed to connect to {address} for port {}: {error}",
                            self.container
                        ));
                        return None;
                    }
                },
            }
        }
    }

    /// Copies until the end, or until the connection may not go on like this.
    async fn forward(&mut self, target: &TcpStream, address: SocketAddr) -> Parting {
        let _open = Counted::new(&self.shared.open);
        let used = AtomicBool::new(false);
        tokio::select! {
            // First, so that no first byte goes to a target that is about to be replaced.
            biased;
            parting = rerouted(&mut self.routes, self.container, address, &used) => parting,
            copied = pump::both(&self.client, target, &used) => match copied {
                Ok(()) => Parting::Finished,
                // One side is gone. The other is told in the same way, by a reset.
                Err(_) => Parting::Cut,
            },
        }
    }
}

/// Waits for a change that concerns a connection which is joined to `address`.
async fn rerouted(
    routes: &mut watch::Receiver<Routes>,
    container: u16,
    address: SocketAddr,
    used: &AtomicBool,
) -> Parting {
    loop {
        if routes.changed().await.is_err() {
            return Parting::Cut;
        }
        let routes = routes.borrow_and_update();
        let used = used.load(Ordering::Relaxed);
        match routes.verdict(container, routes.expiries()) {
            Verdict::Go(target) if target == address => {}
            Verdict::Wait if used => {}
            Verdict::Wait | Verdict::Go(_) if !used => return Parting::Detached,
            Verdict::Wait | Verdict::Go(_) | Verdict::Close => return Parting::Cut,
        }
    }
}

/// Connects to a target; small pieces go out at once on both sides.
async fn connect(address: SocketAddr, client: &TcpStream) -> io::Result<TcpStream> {
    let target = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Where nobody listens on a loopback port, the kernel may choose that very port for our end,
    // and connects the socket to itself.
    if address.ip().is_loopback() && target.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    target.set_nodelay(true)?;
    client.set_nodelay(true)?;
    Ok(target)
}

/// Makes the end of `stream` a reset. One that has failed already needs none.
fn reset_on_close(stream: &TcpStream) {
    drop(stream.set_zero_linger());
}

/// One connection in a count.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicU32) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
