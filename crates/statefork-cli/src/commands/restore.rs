//! `restore`: go back to a snapshot.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::{RestoreReport, RestoreRequest};

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
                        restore --save 4f1c~2\n  statefork restore -"
)]
pub(crate) struct Restore {
    /// The snapshot: HEAD, a branch, a tag, an id or its first digits; ^ and ~N go to ancestors,
    /// @{N} to where the head was N moves ago, and - is @{1}
    #[arg(value_name = "REV")]
    revision: String,
    /// Take a snapshot of what changed first
    #[arg(long)]
    save: bool,
    /// End only once the old container is gone
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct RestoreDocument {
    id: String,
    branch: String,
    container: String,
    ports: Vec<Port>,
    saved: Option<String>,
    warm: Option<bool>,
    #[serde(flatten)]
    took: Took,
}

impl Restore {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let request = RestoreRequest {
            revision: self.revision.clone(),
            save: self.save,
            wait: self.wait,
        };
        let work = opened.environment.restore(&request);
        let during = format!("restoring {}", self.revision);
        let report = opened.progress.during(&during, work).await?;
        answer(call, &report)
    }
}

/// Answers with what a branch was brought back to.
pub(super) fn answer(call: &Call<'_>, report: &RestoreReport) -> Result<()> {
    let document = || RestoreDocument {
        id: report.id.to_string(),
        branch: report.branch.clone(),
        container: report.container.to_string(),
        ports: ports(&report.ports),
        saved: report.saved.as_ref().map(ToString::to_string),
        warm: report.timing.warm,
        took: (&report.timing).into(),
    };
    call.answer(document, |_| shown(report))
}

fn shown(report: &RestoreReport) -> String {
    let mut text = String::new();
    if let Some(saved) = &report.saved {
        text.push_str(&format!("saved as {saved}\n"));
    }
    text.push_str(&format!(
        "restored {} in {}{}: container {}\n",
        report.id,
        text::duration(report.timing.usable),
        match report.timing.warm {
            Some(true) => " (warm)",
            _ => "",
        },
        report.container.short()
    ));
    text
}
