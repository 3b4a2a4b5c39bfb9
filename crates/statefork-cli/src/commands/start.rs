//! `start`: the branch's container goes on with its changes.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::LifecycleReport;

use crate::call::Call;
use crate::documents::{Port, Took, ports};
use crate::failure::Result;
use crate::text;

/// Start the container, which has kept its changes, and wait until it can be used
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork start")]
pub(crate) struct Start {}

#[derive(Serialize)]
struct LifecycleDocument {
    branch: String,
    container: String,
    ports: Vec<Port>,
    already: bool,
    #[serde(flatten)]
    took: Option<Took>,
}

impl Start {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let work = opened.environment.start();
        let report = opened.progress.during("starting it", work).await?;
        answer(call, &report, "running")
    }
}

/// Answers with what a container is now.
pub(super) fn answer(call: &Call<'_>, report: &LifecycleReport, state: &str) -> Result<()> {
    let document = || LifecycleDocument {
        branch: report.branch.clone(),
        container: report.container.to_string(),
        ports: ports(&report.ports),
        already: report.timing.is_none(),
        took: report.timing.as_ref().map(Into::into),
    };
    call.answer(document, |_| {
        let container = report.container.short();
        match &report.timing {
            Some(timing) => {
                let took = text::duration(timing.usable);
                format!("container {container} is {state} after {took}\n")
            }
            None => format!("container {container} was {state} already\n"),
        }
    })
}
