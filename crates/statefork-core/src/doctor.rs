//! `doctor`: what a runtime can do here, found by doing it now.

use statefork_runtime::{Capabilities, Runtime, RuntimeError, RuntimeIdentity};

use crate::error::{CoreError, Result};
use crate::home::Home;
use crate::probing::probe_runtime;

/// A runtime as it answers.
#[derive(Debug)]
pub enum Examined {
    /// It answers.
    Available {
        /// Who it is.
        identity: RuntimeIdentity,
        /// What it can do.
        capabilities: Box<Capabilities>,
    },
    /// It does not.
    Unavailable(RuntimeError),
}

/// Examines a runtime, and keeps what was found.
pub async fn examine(home: &Home, runtime: &dyn Runtime) -> Result<Examined> {
    let probed = async {
        let identity = runtime.identify().await?;
        let capabilities = probe_runtime(home.store(), runtime).await?;
        Ok((identity, capabilities))
    };
    match probed.await {
        Ok((identity, capabilities)) => {
            let fingerprint = &identity.fingerprint;
            home.store()
                .keep_probe(runtime.name(), fingerprint, &capabilities)?;
            Ok(Examined::Available {
                identity,
                capabilities: Box::new(capabilities),
            })
        }
        Err(CoreError::Runtime(error)) => Ok(Examined::Unavailable(error)),
        Err(error) => Err(error),
    }
}
