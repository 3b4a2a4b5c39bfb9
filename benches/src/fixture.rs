//! An application that is up, on a runtime that is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use statefork_core::config::{Check, Readiness};
use statefork_core::environment::{
    Cancel, DownRequest, ImageRequest, Observer, Options, Programs, Requested, UpRequest,
};
use statefork_core::{Environment, Home};
use statefork_runtime::{ContainerSpec, PortMapping, Runtime, RuntimeOptions};
use tokio_util::io::ReaderStream;

use crate::raw::{DOCKER, Dialect, PODMAN, Raw};

/// The port that the application listens on in its container.
pub const PORT: u16 = 8000;
/// The small image of the tests.
const IMAGE: &str = "localhost/statefork-busybox:latest";
/// What runs in it: a server that listens at once.
const COMMAND: [&str; 4] = ["httpd", "-f", "-p", "8000"];

/// A runtime, and how it is spoken to without us.
pub struct Available {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    dialect: Dialect,
}

/// The runtimes that answer; of the others the reason is told.
pub async fn available() -> Result<Vec<Available>> {
    let options = RuntimeOptions::default();
    let all: [(Arc<dyn Runtime>, Dialect); 2] = [
        (Arc::new(statefork_docker::open(&options)?), DOCKER),
        (Arc::new(statefork_podman::open(&options)?), PODMAN),
    ];
    let mut available = Vec::new();
    for (runtime, dialect) in all {
        match runtime.identify().await {
            Ok(_) => available.push(Available { runtime, dialect }),
            Err(error) => println!("{}: skipped: failed to {error}", runtime.name()),
        }
    }
    Ok(available)
}

/// Imports the archive of the small image, unless the runtime has it; whether it had to.
pub async fn import(runtime: &dyn Runtime) -> Result<bool> {
    if runtime.inspect_image(IMAGE).await?.is_some() {
        return Ok(false);
    }
    let archive = match std::env::var_os("STATEFORK_TEST_IMAGE") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/busybox.tar"),
    };
    let file = tokio::fs::File::open(&archive)
        .await
        .with_context(|| format!("open {}; `cargo xtask image` makes it", archive.display()))?;
    runtime
        .import_image(ReaderStream::new(file).boxed())
        .await?;
    Ok(true)
}

/// A program of ours, built with the profile of this benchmark.
pub fn program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(Path::parent);
    let path = folder.context("find the target directory")?.join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: run `cargo build --release -p statefork-cli` first",
            path.display()
        );
    }
    Ok(path)
}

/// The programs of an environment.
fn programs(home: &Path, environment: &str, runtime: &str) -> Result<Programs> {
    let statefork = program("statefork")?.display().to_string();
    let home = home.display().to_string();
    let words = [
        &statefork,
        "--home",
        &home,
        "-e",
        environment,
        "-r",
        runtime,
    ];
    Ok(Programs {
        helper: program("statefork-shim")?,
        worker: words.map(str::to_owned).into(),
    })
}

/// Keeps quiet.
struct Quiet;

impl Observer for Quiet {
    fn progress(&self, _: &str) {}
    fn build_output(&self, _: &str) {}
    fn notice(&self, _: &str) {}
}

/// An environment that is up in a home of its own, and a bare connection to its daemon.
pub struct Fixture {
    /// The environment.
    pub environment: Environment,
    /// The bare connection.
    pub raw: Raw,
    runtime: Arc<dyn Runtime>,
    imported: bool,
    _home: tempfile::TempDir,
}

impl Fixture {
    /// Brings it up.
    pub async fn up(available: &Available) -> Result<Self> {
        let runtime = available.runtime.clone();
        let imported = import(runtime.as_ref()).await?;
        let home = tempfile::tempdir()?;
        let name = format!("bench-{:08x}", rand::random::<u32>());
        let options = Options {
            programs: Some(programs(home.path(), &name, runtime.name())?),
            freeze_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            stop_timeout: Duration::ZERO,
            cancel: Cancel::new(),
            observer: Arc::new(Quiet),
        };
        let opened = Arc::new(Home::open(home.path())?);
        let environment = Environment::new(opened, runtime.clone(), &name, None, options)?;
        let endpoint = runtime.identify().await?.endpoint;
        let socket = endpoint.strip_prefix("unix://").unwrap_or(&endpoint);
        let raw = Raw::connect(Path::new(socket), available.dialect).await?;
        let ports: Vec<PortMapping> = vec![PORT.to_string().parse()?];
        let request = UpRequest {
            application: Some(Requested {
                image: Some(ImageRequest::Name(IMAGE.to_owned())),
                spec: ContainerSpec {
                    command: Some(COMMAND.map(str::to_owned).into()),
                    ..ContainerSpec::default()
                },
                ports,
                readiness: Some(Readiness::of(Check::Tcp { port: PORT })),
            }),
            recreate: false,
        };
        environment.up(&request).await?;
        Ok(Self {
            environment,
            raw,
            runtime,
            imported,
            _home: home,
        })
    }

    /// Runs the same application by bare calls.
    pub async fn run_raw(&mut self, name: &str) -> Result<()> {
        self.raw.run(name, IMAGE, &COMMAND).await
    }

    /// Brings it down and removes all of it.
    pub async fn down(self) -> Result<()> {
        let purge = DownRequest {
            save: false,
            purge: true,
        };
        self.environment.down(purge).await?;
        if self.imported {
            self.runtime.remove_image(IMAGE).await?;
        }
        Ok(())
    }
}
