//! The one request that is not made through bollard: starting a command and taking over its
//! connection. bollard reads the output of a terminal as if it might be split into frames, so that
//! a byte below 3 at its wrong place makes it lose output.

use bollard::errors::Error;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::failure::Cause;

/// The connection, as bytes: what is written goes to the command's standard input.
pub(crate) type Connection = TokioIo<Upgraded>;

/// An answer that is a refusal.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Docker Engine API, `POST /exec/{id}/start`, with `Upgrade: tcp`.
pub(crate) async fn start_exec(
    socket: &str,
    exec: &str,
    terminal: bool,
) -> Result<Connection, Cause> {
    let stream = UnixStream::connect(socket).await.map_err(Cause::Socket)?;
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::from)?;
    // Ends with the upgrade, or with the connection; its error is that of the request.
    tokio::spawn(connection.with_upgrades());
    let body = serde_json::json!({ "Detach": false, "Tty": terminal }).to_string();
    let request = Request::post(format!("/exec/{exec}/start"))
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from(body)))
        .map_err(Error::from)?;
    let response = requests.send_request(request).await.map_err(Error::from)?;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::from)?;
        return Ok(TokioIo::new(upgraded));
    }
    let body = response.into_body().collect().await.map_err(Error::from)?;
    let body = body.to_bytes();
    let message = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Err(Cause::Api(Error::DockerResponseServerError {
        status_code: status.as_u16(),
        message,
    }))
}
