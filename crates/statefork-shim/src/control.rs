//! The shim's side of a control connection.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;

use crate::client::TIMEOUT;
use crate::protocol::{Envelope, Failure, Hello, Reply, Request, VERSION};
use crate::routes::ControlId;
use crate::server::Parts;
use crate::wire::{self, LineReader};

/// Serves one command until it closes the connection.
///
/// Errors: those of the connection; `InvalidData` when something unreadable came.
pub(crate) async fn serve(stream: UnixStream, id: ControlId, parts: &Parts) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = LineReader::new(reader);
    let greeting = timeout(TIMEOUT, reader.read::<Value>())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let Some(greeting) = greeting else {
        return Ok(());
    };
    let Ok(theirs) = Hello::deserialize(&greeting) else {
        return refuse(&mut writer, &greeting, "it comes before the handshake").await;
    };
    wire::write(&mut writer, &Hello::ours()).await?;
    while let Some(document) = reader.read::<Value>().await? {
        let Ok(Envelope { id: number, .. }) = Envelope::<Value>::deserialize(&document) else {
            return refuse(&mut writer, &document, "it has no number").await;
        };
        let reply = match Request::deserialize(&document) {
            Ok(Request::Shutdown) => {
                answer(&mut writer, number, Reply::Done).await?;
                parts.end.notify_one();
                return Ok(());
            }
            _ if theirs.hello != VERSION => refused(format!(
                "version {VERSION} of the protocol is spoken here, not {}",
                theirs.hello
            )),
            Ok(request) => perform(request, id, parts).await,
            Err(error) => refused(format!("read the request: {error}")),
        };
        answer(&mut writer, number, reply).await?;
    }
    Ok(())
}

async fn perform(request: Request, id: ControlId, parts: &Parts) -> Reply {
    let forwarder = &parts.forwarder;
    match request {
        Request::Listen { ports } => match forwarder.listen(&ports).await {
            Ok(ports) => Reply::Bound { ports },
            Err(failure) => Reply::Failed(failure),
        },
        Request::Target { targets } => match forwarder.target(&targets) {
            Ok(()) => Reply::Done,
            Err(failure) => Reply::Failed(failure),
        },
        Request::Hold { limit_ms } => {
            forwarder.hold(id, Duration::from_millis(limit_ms));
            Reply::Done
        }
        Request::Release => {
            forwarder.release();
            Reply::Done
        }
        Request::Guard {
            if_dead,
            if_late,
            limit_ms,
        } => {
            let limit = Duration::from_millis(limit_ms);
            match parts.guards.set(id, if_dead, if_late, limit) {
                Ok(()) => Reply::Done,
                Err(error) => refused(format!("guard a freeze: {error}")),
            }
        }
        Request::Unguard => {
            parts.guards.clear(id);
            Reply::Done
        }
        Request::Work { command } => match parts.workers.work(&command) {
            Ok(()) => Reply::Done,
            Err(error) => refused(format!("work in the background: {error}")),
        },
        Request::Expire { at_ms, command } => match parts.expiry.set(at_ms, &command) {
            Ok(()) => Reply::Done,
            Err(error) => refused(format!("do something later: {error}")),
        },
        Request::Status => Reply::Status(forwarder.status().await),
        Request::Shutdown => Reply::Done,
    }
}

async fn answer(writer: &mut OwnedWriteHalf, id: u64, message: Reply) -> io::Result<()> {
    wire::write(writer, &Envelope { id, message }).await
}

/// Answers what cannot be served at all, under its number where it has one, and gives up.
async fn refuse(writer: &mut OwnedWriteHalf, document: &Value, reason: &str) -> io::Result<()> {
    let id = document.get("id").and_then(Value::as_u64).unwrap_or(0);
    answer(writer, id, refused(reason.to_owned())).await?;
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        reason.to_owned(),
    ))
}

fn refused(reason: String) -> Reply {
    Reply::Failed(Failure::Refused { reason })
}
