//! A client that asks an application at a rate, a new connection for each request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How many ask at once.
const CLIENTS: u32 = 4;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was answered, after so long.
    Answered(Duration),
    /// Nobody listened.
    Refused,
    /// The connection ended without an answer.
    Broken,
}

/// Requests and when each began, in no order.
pub type Requests = Vec<(Instant, Asked)>;

/// A load that goes on until it is [ended](Load::end).
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<Requests>>,
}

impl Load {
    /// Begins to ask `GET path`, so often a second.
    pub fn begin(address: SocketAddr, path: &'static str, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|client| {
            let stop = Arc::clone(&stop);
            let between = Duration::from_secs(1) * CLIENTS / rate;
            thread::spawn(move || {
                let mut requests = Vec::new();
                let mut next = Instant::now() + between * client / CLIENTS;
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    let begun = Instant::now();
                    requests.push((begun, ask(address, path)));
                    // What was missed while it waited is not asked for at once.
                    next = (next + between).max(Instant::now());
                }
                requests
            })
        });
        Self {
            clients: clients.collect(),
            stop,
        }
    }

    /// Ends it; all requests that were made.
    pub fn end(self) -> Result<Requests> {
        self.stop.store(true, Ordering::Relaxed);
        let mut requests = Vec::new();
        for client in self.clients {
            let made = client.join();
            requests.extend(made.map_err(|_| anyhow!("a client panicked"))?);
        }
        Ok(requests)
    }
}

/// Asks once.
pub fn ask(address: SocketAddr, path: &str) -> Asked {
    let begun = Instant::now();
    let mut stream = match TcpStream::connect_timeout(&address, LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Asked::Refused,
        Err(_) => return Asked::Broken,
        Ok(stream) => stream,
    };
    let exchange = || -> io::Result<String> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: load\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match { exchange }() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Asked::Answered(begun.elapsed()),
        _ => Asked::Broken,
    }
}
