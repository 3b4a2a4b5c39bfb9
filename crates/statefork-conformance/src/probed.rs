//! What a runtime can do, found out once for all processes of a run of tests.
//!
//! nextest gives each case a process of its own, and a probe takes a second or two.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde_json::json;
use statefork_runtime::{Capabilities, ObjectId, Runtime, RuntimeError};

use crate::case::chain;

/// What nextest tells each process of a run.
const RUN: &str = "NEXTEST_RUN_ID";

/// What was found, and for which daemon.
#[derive(Clone, Debug)]
pub struct Probed {
    /// [`RuntimeIdentity::fingerprint`](statefork_runtime::RuntimeIdentity::fingerprint).
    pub fingerprint: String,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Probed {
    /// What an earlier process of this run found, whose file is in `scratch`; else what a probe
    /// finds now.
    ///
    /// # Errors
    ///
    /// A text that says why not, when the runtime does not answer or the file cannot be used.
    pub async fn of(runtime: &dyn Runtime, scratch: &Path) -> Result<Self, String> {
        let explained = |error: RuntimeError| chain(&error);
        let fingerprint = runtime.identify().await.map_err(explained)?.fingerprint;
        let probe = async {
            let object = ObjectId::new(format!("{:016x}", rand::random::<u64>()));
            runtime.probe(&object).await.map_err(explained)
        };
        let Ok(run) = std::env::var(RUN) else {
            return Ok(Self {
                fingerprint,
                capabilities: probe.await?,
            });
        };
        let path = scratch.join(format!("probed-{}.json", runtime.name()));
        let unusable = |error: io::Error| format!("use {}: {error}", path.display());
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        // The first one probes while the others wait.
        file.lock().map_err(unusable)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        // Another run's, or half of one that was killed, is as good as none.
        let known = serde_json::from_str::<serde_json::Value>(&text).ok();
        let known = known.filter(|known| known["run"] == *run && known["daemon"] == *fingerprint);
        let known =
            known.and_then(|known| serde_json::from_value(known["capabilities"].clone()).ok());
        let capabilities = match known {
            Some(capabilities) => capabilities,
            None => {
                let found = probe.await?;
                let text = json!({ "run": run, "daemon": fingerprint, "capabilities": found });
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(text.to_string().as_bytes()))
                    .map_err(unusable)?;
                found
            }
        };
        Ok(Self {
            fingerprint,
            capabilities,
        })
    }
}
