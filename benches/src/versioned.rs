//! target-app in an environment that prepares containers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use statefork_core::Environment;
use statefork_core::config::{Check, Standby};
use statefork_core::environment::UpRequest;
use statefork_runtime::{ContainerSpec, Runtime, Usage};

use crate::fixture::{PORT, application, environment, purge};
use crate::images::TARGET_APP;
use crate::runtimes::Available;

/// Between two looks whether a container is prepared.
const LOOK: Duration = Duration::from_millis(20);

/// The application, up.
pub struct Versioned {
    /// Its environment.
    pub environment: Environment,
    /// Where it answers.
    pub address: SocketAddr,
    runtime: Arc<dyn Runtime>,
    imported: bool,
}

impl Versioned {
    /// Brings it up in the home that the runtime was opened for.
    pub async fn up(available: &Available, home: &Path, standby: Standby) -> Result<Self> {
        let runtime = available.runtime.clone();
        let imported = TARGET_APP.import(runtime.as_ref()).await?;
        let name = format!("bench-{:08x}", rand::random::<u32>());
        let environment = environment(home, runtime.clone(), &name)?;
        let check = Check::Http {
            port: PORT,
            path: "/health".to_owned(),
        };
        let request = UpRequest {
            standby: Some(standby),
            ..application(TARGET_APP.name, ContainerSpec::default(), check)?
        };
        let up = environment.up(&request).await?;
        let address = up.ports.first().context("no port")?.host_address();
        Ok(Self {
            environment,
            address,
            runtime,
            imported,
        })
    }

    /// Returns once a container is prepared from a snapshot, which must be so within `patience`.
    pub async fn until_prepared(&self, snapshot: &str, patience: Duration) -> Result<()> {
        until_prepared(&self.environment, snapshot, patience).await
    }

    /// What the container takes that is prepared.
    pub async fn prepared_usage(&self) -> Result<Usage> {
        let list = self.environment.branches().await?;
        let branches = list.into_iter().flat_map(|list| list.branches);
        let mut prepared = branches.flat_map(|branch| branch.standby);
        let prepared = prepared.next().context("none is prepared")?;
        let usage = self.runtime.usage(&prepared.container).await?;
        usage.context("the kernel does not tell what a container takes")
    }

    /// Brings it down and removes all of it.
    pub async fn down(self) -> Result<()> {
        purge(&self.environment).await?;
        if self.imported {
            self.runtime.remove_image(TARGET_APP.name).await?;
        }
        Ok(())
    }
}

/// Returns once a container is prepared from a snapshot, which must be so within `patience`.
pub(crate) async fn until_prepared(
    environment: &Environment,
    snapshot: &str,
    patience: Duration,
) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let list = environment.branches().await?;
        let branches = list.into_iter().flat_map(|list| list.branches);
        if branches
            .flat_map(|branch| branch.standby)
            .any(|prepared| prepared.snapshot.as_str() == snapshot)
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("no container is prepared within {patience:?}")
}
