//! The same work as bare API calls: one connection to the daemon's socket, no orchestrator, no
//! client library.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::PORT;

/// How one daemon spells the calls.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What every path begins with.
    prefix: &'static str,
    /// Whether a created container's name is in the query (Docker) or in the body (libpod).
    libpod: bool,
}

/// The Docker Engine API.
pub const DOCKER: Dialect = Dialect {
    prefix: "/v1.41",
    libpod: false,
};

/// The libpod API.
pub const PODMAN: Dialect = Dialect {
    prefix: "/v4.0.0/libpod",
    libpod: true,
};

/// A connection to a daemon.
pub struct Raw {
    sender: SendRequest<Full<Bytes>>,
    dialect: Dialect,
}

impl Raw {
    /// Connects.
    pub async fn connect(socket: &Path, dialect: Dialect) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .await
            .with_context(|| format!("connect to {}", socket.display()))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender, dialect })
    }

    /// One call; the answer's JSON, if it is one.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.dialect.prefix))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(
                body.map_or_else(String::new, |body| body.to_string()),
            ))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "{method} {path}: {status}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Looks at a container.
    pub async fn inspect(&mut self, container: &str) -> Result<Value> {
        let path = format!("/containers/{container}/json");
        self.call(Method::GET, &path, None).await
    }

    /// Commits a container, paused, and looks at the image for its size. libpod's commit takes a
    /// name off the image that has it, and goes beyond the limit of layers: both are to be asked
    /// first.
    pub async fn commit(&mut self, container: &str, repository: &str, tag: &str) -> Result<()> {
        if self.dialect.libpod {
            let found = self.inspect(container).await?;
            let base = found["Image"].as_str().context("no image")?;
            let path = format!("/images/{base}/json");
            self.call(Method::GET, &path, None).await?;
            let path = format!("/images/{repository}:{tag}/exists");
            if self.call(Method::GET, &path, None).await.is_ok() {
                bail!("{repository}:{tag} is taken");
            }
        }
        let path = format!("/commit?container={container}&repo={repository}&tag={tag}&pause=true");
        self.call(Method::POST, &path, Some(json!({}))).await?;
        let path = format!("/images/{repository}:{tag}/json");
        self.call(Method::GET, &path, None).await.map(drop)
    }

    /// Commits a container, paused, and nothing else.
    pub async fn commit_alone(
        &mut self,
        container: &str,
        repository: &str,
        tag: &str,
    ) -> Result<()> {
        let path = format!("/commit?container={container}&repo={repository}&tag={tag}&pause=true");
        let body = Some(json!({}));
        self.call(Method::POST, &path, body).await.map(drop)
    }

    /// The size of an image with all its layers, in bytes.
    pub async fn image_size(&mut self, name: &str) -> Result<u64> {
        let path = format!("/images/{name}/json");
        let found = self.call(Method::GET, &path, None).await?;
        found["Size"].as_u64().context("the image has no size")
    }

    /// Removes an image.
    pub async fn remove_image(&mut self, name: &str) -> Result<()> {
        let path = format!("/images/{name}");
        self.call(Method::DELETE, &path, None).await.map(drop)
    }

    /// Pauses a container.
    pub async fn pause(&mut self, container: &str) -> Result<()> {
        let path = format!("/containers/{container}/pause");
        self.call(Method::POST, &path, None).await.map(drop)
    }

    /// Creates a container, starts it, looks at it, and waits until its port answers.
    pub async fn run(&mut self, name: &str, image: &str, command: &[&str]) -> Result<()> {
        let (path, body) = match self.dialect.libpod {
            false => (
                format!("/containers/create?name={name}"),
                json!({ "Image": image, "Cmd": command }),
            ),
            true => (
                "/containers/create".to_owned(),
                json!({
                    "name": name, "image": image, "command": command, "r_limits": limits(),
                }),
            ),
        };
        self.call(Method::POST, &path, Some(body)).await?;
        let path = format!("/containers/{name}/start");
        self.call(Method::POST, &path, None).await?;
        let found = self.inspect(name).await?;
        let address = SocketAddr::new(address(&found)?.parse()?, PORT);
        for _ in 0..5000 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("{name} does not answer on {address}")
    }

    /// Creates a container with the image's own command and [`PORT`] published at an address, and
    /// starts it.
    pub async fn run_published(
        &mut self,
        name: &str,
        image: &str,
        address: SocketAddr,
    ) -> Result<()> {
        let (ip, port) = (address.ip().to_string(), address.port());
        let (path, body) = match self.dialect.libpod {
            false => (
                format!("/containers/create?name={name}"),
                json!({
                    "Image": image,
                    "ExposedPorts": { format!("{PORT}/tcp"): {} },
                    "HostConfig": { "PortBindings": {
                        format!("{PORT}/tcp"): [{ "HostIp": ip, "HostPort": port.to_string() }],
                    }},
                }),
            ),
            true => (
                "/containers/create".to_owned(),
                json!({
                    "name": name,
                    "image": image,
                    "portmappings": [{
                        "host_ip": ip, "host_port": port, "container_port": PORT, "protocol": "tcp",
                    }],
                    "r_limits": limits(),
                }),
            ),
        };
        self.call(Method::POST, &path, Some(body)).await?;
        let path = format!("/containers/{name}/start");
        self.call(Method::POST, &path, None).await.map(drop)
    }

    /// Removes a container by force, as the daemon does it by itself.
    pub async fn remove_by_force(&mut self, container: &str) -> Result<()> {
        let path = format!("/containers/{container}?force=true&v=true");
        self.call(Method::DELETE, &path, None).await.map(drop)
    }

    /// Kills and removes a container.
    pub async fn remove(&mut self, container: &str) -> Result<()> {
        let more = if self.dialect.libpod {
            "&timeout=0"
        } else {
            ""
        };
        let path = format!("/containers/{container}?force=true&v=true{more}");
        self.call(Method::DELETE, &path, None).await.map(drop)
    }
}

/// Limits for libpod, whose defaults may lie above our own hard limits.
fn limits() -> Value {
    json!([
        { "type": "NOFILE", "soft": 1024, "hard": 1024 },
        { "type": "NPROC", "soft": 1024, "hard": 1024 },
    ])
}

/// The container's own address.
fn address(inspected: &Value) -> Result<&str> {
    let settings = &inspected["NetworkSettings"];
    let networks = settings["Networks"].as_object();
    let on_networks = networks
        .into_iter()
        .flat_map(|networks| networks.values())
        .map(|network| &network["IPAddress"]);
    std::iter::once(&settings["IPAddress"])
        .chain(on_networks)
        .filter_map(Value::as_str)
        .find(|address| !address.is_empty())
        .context("the container has no address")
}
