//! `history`: the operation log.

use clap::Args;
use serde::Serialize;
use statefork_core::Operation;

use crate::call::Call;
use crate::documents::{Phases, ms, time};
use crate::failure::Result;
use crate::text::{self, Layout, first_line, table};

/// Show the log of operations, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork --json history")]
pub(crate) struct History {}

#[derive(Serialize)]
struct HistoryDocument {
    operations: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    seq: i64,
    operation: &'static str,
    branch: Option<String>,
    target: Option<String>,
    runtime: String,
    started_at: String,
    duration_ms: Option<f64>,
    phases: Phases,
    usable_ms: Option<f64>,
    warm: Option<bool>,
    outcome: &'static str,
    error: Option<String>,
}

impl From<&Operation> for Entry {
    fn from(operation: &Operation) -> Self {
        Self {
            seq: operation.seq,
            operation: operation.kind.as_str(),
            branch: operation.branch.clone(),
            target: operation.target.as_ref().map(ToString::to_string),
            runtime: operation.runtime.clone(),
            started_at: time(operation.started_at),
            duration_ms: operation.duration.map(ms),
            phases: Phases(operation.phases.clone()),
            usable_ms: operation.usable.map(ms),
            warm: operation.warm,
            outcome: operation.outcome.as_str(),
            error: operation.error.clone(),
        }
    }
}

impl History {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let operations = opened.environment.history()?;
        let document = HistoryDocument {
            operations: operations.iter().map(Into::into).collect(),
        };
        call.answer(|| &document, |layout| shown(&operations, layout))
    }
}

fn shown(operations: &[Operation], layout: Layout) -> String {
    let none = || "-".to_owned();
    let rows = operations.iter().map(|operation| {
        [
            operation.seq.to_string(),
            text::time(operation.started_at),
            text::operation(operation.kind, operation.warm),
            operation
                .target
                .as_ref()
                .map_or_else(none, ToString::to_string),
            operation.outcome.as_str().to_owned(),
            operation.duration.map_or_else(none, text::duration),
            operation.usable.map_or_else(none, text::duration),
            operation
                .error
                .as_deref()
                .map_or_else(String::new, first_line),
        ]
    });
    table(
        [
            "SEQ",
            "STARTED",
            "OPERATION",
            "TARGET",
            "OUTCOME",
            "DURATION",
            "USABLE",
            "ERROR",
        ],
        rows,
        layout,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use statefork_core::{OperationKind, Outcome};
    use statefork_runtime::Phase;

    use super::super::list::tests::PLAIN;
    use super::*;

    fn operation(outcome: Outcome) -> Operation {
        Operation {
            seq: 7,
            kind: OperationKind::Restore,
            environment: "shop".to_owned(),
            branch: Some("main".to_owned()),
            target: None,
            snapshot_kind: None,
            runtime: "fake".to_owned(),
            started_at: Timestamp::UNIX_EPOCH + Duration::from_micros(1_764_000_000_123_456),
            duration: Some(Duration::from_micros(812_345)),
            usable: Some(Duration::from_micros(701_000)),
            warm: Some(outcome == Outcome::Done),
            phases: vec![
                (Phase::Pause, Duration::from_micros(1_500)),
                (Phase::Create, Duration::from_millis(80)),
            ],
            outcome,
            error: (outcome == Outcome::Failed).then(|| "start it\nlog".to_owned()),
        }
    }

    #[test]
    fn operations_are_a_table() {
        let running = Operation {
            duration: None,
            usable: None,
            ..operation(Outcome::Running)
        };
        let operations = [
            operation(Outcome::Done),
            operation(Outcome::Failed),
            running,
        ];
        insta::assert_snapshot!(shown(&operations, PLAIN), @r#"
        SEQ  STARTED               OPERATION       TARGET  OUTCOME  DURATION  USABLE  ERROR
        7    2025-11-24 16:00:00Z  restore (warm)  -       done     812 ms    701 ms
        7    2025-11-24 16:00:00Z  restore         -       failed   812 ms    701 ms  start it …
        7    2025-11-24 16:00:00Z  restore         -       running  -         -
        "#);
    }

    #[test]
    fn a_row_of_the_log_as_json() {
        insta::assert_json_snapshot!(Entry::from(&operation(Outcome::Done)), @r#"
        {
          "seq": 7,
          "operation": "restore",
          "branch": "main",
          "target": null,
          "runtime": "fake",
          "started_at": "2025-11-24T16:00:00.123456Z",
          "duration_ms": 812.345,
          "phases": {
            "pause": 1.5,
            "create": 80.0
          },
          "usable_ms": 701.0,
          "warm": true,
          "outcome": "done",
          "error": null
        }
        "#);
    }
}
