//! `step`: snapshot, then go on in a new container made from it.

use clap::Args;

use super::snapshot::{SnapshotSettings, answer};
use crate::call::Call;
use crate::failure::Result;

/// Take a snapshot and go on in a new container made from it
///
/// Prints the snapshot's id. The application's processes are new, its address stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork step -m 'dependencies installed'")]
pub(crate) struct Step {
    #[command(flatten)]
    settings: SnapshotSettings,
}

impl Step {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let request = self.settings.request();
        let work = opened.environment.step(&request);
        let report = opened.progress.during("taking a step", work).await?;
        answer(call, &report, "step")
    }
}
