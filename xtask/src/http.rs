//! One HTTP/1.1 exchange at a time, with a daemon over its socket or with the application over TCP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where an exchange goes.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON in the answer {:?}", self.text()))
    }

    /// The body as text, its start only if it is long.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(400).collect()
    }
}

/// Sends a request over a connection of its own and reads the whole answer, whatever its status.
///
/// # Errors
///
/// When nothing listens there, the connection breaks, or it all takes longer than `patience`.
pub(crate) fn exchange(
    to: &Address,
    method: Method,
    path: &str,
    content: (&str, Vec<u8>),
    patience: Duration,
) -> Result<Answer> {
    let (kind, body) = content;
    let request = Request::builder()
        .method(&method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, kind)
        .body(Full::new(Bytes::from(body)))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(async {
        let talk = async {
            match to {
                Address::Tcp(address) => talk(TcpStream::connect(address).await?, request).await,
                Address::Unix(path) => talk(UnixStream::connect(path).await?, request).await,
            }
        };
        match tokio::time::timeout(patience, talk).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {patience:?}"),
        }
    });
    answer.with_context(|| format!("{method} {path}"))
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its failure is also that of the request, which tells it.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes().to_vec();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn ask(answer: &'static str, patience: Duration) -> Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = Address::Tcp(listener.local_addr()?);
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0_u8; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the client goes.
            let _ = stream.read(&mut request[read..]);
        });
        let result = exchange(
            &address,
            Method::GET,
            "/x",
            ("text/plain", vec![]),
            patience,
        );
        server.join().unwrap();
        result
    }

    #[test]
    fn a_chunked_answer_is_read_whole_whatever_its_status() {
        let answer = ask(
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
            Duration::from_secs(5),
        )
        .unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json().unwrap()["a"], 1);
    }

    #[test]
    fn an_answer_that_does_not_come_is_an_error() {
        let error = ask("", Duration::from_millis(50)).unwrap_err();
        assert!(
            format!("{error:#}").contains("no answer within"),
            "{error:#}"
        );
    }
}
