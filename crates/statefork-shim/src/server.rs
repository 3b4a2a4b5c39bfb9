//! A running shim: it accepts commands until it is told to end, or its directory is gone.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::control;
use crate::directory::{Directory, SocketId};
use crate::expiry::Expiry;
use crate::forwarder::Forwarder;
use crate::guard::Guards;
use crate::listener::ACCEPT_PAUSE;
use crate::log::Log;
use crate::peer;
use crate::worker::Workers;

/// Between two looks at whether the socket in the directory is still ours.
const CHECK: Duration = Duration::from_secs(2);

/// What the control connections work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) forwarder: Forwarder,
    pub(crate) guards: Guards,
    pub(crate) workers: Arc<Workers>,
    pub(crate) expiry: Expiry,
    /// Told when the shim shall end.
    pub(crate) end: Notify,
}

/// What a shim has once it may run.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) directory: Directory,
    pub(crate) socket: StdUnixListener,
    pub(crate) socket_id: SocketId,
    pub(crate) log: Log,
}

impl Server {
    /// Serves until the end. `ready` is called once signals are handled and the socket accepts.
    /// On return the socket is gone, unless it was another's.
    ///
    /// Errors: the system refuses something at the start, or `ready` does.
    pub(crate) async fn run(self, ready: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        // Once somebody listens for a signal it has no other effect any more; these have none.
        for ignored in [SignalKind::hangup(), SignalKind::interrupt()] {
            drop(signal(ignored)?);
        }
        let listener = UnixListener::from_std(self.socket)?;
        let workers = Arc::new(Workers::new(&self.directory, self.log.clone())?);
        let parts = Arc::new(Parts {
            forwarder: Forwarder::new(self.log.clone()),
            guards: Guards::new(Arc::clone(&workers), self.log.clone()),
            expiry: Expiry::new(Arc::clone(&workers), self.log.clone()),
            workers,
            end: Notify::new(),
        });
        ready()?;
        tokio::spawn(accept(listener, Arc::clone(&parts)));
        let mut check = tokio::time::interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = parts.end.notified() => {
                    self.log.line(format_args!("ends: a command asked for it"));
                    break;
                }
                _ = terminate.recv() => {
                    self.log.line(format_args!("ends: by SIGTERM"));
                    break;
                }
                _ = check.tick() => match self.directory.socket_id() {
                    Ok(Some(id)) if id == self.socket_id => {}
                    Ok(_) => {
                        self.log.line(format_args!("ends: its socket is gone"));
                        return Ok(());
                    }
                    Err(error) => {
                        self.log.line(format_args!("failed to look at its socket: {error}"));
                    }
                },
            }
        }
        if self.directory.socket_id()? == Some(self.socket_id) {
            self.directory.unlink_socket()?;
        }
        Ok(())
    }
}

/// Accepts commands for ever.
async fn accept(listener: UnixListener, parts: Arc<Parts>) {
    let mut id = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                id += 1;
                tokio::spawn(serve(stream, id, Arc::clone(&parts)));
            }
            Err(error) => {
                parts
                    .forwarder
                    .log()
                    .line(format_args!("failed to accept a command: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, id: u64, parts: Arc<Parts>) {
    let served = match stream.peer_cred() {
        Ok(peer) if peer::is_trusted(peer.uid()) => control::serve(stream, id, &parts).await,
        Ok(peer) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it comes from user {}", peer.uid()),
        )),
        Err(error) => Err(error),
    };
    // Guards first: what comes to look after a frozen application must find it still held.
    parts.guards.control_ended(id);
    parts.forwarder.control_ended(id);
    if let Err(error) = served {
        parts
            .forwarder
            .log()
            .line(format_args!("failed to serve a command: {error}"));
    }
}
