//! `exec` and `logs`: in the branch's container.

use statefork_runtime::{Exec, ExecRequest, LogRequest, OutputStream};

use super::Environment;
use crate::error::Result;
use crate::lock::LockMode;

impl Environment {
    /// Runs a further command in the branch's container. Holds a lock until it has begun only: it
    /// may run for long, and ends with the container.
    pub async fn exec(&self, request: &ExecRequest) -> Result<Exec> {
        let run = async {
            let branch = self.branch_name()?;
            let _not_frozen = self.lock_processes(&branch, LockMode::Shared).await?;
            let live = self.live_on(&branch).await?;
            Ok(self.runtime.exec(&live.container.id, request).await?)
        };
        run.await.map_err(|error: crate::CoreError| {
            let program = request.argv.first().map_or("", String::as_str);
            error.in_operation(format!("run {program:?} in the container"))
        })
    }

    /// What the branch's application wrote.
    pub async fn logs(&self, request: LogRequest) -> Result<OutputStream> {
        let read = async {
            let live = self.live().await?;
            Ok(self.runtime.logs(&live.container.id, request).await?)
        };
        read.await
            .map_err(|error: crate::CoreError| error.in_operation("read the application's output"))
    }
}
