//! What a shim leads to in these tests: a server that says its name.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers each line with its name and the line. Ends with its value.
pub(crate) struct Application {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Application {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name).await
    }

    pub(crate) async fn start_at(address: SocketAddr, name: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            accepting: tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, name));
                }
            }),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(stream: TcpStream, name: &'static str) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    // A client that is gone ends it.
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = format!("{name} {line}\n");
        if writer.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}
