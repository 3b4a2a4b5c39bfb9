//! `down`: stop and remove what was made.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::{DownReport, DownRequest};

use crate::call::Call;
use crate::documents::{Phases, ms};
use crate::failure::Result;
use crate::text::{count, duration};

/// Stop and remove the application's containers; snapshots stay
///
/// What changed since the last snapshot is lost unless it is saved.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork down --save\n  statefork down --purge")]
pub(crate) struct Down {
    /// Take a snapshot of each branch first
    #[arg(long)]
    save: bool,
    /// Remove the snapshots and the images made for it too
    #[arg(long)]
    purge: bool,
}

#[derive(Serialize)]
struct DownDocument {
    saved: Vec<String>,
    containers: usize,
    snapshots: usize,
    operation: Option<i64>,
    duration_ms: Option<f64>,
    phases: Option<Phases>,
}

impl Down {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let request = DownRequest {
            save: self.save,
            purge: self.purge,
        };
        let work = opened.environment.down(request);
        let report = opened.progress.during("bringing it down", work).await?;
        let timing = report.timing.as_ref();
        let document = DownDocument {
            saved: report.saved.iter().map(ToString::to_string).collect(),
            containers: report.containers,
            snapshots: report.snapshots,
            operation: timing.map(|timing| timing.operation),
            duration_ms: timing.map(|timing| ms(timing.duration)),
            phases: timing.map(|timing| Phases(timing.phases.clone())),
        };
        let name = opened.environment.name();
        call.answer(|| &document, |_| shown(name, &report))
    }
}

fn shown(environment: &str, report: &DownReport) -> String {
    let Some(timing) = &report.timing else {
        return format!("environment {environment:?} was down already\n");
    };
    let mut done = vec![format!("removed {}", count(report.containers, "container"))];
    if report.snapshots > 0 {
        done.push(count(report.snapshots, "snapshot"));
    }
    let mut text = format!(
        "environment {environment:?} is down after {}: {}\n",
        duration(timing.duration),
        done.join(" and ")
    );
    for saved in &report.saved {
        text.push_str(&format!("saved as {saved}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use statefork_core::Timing;

    use super::*;

    #[test]
    fn what_was_removed_is_said() {
        let mut report = DownReport {
            saved: Vec::new(),
            containers: 1,
            snapshots: 0,
            timing: None,
        };
        assert_eq!(
            shown("shop", &report),
            "environment \"shop\" was down already\n"
        );
        report.timing = Some(Timing {
            operation: 1,
            duration: Duration::from_millis(120),
            usable: Duration::from_millis(120),
            warm: None,
            phases: Vec::new(),
        });
        assert_eq!(
            shown("shop", &report),
            "environment \"shop\" is down after 120 ms: removed 1 container\n"
        );
        report.snapshots = 2;
        assert_eq!(
            shown("shop", &report),
            "environment \"shop\" is down after 120 ms: removed 1 container and 2 snapshots\n"
        );
    }
}
