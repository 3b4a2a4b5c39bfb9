//! What the benchmark wrote down: one JSON document a line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cells::Cell;

/// A line.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record {
    /// A runtime that took part.
    Runtime { name: String, version: String },
    /// One that did not.
    Skipped { name: String, reason: String },
    /// One operation.
    Sample(Box<Line>),
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    #[serde(flatten)]
    cell: Cell,
    runtime: String,
    naive: bool,
    #[serde(flatten)]
    sample: Sample,
}

/// One operation. Durations are in ms; what does not apply is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// In which round of the comparison, from 0.
    pub(crate) round: usize,
    /// Until the call came back, by the benchmark's clock.
    pub(crate) total_ms: f64,
    /// Until the new container had been started.
    pub(crate) start_ms: Option<f64>,
    /// Until the application answered over HTTP at its address.
    pub(crate) usable_ms: Option<f64>,
    /// The duration in the operation log.
    pub(crate) logged_ms: Option<f64>,
    /// The phases in the operation log.
    pub(crate) phases: Vec<(String, f64)>,
    /// What was stored.
    pub(crate) stored_bytes: Option<u64>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tool {
    /// On which runtime.
    pub(crate) runtime: String,
    /// Whether it was the naive way.
    pub(crate) naive: bool,
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let naive = if self.naive { " naive" } else { "" };
        f.pad(&format!("{}{naive}", self.runtime))
    }
}

/// The cell of a line that is a sample; of one that is still being written, nothing.
pub(super) fn cell(line: &str) -> Option<Cell> {
    match serde_json::from_str(line).ok()? {
        Record::Sample(line) => Some(line.cell),
        Record::Runtime { .. } | Record::Skipped { .. } => None,
    }
}

/// All lines of a comparison.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// The daemons' versions, by runtime.
    pub(super) versions: BTreeMap<String, String>,
    /// Why runtimes did not take part.
    pub(super) skipped: BTreeMap<String, String>,
    /// What each tool did of each cell, in the order in which it was measured.
    pub(super) cells: BTreeMap<Cell, BTreeMap<Tool, Vec<Sample>>>,
}

impl Samples {
    /// Reads lines.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut samples = Self::default();
        for (number, line) in text.lines().enumerate() {
            let record = serde_json::from_str(line)
                .with_context(|| format!("read line {} of the samples", number + 1))?;
            match record {
                Record::Runtime { name, version } => {
                    samples.versions.insert(name, version);
                }
                Record::Skipped { name, reason } => {
                    samples.skipped.insert(name, reason);
                }
                Record::Sample(line) => {
                    let tool = Tool {
                        runtime: line.runtime,
                        naive: line.naive,
                    };
                    let tools = samples.cells.entry(line.cell).or_default();
                    tools.entry(tool).or_default().push(line.sample);
                }
            }
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as the benchmark writes them.
    const LINES: &str = r#"{"record":"runtime","name":"docker","version":"20.10"}
{"record":"skipped","name":"podman","reason":"reach Podman"}
{"record":"sample","operation":"step","payload":"1mb","depth":1,"runtime":"docker","naive":false,"round":0,"total_ms":900.5,"start_ms":300.0,"usable_ms":800.0,"logged_ms":900.0,"phases":[["capture",80.0],["ready",500.0]],"stored_bytes":1000000}
{"record":"sample","operation":"step","payload":"1mb","depth":1,"runtime":"docker","naive":true,"round":0,"total_ms":990.0,"start_ms":400.0,"usable_ms":990.0,"logged_ms":null,"phases":[],"stored_bytes":1000000}
"#;

    #[test]
    fn lines_are_sorted_by_cell_and_tool() {
        let samples = Samples::read(LINES).unwrap();
        assert_eq!(LINES.lines().filter_map(cell).count(), 2);
        assert_eq!(samples.versions["docker"], "20.10");
        assert_eq!(samples.skipped["podman"], "reach Podman");
        let (cell, tools) = samples.cells.first_key_value().unwrap();
        assert_eq!(cell.to_string(), "step, 1 MB, depth 1");
        let names: Vec<String> = tools.keys().map(Tool::to_string).collect();
        assert_eq!(names, ["docker", "docker naive"]);
        let ours = &tools.values().next().unwrap()[0];
        assert_eq!(ours.phases[0], ("capture".to_owned(), 80.0));
        assert_eq!(ours.logged_ms, Some(900.0));
    }

    #[test]
    fn a_line_that_is_cut_off_is_named() {
        let error = Samples::read("{\"record\":\"sam").unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
