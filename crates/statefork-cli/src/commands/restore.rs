//! `restore`: go back to a snapshot.

use clap::Args;
use serde::Serialize;

use crate::call::Call;
use crate::documents::{Port, Took, ports};
use crate::failure::Result;
use crate::text;

/// Bring the application back to a snapshot
///
/// What changed since the last snapshot is lost. The old container goes only once the new one can
/// be used; if it never can, the old one goes on.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  statefork restore HEAD\n  statefork restore base\n  statefork \
                        restore 4f1c~2"
)]
pub(crate) struct Restore {
    /// The snapshot: HEAD, base, a branch, an id or its first digits; ^ and ~N go to ancestors
    #[arg(value_name = "REV")]
    revision: String,
}

#[derive(Serialize)]
struct RestoreDocument {
    id: String,
    branch: String,
    container: String,
    ports: Vec<Port>,
    #[serde(flatten)]
    took: Took,
}

impl Restore {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let work = opened.environment.restore(&self.revision);
        let during = format!("restoring {}", self.revision);
        let report = opened.progress.during(&during, work).await?;
        let document = RestoreDocument {
            id: report.id.to_string(),
            branch: report.branch.clone(),
            container: report.container.to_string(),
            ports: ports(&report.ports),
            took: (&report.timing).into(),
        };
        call.answer(
            || &document,
            |_| {
                format!(
                    "restored {} in {}: container {}\n",
                    report.id,
                    text::duration(report.timing.usable),
                    report.container.short()
                )
            },
        )
    }
}
