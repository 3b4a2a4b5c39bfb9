//! `snapshot`: capture the current container.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use statefork_core::environment::{SnapshotReport, SnapshotRequest};

use crate::call::Call;
use crate::documents::{NotHeldPaths, Took, time};
use crate::failure::Result;
use crate::text;

/// Capture the container's files; it goes on running
///
/// Prints the snapshot's id.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  statefork snapshot -m 'before the upgrade'\n  statefork snapshot -t \
                  v1 --label ticket=42"
)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    settings: SnapshotSettings,
}

/// How to snapshot.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotSettings {
    /// What to remember it by
    #[arg(short, long)]
    message: Option<String>,
    /// Name it
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
    /// Label it; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Do not freeze the processes meanwhile; files may then be of different moments
    #[arg(long)]
    no_pause: bool,
}

/// A snapshot that was taken.
#[derive(Serialize)]
pub(crate) struct SnapshotDocument {
    id: String,
    parent: Option<String>,
    kind: &'static str,
    branch: String,
    message: Option<String>,
    tags: Vec<String>,
    labels: BTreeMap<String, String>,
    created_at: String,
    size_bytes: u64,
    not_held: NotHeldPaths,
    #[serde(flatten)]
    took: Took,
}

impl SnapshotSettings {
    pub(crate) fn request(&self) -> SnapshotRequest {
        SnapshotRequest {
            message: self.message.clone(),
            tag: self.tag.clone(),
            labels: self.label.iter().cloned().collect(),
            pause: !self.no_pause,
        }
    }
}

impl From<&SnapshotReport> for SnapshotDocument {
    fn from(report: &SnapshotReport) -> Self {
        let snapshot = &report.snapshot;
        Self {
            id: snapshot.id.to_string(),
            parent: snapshot.parent.as_ref().map(ToString::to_string),
            kind: snapshot.kind.as_str(),
            branch: report.branch.clone(),
            message: snapshot.message.clone(),
            tags: snapshot.tags.clone(),
            labels: snapshot.labels.clone(),
            created_at: time(snapshot.created_at),
            size_bytes: snapshot.size_bytes,
            not_held: NotHeldPaths(snapshot.not_held.clone()),
            took: (&report.timing).into(),
        }
    }
}

impl Snapshot {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.open()?;
        let request = self.settings.request();
        let work = opened.environment.snapshot(&request);
        let report = opened.progress.during("taking a snapshot", work).await?;
        answer(call, &report, "snapshot")
    }
}

/// The id alone on standard output, the rest aside.
pub(crate) fn answer(call: &Call<'_>, report: &SnapshotReport, what: &str) -> Result<()> {
    call.answer(
        || SnapshotDocument::from(report),
        |_| format!("{}\n", report.snapshot.id),
    )?;
    if !call.session.output.json {
        call.session.output.remark(&format!(
            "{what} of {} in {}",
            text::size(report.snapshot.size_bytes),
            text::duration(report.timing.duration)
        ));
    }
    Ok(())
}

/// `KEY=VALUE`; the value may be empty, and may hold `=`.
fn parse_label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_keys_with_values() {
        let label = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(parse_label("a=b=c"), label("a", "b=c"));
        assert_eq!(parse_label("a="), label("a", ""));
        assert!(parse_label("a").is_err());
        assert!(parse_label("=b").is_err());
    }
}
