//! Starting a shim, from the command's side.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::client::Shim;
use crate::error::{Result, ShimError};
use crate::protocol::{StartReport, VERSION};

/// Between two looks at a shim that another process is starting or ending.
const RETRY: Duration = Duration::from_millis(5);

/// Connects to the shim of `dir`, which is started or replaced as needed. The caller bounds it.
pub(crate) async fn ensure(helper: &Path, dir: &Path) -> Result<Shim> {
    loop {
        if let Some(shim) = Shim::connect(dir).await? {
            match shim.hello().hello {
                VERSION => return Ok(shim),
                newer if newer > VERSION => {
                    return Err(ShimError::Version {
                        dir: dir.to_owned(),
                        build: shim.hello().build.clone(),
                    });
                }
                _ => shim.shutdown().await?,
            }
        }
        match start(helper, dir).await? {
            StartReport::Ready { .. } => {}
            // Started by somebody else just now, or about to end: either way a matter of ms.
            StartReport::AlreadyRunning { .. } => tokio::time::sleep(RETRY).await,
            StartReport::Failed { reason } => {
                return Err(ShimError::StartFailed {
                    dir: dir.to_owned(),
                    reason,
                });
            }
        }
    }
}

/// Runs the helper, which puts the shim into the background and ends.
async fn start(helper: &Path, dir: &Path) -> Result<StartReport> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| ShimError::Io {
            op: "make the directory",
            path: dir.to_owned(),
            source,
        })?;
    let output = Command::new(helper)
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| run_error(helper, source))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let reason = match said.lines().last() {
            Some(line) => format!("{} ended with {}: {line}", helper.display(), output.status),
            None => format!("{} ended with {}", helper.display(), output.status),
        };
        ShimError::StartFailed {
            dir: dir.to_owned(),
            reason,
        }
    })
}

fn run_error(helper: &Path, source: io::Error) -> ShimError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => ShimError::HelperMissing {
            path: helper.to_owned(),
            source,
        },
        _ => ShimError::Io {
            op: "run the helper program",
            path: helper.to_owned(),
            source,
        },
    }
}
