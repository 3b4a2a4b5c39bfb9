//! Requests that podman-api lacks or gets wrong, over the same socket and with the same version of
//! the API.
//!
//! | Request | Why not by podman-api 0.11 |
//! |---|---|
//! | `containers/{}/json` | asks for sizes, which walks the writable layer |
//! | `containers/{}/changes` | cannot read the `null` that stands for none |
//! | `containers/create` | spells the log driver in a way that the service ignores |
//! | `containers/{}/start` | takes 304 (it runs already) for an error |
//! | `containers/{}/stop` | spells the time-out in a way that the service ignores |
//! | `containers/{}/wait`, `commit` | drop the answer |
//! | `containers/{}/logs`, `exec/{}/start` | borrow the handle; panic on an unknown stream |
//! | `containers/{}/archive` | `HEAD` is missing, and what it says of links; takes no stream |
//! | `info` | leaves out what the containers' default capabilities are |
//! | `build`, `images/load` | take a path, and the whole archive in memory |
//! | `images/{}/get` | borrows the handle |

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use statefork_runtime::ByteStream;
use tokio::net::UnixStream;

use crate::fault::Fault;

/// What a request carries.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// A JSON document.
    Json(serde_json::Value),
    /// A tar stream.
    Tar(ByteStream),
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Payload {
    fn into_body(self) -> (Body, Option<&'static str>) {
        match self {
            Self::Empty => (never(Empty::new()), None),
            Self::Json(value) => {
                let text = Bytes::from(value.to_string());
                (never(Full::new(text)), Some("application/json"))
            }
            Self::Tar(stream) => (
                StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync(),
                Some("application/x-tar"),
            ),
        }
    }
}

fn never<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Makes the requests, each on a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    socket: PathBuf,
}

/// What lies at a path of a container (libpod API, the header of `containers/{}/archive`).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathStat {
    /// Go's `FileMode`.
    mode: u32,
    /// Whether it is a folder, or a link that leads to one.
    pub(crate) is_dir: bool,
}

impl PathStat {
    /// Whether it is a symbolic link (Go's `ModeSymlink`).
    pub(crate) fn is_link(self) -> bool {
        self.mode & (1 << 27) != 0
    }
}

/// The header that holds it, in base64.
const PATH_STAT: &str = "X-Docker-Container-Path-Stat";

/// The body of libpod's errors.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    cause: String,
    #[serde(default)]
    message: String,
}

impl Raw {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The service's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request to `/libpod{path}` and waits for the head of the answer. 304 (nothing to
    /// do) is a success.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<Response<Incoming>, Fault> {
        self.request(method, path, payload, false).await
    }

    /// The same, for an answer in JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<T, Fault> {
        let response = self.send(method, path, payload).await?;
        serde_json::from_slice(&collect(response).await?).map_err(Fault::broken)
    }

    /// Sends a request that turns the connection into a stream of bytes in both directions.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        payload: Payload,
    ) -> Result<TokioIo<Upgraded>, Fault> {
        let response = self.request(Method::POST, path, payload, true).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::refused(
                response.status().as_u16(),
                "the connection was not upgraded",
                "",
            ));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(Fault::broken)?;
        Ok(TokioIo::new(upgraded))
    }

    /// What lies at the path that `url` asks for. `None` if there is nothing, or no container. Of
    /// a link without a target the service says both: that nothing is there, and what.
    pub(crate) async fn stat(&self, url: &str) -> Result<Option<PathStat>, Fault> {
        let answer = self
            .exchange(Method::HEAD, url, Payload::Empty, false)
            .await?;
        let status = answer.status();
        match answer.headers().get(PATH_STAT) {
            Some(stat) => {
                let text = decode_base64(stat.as_bytes());
                let text = text.ok_or_else(|| Fault::broken("a header is not in base64"))?;
                let stat = serde_json::from_slice(&text).map_err(Fault::broken)?;
                Ok(Some(stat))
            }
            None if status == StatusCode::NOT_FOUND => Ok(None),
            None => Err(Fault::refused(
                status.as_u16(),
                "it does not say what lies there",
                "",
            )),
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Fault> {
        let response = self.exchange(method, path, payload, upgrade).await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = collect(response).await?;
            return Err(match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(error) => Fault::refused(status.as_u16(), &error.message, &error.cause),
                Err(_) => Fault::refused(status.as_u16(), &String::from_utf8_lossy(&body), ""),
            });
        }
        Ok(response)
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Fault> {
        let (body, content_type) = payload.into_body();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v{}/libpod{path}", podman_api::LATEST_API_VERSION))
            .header(header::HOST, "localhost");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if upgrade {
            request = request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp");
        }
        let request = request.body(body).map_err(Fault::broken)?;

        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(Fault::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Fault::broken)?;
        // Its failure reaches the request or its body too, so nothing is lost here.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(Fault::broken)
    }
}

/// The whole body of an answer.
async fn collect(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = response.into_body().collect().await;
    Ok(body.map_err(Fault::broken)?.to_bytes())
}

/// Bytes from base64 (RFC 4648, 4; the padding may be missing). `None` for other characters.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text {
        let value = ALPHABET.iter().position(|letter| letter == byte)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.extend((bits >> count).to_le_bytes().first());
        }
    }
    Some(decoded)
}

/// Percent-encodes one segment of a path or one value of a query (RFC 3986, 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A query from its pairs, with the question mark.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    format!("?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zg", Some("f")),
            ("Zm8=", Some("fo")),
            ("eyJhIjoifn5+Pz8/In0=", Some(r#"{"a":"~~~???"}"#)),
            ("Zg-_", None),
        ] {
            let decoded = decode_base64(text.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn names_and_values_are_encoded() {
        assert_eq!(encode("localhost/a:b c%"), "localhost%2Fa%3Ab%20c%25");
        assert_eq!(query(&[("t", "a/b"), ("q", "é\n")]), "?t=a%2Fb&q=%C3%A9%0A");
    }
}
