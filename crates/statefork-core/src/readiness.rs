//! Waiting until an application can be used.
//!
//! The check goes to the container itself. Polls start at 1 ms and double up to the interval;
//! between them the container is looked at, so that one that ended is not waited for.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use statefork_runtime::{
    Container, ContainerId, ContainerState, ExecRequest, LogRequest, Network, Runtime, RuntimeError,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{Check, Readiness};
use crate::environment::Cancel;
use crate::error::{CoreError, NotReadyReason, Result};

const FIRST_POLL: Duration = Duration::from_millis(1);
/// How often, at the most, the container's state is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The limit of one attempt, unless less is left in all.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long output that is not there yet is waited for.
const LATE_OUTPUT: Duration = Duration::from_millis(500);
/// How many of its last lines an application that failed is quoted with.
const LAST_LINES: u32 = 20;

/// What is asked, and of which container.
pub(crate) struct Wait<'a> {
    pub(crate) runtime: &'a dyn Runtime,
    pub(crate) container: &'a Container,
    pub(crate) readiness: &'a Readiness,
    /// For this long an application without a check is watched, whether it ends at once.
    pub(crate) settle: Duration,
    pub(crate) cancel: &'a Cancel,
}

/// Where the host reaches a port of a container: its own address, else what the runtime publishes.
pub(crate) fn address(container: &Container, network: &Network, port: u16) -> Option<SocketAddr> {
    if *network == Network::Host {
        return Some(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let published = container
        .published
        .iter()
        .find(|(inner, _)| inner.port == port)
        .map(|(_, outer)| *outer);
    published.or_else(|| container.address.map(|ip| SocketAddr::new(ip, port)))
}

impl Wait<'_> {
    /// Returns once the check has passed.
    pub(crate) async fn until_ready(&self, network: &Network) -> Result<()> {
        self.check_runs(self.container.state).await?;
        let target = |port| address(self.container, network, port);
        match &self.readiness.check {
            Check::None => self.settle().await,
            Check::Tcp { port } => {
                let target = target(*port);
                self.poll("its TCP port", || connects(target)).await
            }
            Check::Http { port, path } => {
                let target = target(*port);
                self.poll("its HTTP check", || answers(target, path)).await
            }
            Check::Exec { command } => {
                self.poll("its readiness command", || self.succeeds(command))
                    .await
            }
            Check::Log { contains } => {
                self.poll("the expected text in its output", || self.wrote(contains))
                    .await
            }
        }
    }

    async fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < self.settle {
            self.cancel.check()?;
            tokio::time::sleep(LOOK.min(self.settle)).await;
            self.look().await?;
        }
        Ok(())
    }

    async fn poll<F>(&self, check: &'static str, attempt: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let begun = Instant::now();
        let mut looked = begun;
        let mut wait = FIRST_POLL;
        loop {
            self.cancel.check()?;
            let left = self.readiness.timeout.saturating_sub(begun.elapsed());
            // An attempt that takes too long is one that failed.
            if timeout(left.min(ATTEMPT), attempt()).await.unwrap_or(false) {
                // The address of one that has ended may be another container's by now.
                return self.look().await;
            }
            if looked.elapsed() >= LOOK {
                self.look().await?;
                looked = Instant::now();
            }
            let left = self.readiness.timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(self
                    .not_ready(NotReadyReason::TimedOut {
                        check: check.to_owned(),
                        after: self.readiness.timeout,
                    })
                    .await);
            }
            tokio::time::sleep(wait.min(left)).await;
            wait = (wait * 2).min(self.readiness.interval);
        }
    }

    async fn look(&self) -> Result<()> {
        match self.runtime.inspect(&self.container.id).await? {
            Some(container) => self.check_runs(container.state).await,
            None => Err(self.not_ready(NotReadyReason::Removed).await),
        }
    }

    async fn check_runs(&self, state: ContainerState) -> Result<()> {
        match state {
            ContainerState::Exited { code } => {
                Err(self.not_ready(NotReadyReason::Exited { code }).await)
            }
            _ => Ok(()),
        }
    }

    async fn not_ready(&self, reason: NotReadyReason) -> CoreError {
        CoreError::NotReady {
            container: self.container.name.clone(),
            reason,
            log: last_lines(
                self.runtime,
                &self.container.id,
                LATE_OUTPUT.min(self.readiness.timeout),
            )
            .await,
        }
    }

    async fn succeeds(&self, command: &[String]) -> bool {
        let request = ExecRequest {
            argv: command.to_vec(),
            ..ExecRequest::default()
        };
        let run = async {
            let mut exec = self.runtime.exec(&self.container.id, &request).await?;
            while let Some(output) = exec.output.next().await {
                output?;
            }
            exec.control.wait().await
        };
        // A container that is not yet or no longer there for commands is one that is not ready.
        run.await
            .is_ok_and(|exit: statefork_runtime::ExecExit| exit.code() == 0)
    }

    async fn wrote(&self, text: &str) -> bool {
        match output(self.runtime, &self.container.id, LogRequest::default()).await {
            Ok(output) => String::from_utf8_lossy(&output).contains(text),
            Err(_) => false,
        }
    }
}

async fn connects(target: Option<SocketAddr>) -> bool {
    match target {
        Some(target) => TcpStream::connect(target).await.is_ok(),
        None => false,
    }
}

async fn answers(target: Option<SocketAddr>, path: &str) -> bool {
    let Some(target) = target else { return false };
    let Ok(status) = get(target, path).await else {
        return false;
    };
    status.is_success() || status.is_redirection()
}

async fn get(target: SocketAddr, path: &str) -> Result<StatusCode, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(hyper::header::HOST, target.to_string())
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    tokio::select! {
        response = sender.send_request(request) => Ok(response?.status()),
        ended = connection => {
            ended?;
            Err("the connection ended before the answer".into())
        }
    }
}

async fn output(
    runtime: &dyn Runtime,
    container: &ContainerId,
    request: LogRequest,
) -> Result<Vec<u8>, RuntimeError> {
    let mut stream = runtime.logs(container, request).await?;
    let mut bytes = Vec::new();
    while let Some(output) = stream.next().await {
        bytes.extend_from_slice(&output?.bytes);
    }
    Ok(bytes)
}

/// The last lines that a container wrote, as far as they can be had: they explain an error and
/// must not replace it. Where there are none, they are waited for up to `late`.
pub(crate) async fn last_lines(
    runtime: &dyn Runtime,
    container: &ContainerId,
    late: Duration,
) -> Vec<String> {
    let request = LogRequest {
        follow: false,
        tail: Some(LAST_LINES),
    };
    let begun = Instant::now();
    loop {
        match output(runtime, container, request).await {
            // A runtime may store what a process wrote a little later than it notices its end.
            Ok(bytes) if bytes.trim_ascii().is_empty() && begun.elapsed() < late => {
                tokio::time::sleep(LOOK).await;
            }
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                return text.lines().map(str::to_owned).collect();
            }
            Err(error) => return vec![format!("(its output cannot be read: {error})")],
        }
    }
}
