//! The one list of runtimes, and which of them answer.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use statefork_runtime::{Runtime, RuntimeIdentity, RuntimeOptions};

use crate::fixture::program;
use crate::raw::{DOCKER, Dialect, PODMAN, Raw};

type Open = fn(&RuntimeOptions) -> Result<Arc<dyn Runtime>>;

/// How each runtime is opened, and how its daemon is spoken to without us, if it has one. Whoever
/// joins this list is in every benchmark.
const RUNTIMES: [(Open, Option<Dialect>); 3] = [
    (
        |options| Ok(Arc::new(statefork_native::open(options)?)),
        None,
    ),
    (
        |options| Ok(Arc::new(statefork_docker::open(options)?)),
        Some(DOCKER),
    ),
    (
        |options| Ok(Arc::new(statefork_podman::open(options)?)),
        Some(PODMAN),
    ),
];

/// A runtime that answers.
#[derive(Clone)]
pub struct Available {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Which one answered.
    pub identity: RuntimeIdentity,
    dialect: Option<Dialect>,
}

impl Available {
    /// Whether it has a daemon, which can be spoken to without us.
    pub fn has_daemon(&self) -> bool {
        self.dialect.is_some()
    }

    /// A bare connection to its daemon; `None` where it has none.
    pub async fn raw(&self) -> Result<Option<Raw>> {
        let Some(dialect) = self.dialect else {
            return Ok(None);
        };
        let endpoint = &self.identity.endpoint;
        let socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        Raw::connect(Path::new(socket), dialect).await.map(Some)
    }
}

/// A runtime that does not answer.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Its name.
    pub name: &'static str,
    /// Why; reads after "failed to".
    pub reason: String,
}

/// How a runtime is opened that has no daemon and keeps what it has in a folder; one with a daemon is
/// opened as usual.
pub fn storage_options(storage: &Path) -> Result<RuntimeOptions> {
    Ok(RuntimeOptions {
        storage: Some(storage.to_owned()),
        helper: Some(program("statefork-shim")?),
        ..RuntimeOptions::default()
    })
}

/// The runtimes that answer, and those that do not. `home` is that of the environments: one that has no
/// daemon keeps there what it has, as `statefork` has it do.
pub async fn examine(home: &Path) -> Result<(Vec<Available>, Vec<Skipped>)> {
    let (mut available, mut skipped) = (Vec::new(), Vec::new());
    let options = storage_options(&home.join(statefork_native::NAME))?;
    for (open, dialect) in RUNTIMES {
        let runtime = open(&options)?;
        match runtime.identify().await {
            Ok(identity) => available.push(Available {
                runtime,
                identity,
                dialect,
            }),
            Err(error) => skipped.push(Skipped {
                name: runtime.name(),
                reason: error.to_string(),
            }),
        }
    }
    Ok((available, skipped))
}

/// The runtimes that answer; of the others the reason is told.
pub async fn available(home: &Path) -> Result<Vec<Available>> {
    let (available, skipped) = examine(home).await?;
    for Skipped { name, reason } in skipped {
        println!("{name}: skipped: failed to {reason}");
    }
    Ok(available)
}
