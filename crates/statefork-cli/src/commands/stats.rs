//! `stats`: how long operations take.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use statefork_core::{Figures, StatRow};

use crate::call::Call;
use crate::documents::ms;
use crate::failure::Result;
use crate::text::{self, Layout, table};

/// Show how long operations and their phases took
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork stats")]
pub(crate) struct Stats {}

#[derive(Serialize)]
struct StatsDocument {
    stats: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    runtime: String,
    operation: &'static str,
    kind: Option<&'static str>,
    warm: Option<bool>,
    phase: Option<&'static str>,
    count: usize,
    failed: usize,
    mean_ms: Option<f64>,
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl From<&StatRow> for Row {
    fn from(row: &StatRow) -> Self {
        let figure = |of: fn(&Figures) -> Duration| row.figures.as_ref().map(of).map(ms);
        Self {
            runtime: row.runtime.clone(),
            operation: row.operation.as_str(),
            kind: row.kind.map(|kind| kind.as_str()),
            warm: row.warm,
            phase: row.phase,
            count: row.count,
            failed: row.failed,
            mean_ms: figure(|figures| figures.mean),
            median_ms: figure(|figures| figures.median),
            p95_ms: figure(|figures| figures.p95),
            min_ms: figure(|figures| figures.min),
            max_ms: figure(|figures| figures.max),
        }
    }
}

impl Stats {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let rows = opened.environment.stats()?;
        let document = StatsDocument {
            stats: rows.iter().map(Into::into).collect(),
        };
        call.answer(|| &document, |layout| shown(&rows, layout))
    }
}

fn shown(rows: &[StatRow], layout: Layout) -> String {
    let rows = rows.iter().map(|row| {
        let figure = |of: fn(&Figures) -> Duration| match &row.figures {
            Some(figures) => text::duration(of(figures)),
            None => "-".to_owned(),
        };
        let (operation, phase) = match row.phase {
            None => (text::operation(row.operation, row.warm), "whole"),
            Some(phase) => (String::new(), phase),
        };
        [
            operation,
            phase.to_owned(),
            row.count.to_string(),
            row.failed.to_string(),
            figure(|figures| figures.mean),
            figure(|figures| figures.median),
            figure(|figures| figures.p95),
            figure(|figures| figures.min),
            figure(|figures| figures.max),
        ]
    });
    table(
        [
            "OPERATION",
            "PHASE",
            "COUNT",
            "FAILED",
            "MEAN",
            "MEDIAN",
            "P95",
            "MIN",
            "MAX",
        ],
        rows,
        layout,
    )
}

#[cfg(test)]
mod tests {
    use statefork_core::OperationKind;

    use super::super::list::tests::PLAIN;
    use super::*;

    fn row(phase: Option<&'static str>, figures: Option<Figures>) -> StatRow {
        StatRow {
            runtime: "fake".to_owned(),
            operation: OperationKind::Up,
            kind: None,
            warm: None,
            phase,
            count: figures.map_or(0, |_| 2),
            failed: 1,
            figures,
        }
    }

    #[test]
    fn figures_are_a_table() {
        let figures = Figures::of(vec![Duration::from_millis(2), Duration::from_millis(1500)]);
        let rows = [
            row(None, figures),
            row(Some("usable"), figures),
            row(None, None),
        ];
        insta::assert_snapshot!(shown(&rows, PLAIN), @r#"
        OPERATION  PHASE   COUNT  FAILED  MEAN    MEDIAN  P95     MIN      MAX
        up         whole   2      1       751 ms  751 ms  1.50 s  2.00 ms  1.50 s
                   usable  2      1       751 ms  751 ms  1.50 s  2.00 ms  1.50 s
        up         whole   0      1       -       -       -       -        -
        "#);
        insta::assert_json_snapshot!(Row::from(&rows[2]), @r#"
        {
          "runtime": "fake",
          "operation": "up",
          "kind": null,
          "warm": null,
          "phase": null,
          "count": 0,
          "failed": 1,
          "mean_ms": null,
          "median_ms": null,
          "p95_ms": null,
          "min_ms": null,
          "max_ms": null
        }
        "#);
    }
}
