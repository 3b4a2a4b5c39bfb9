//! A client of target-app: when does it answer again?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(50);
/// How long the first attempt waits for its answer; twice as long after each that got none, up to
/// [`LONGEST`]. A process that is frozen takes the request and never answers it.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// The wait after a connection that was refused or broken.
const AGAIN: Duration = Duration::from_millis(1);
/// The wait after an answer of the former process, so that asking does not slow it down.
const FORMER: Duration = Duration::from_millis(5);
/// How long all attempts may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which process of target-app answers: each has a random id of its own.
pub(super) type Instance = String;

/// Asks until another process than `former` answers, and says which, and how long after `begun`.
pub(super) async fn first_answer(
    address: SocketAddr,
    former: Option<&str>,
    begun: Instant,
) -> Result<(Instance, Duration)> {
    let started = Instant::now();
    let mut limit = SHORTEST;
    while started.elapsed() < PATIENCE {
        match ask(address, limit).await {
            Asked::Answered(instance) if former != Some(instance.as_str()) => {
                return Ok((instance, begun.elapsed()));
            }
            Asked::Answered(_) => {
                limit = SHORTEST;
                tokio::time::sleep(FORMER).await;
            }
            Asked::Failed => tokio::time::sleep(AGAIN).await,
            Asked::TimedOut => limit = LONGEST.min(limit * 2),
        }
    }
    bail!("target-app does not answer on {address} within {PATIENCE:?}")
}

enum Asked {
    Answered(Instance),
    /// Refused, broken, or no answer of target-app.
    Failed,
    TimedOut,
}

async fn ask(address: SocketAddr, limit: Duration) -> Asked {
    let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await else {
        return Asked::Failed;
    };
    match timeout(limit, health(stream)).await {
        Ok(Ok(instance)) => Asked::Answered(instance),
        Ok(Err(_)) => Asked::Failed,
        Err(_) => Asked::TimedOut,
    }
}

async fn health(stream: TcpStream) -> Result<Instance> {
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/health")
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        let health: Value = serde_json::from_slice(&body)?;
        let instance = health["instance"].as_str().context("no instance")?;
        Ok(instance.to_owned())
    };
    // The connection is driven in this task, so that a limit ends both.
    let (answer, ended) = tokio::join!(exchange, connection);
    ended?;
    answer
}
