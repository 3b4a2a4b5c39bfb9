//! One HTTP/1.1 request on a connection of its own, by hand: a test must know whether it was the
//! connection that failed or the answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The content.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The content as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Connects, asks, and reads the answer to its end.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<Answer> {
    ask(connect(address)?, method, path, body)
}

/// Connects.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Asks on a connection that nothing was said on.
pub(crate) fn ask(
    mut stream: TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let end = end.ok_or_else(broken)?;
    let status = answer
        .get(9..12)
        .and_then(|code| std::str::from_utf8(code).ok());
    Ok(Answer {
        status: status
            .and_then(|code| code.parse().ok())
            .ok_or_else(broken)?,
        body: answer[end + 4..].to_vec(),
    })
}
