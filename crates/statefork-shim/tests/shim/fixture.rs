//! The directory of a shim, and the end of what was started in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use statefork_shim::{Shim, ShimStatus};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::application::Application;

/// The container port of all tests.
pub(crate) const PORT: u16 = 8000;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// How long something that happens by itself may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory for a shim; what runs in it at the end is killed.
pub(crate) struct Fixture {
    folder: TempDir,
    dir: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_dir("shim")
    }

    /// With the directory at `path` within a folder.
    pub(crate) fn with_dir(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join(path);
        Self { folder, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it and other files of the test are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The shim, started if need be.
    pub(crate) async fn shim(&self) -> Shim {
        Shim::ensure(&helper(), &self.dir).await.unwrap()
    }

    /// A shim that listens on one port and leads to `application`; with the port's address.
    pub(crate) async fn leading_to(&self, application: &Application) -> (Shim, SocketAddr) {
        let mut shim = self.shim().await;
        let bound = shim.listen(&[any_port()]).await.unwrap();
        target(&mut shim, application).await;
        (shim, bound[0].host_address())
    }

    /// Sends a signal to the shim's process.
    pub(crate) fn signal(&self, shim: &Shim, signal: Signal) {
        rustix::process::kill_process(pid(shim.pid()), signal).unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for process in processes_of(&self.dir) {
            let killed = rustix::process::kill_process(process, Signal::KILL);
            // It may have ended by itself.
            if let Err(errno) = killed
                && errno != Errno::SRCH
            {
                eprintln!("process {} is left: {errno}", process.as_raw_pid());
            }
        }
    }
}

/// This program.
pub(crate) fn helper() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub(crate) fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// The processes that were given `dir` on their command line and have not ended.
pub(crate) fn processes_of(dir: &Path) -> Vec<Pid> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(process) = number.and_then(Pid::from_raw) else {
            continue;
        };
        // Absent: it has ended since. Empty: it has ended and waits for its parent.
        let line = fs::read(format!("/proc/{}/cmdline", process.as_raw_pid())).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|word| word == dir) {
            found.push(process);
        }
    }
    found
}

/// Any free port of the loopback address.
pub(crate) fn any_port() -> statefork_runtime::PortMapping {
    PORT.to_string().parse().unwrap()
}

pub(crate) async fn target(shim: &mut Shim, application: &Application) {
    let targets = BTreeMap::from([(PORT, application.address())]);
    shim.target(&targets).await.unwrap();
}

/// Waits until the shim says so.
pub(crate) async fn wait_status(shim: &mut Shim, wanted: impl Fn(&ShimStatus) -> bool) {
    let begun = Instant::now();
    loop {
        let status = shim.status().await.unwrap();
        if wanted(&status) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "still {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until no process of `dir` is left.
pub(crate) async fn wait_gone(dir: &Path) {
    let begun = Instant::now();
    while !processes_of(dir).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Connects where connections are closed at once; that may be seen before they are connected.
pub(crate) async fn turned_away(address: SocketAddr) {
    match TcpStream::connect(address).await {
        Ok(stream) => Client(stream).is_closed().await,
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

/// A client's connection, line by line.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.write_all(line.as_bytes()).await.unwrap();
    }

    /// The next line, without its end.
    pub(crate) async fn receive(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.0.read_u8().await? {
                b'\n' => return Ok(String::from_utf8(line).unwrap()),
                byte => line.push(byte),
            }
        }
    }

    /// What the application says to `line`.
    pub(crate) async fn ask(&mut self, line: &str) -> io::Result<String> {
        let line = format!("{line}\n");
        self.0.write_all(line.as_bytes()).await?;
        self.receive().await
    }

    /// Waits for the end, by either way of closing, with nothing received.
    pub(crate) async fn is_closed(&mut self) {
        match self.0.read_u8().await {
            Ok(byte) => panic!("it received {byte}"),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ),
                "{error}"
            ),
        }
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) {
        let silence = Duration::from_millis(50);
        let read = tokio::time::timeout(silence, self.0.read_u8()).await;
        assert!(read.is_err(), "{read:?}");
    }
}
