//! An application that is up, on a runtime that is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use statefork_core::config::{Check, Hooks, MachineId, Readiness, Standby};
use statefork_core::environment::{
    Cancel, DownRequest, ImageRequest, Observer, Options, Programs, Requested, UpRequest,
};
use statefork_core::{Environment, Home};
use statefork_runtime::{ContainerSpec, PortMapping, Runtime};

use crate::images::BUSYBOX;
use crate::runtimes::Available;

/// The port that the application listens on in its container.
pub const PORT: u16 = 8000;
/// What runs in it: a server that listens at once.
pub const COMMAND: [&str; 4] = ["httpd", "-f", "-p", "8000"];

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

/// The programs of a home's environments.
fn programs(home: &Path) -> Result<Programs> {
    let statefork = program("statefork")?.display().to_string();
    Ok(Programs {
        helper: program("statefork-shim")?,
        worker: vec![statefork, "--home".to_owned(), home.display().to_string()],
    })
}

/// Keeps quiet.
struct Quiet;

impl Observer for Quiet {
    fn progress(&self, _: &str) {}
    fn build_output(&self, _: &str) {}
    fn notice(&self, _: &str) {}
}

/// An environment in a home.
pub(crate) fn environment(
    home: &Path,
    runtime: Arc<dyn Runtime>,
    name: &str,
) -> Result<Environment> {
    let options = Options {
        programs: Some(programs(home)?),
        standby_memory: None,
        freeze_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(10),
        stop_timeout: Duration::ZERO,
        builders: Vec::new(),
        cancel: Cancel::new(),
        observer: Arc::new(Quiet),
    };
    let home = Arc::new(Home::open(home)?);
    Ok(Environment::new(home, runtime, name, None, options)?)
}

/// An application with [`PORT`] published on any free port of the host, for which nothing is prepared
/// behind.
pub(crate) fn application(image: &str, spec: ContainerSpec, check: Check) -> Result<UpRequest> {
    let ports: Vec<PortMapping> = vec![PORT.to_string().parse()?];
    Ok(UpRequest {
        application: Some(Requested {
            image: Some(ImageRequest::Name(image.to_owned())),
            spec,
            ports,
            readiness: Some(Readiness::of(check)),
            hooks: Hooks::default(),
            machine_id: MachineId::Image,
        }),
        recreate: false,
        standby: Some(Standby::NONE),
    })
}

/// Removes all of an environment.
pub(crate) async fn purge(environment: &Environment) -> Result<()> {
    let purge = DownRequest {
        save: false,
        purge: true,
    };
    environment.down(purge).await?;
    Ok(())
}

/// An environment that is up.
pub struct Fixture {
    /// The environment.
    pub environment: Environment,
    runtime: Arc<dyn Runtime>,
    imported: bool,
}

impl Fixture {
    /// Brings it up in the home that the runtime was opened for.
    pub async fn up(available: &Available, home: &Path) -> Result<Self> {
        let runtime = available.runtime.clone();
        let imported = BUSYBOX.import(runtime.as_ref()).await?;
        let name = format!("bench-{:08x}", rand::random::<u32>());
        let environment = environment(home, runtime.clone(), &name)?;
        let spec = ContainerSpec {
            command: Some(COMMAND.map(str::to_owned).into()),
            ..ContainerSpec::default()
        };
        let request = application(BUSYBOX.name, spec, Check::Tcp { port: PORT })?;
        environment.up(&request).await?;
        Ok(Self {
            environment,
            runtime,
            imported,
        })
    }

    /// Brings it down and removes all of it.
    pub async fn down(self) -> Result<()> {
        purge(&self.environment).await?;
        if self.imported {
            self.runtime.remove_image(BUSYBOX.name).await?;
        }
        Ok(())
    }
}
