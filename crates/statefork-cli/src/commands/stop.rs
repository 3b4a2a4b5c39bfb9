//! `stop`: the branch's container ends and keeps its changes.

use clap::Args;

use super::start::answer;
use crate::call::Call;
use crate::failure::Result;

/// Stop the container, which keeps its changes
///
/// `statefork start` starts it again; its processes are new then.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork stop")]
pub(crate) struct Stop {}

impl Stop {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let work = opened.environment.stop();
        let report = opened.progress.during("stopping it", work).await?;
        answer(call, &report, "stopped")
    }
}
