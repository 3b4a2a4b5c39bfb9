//! `rm`: remove snapshots.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::RemoveReport;

use crate::call::Call;
use crate::documents::Took;
use crate::failure::Result;
use crate::text::duration;

/// Remove snapshots; what follows them stays
///
/// Their children become those of their parents. The head of a branch and the base cannot be
/// removed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork rm HEAD~1 4f1c")]
pub(crate) struct Rm {
    /// The snapshots
    #[arg(required = true, value_name = "REV")]
    revision: Vec<String>,
}

#[derive(Serialize)]
struct RmDocument {
    removed: Vec<Removed>,
}

#[derive(Serialize)]
struct Removed {
    id: String,
    #[serde(flatten)]
    took: Took,
}

impl From<&RemoveReport> for Removed {
    fn from(report: &RemoveReport) -> Self {
        Self {
            id: report.id.to_string(),
            took: (&report.timing).into(),
        }
    }
}

impl Rm {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        // All are named before any is gone: HEAD~2 means another snapshot without HEAD~1.
        let mut ids = Vec::new();
        for revision in &self.revision {
            let id = opened.environment.find(revision)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let mut reports = Vec::new();
        for id in ids {
            let work = opened.environment.remove_snapshot(id.as_str());
            let during = format!("removing {id}");
            reports.push(opened.progress.during(&during, work).await?);
        }
        let document = || RmDocument {
            removed: reports.iter().map(Into::into).collect(),
        };
        call.answer(document, |_| {
            let lines = reports.iter();
            lines
                .map(|report| {
                    let took = duration(report.timing.duration);
                    format!("removed {} in {took}\n", report.id)
                })
                .collect()
        })
    }
}
