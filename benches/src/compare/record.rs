//! What a run of the comparison writes down: one JSON document a line.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use statefork_runtime::Phase;

use super::{Cell, Timed, Tool};

/// A line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A runtime that takes part.
    Runtime {
        /// Its name.
        name: String,
        /// The daemon's version.
        version: String,
    },
    /// A runtime that does not.
    Skipped {
        /// Its name.
        name: String,
        /// Why; reads after "failed to".
        reason: String,
    },
    /// One operation.
    Sample(Box<Sample>),
}

/// One operation. Durations are in ms.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    cell: Cell,
    runtime: String,
    naive: bool,
    round: usize,
    total_ms: f64,
    start_ms: Option<f64>,
    usable_ms: Option<f64>,
    logged_ms: Option<f64>,
    phases: Vec<(Phase, f64)>,
    stored_bytes: Option<u64>,
}

impl Sample {
    /// What a tool took for a cell.
    pub fn new(cell: Cell, tool: &dyn Tool, round: usize, timed: &Timed) -> Self {
        let phases = timed.phases.iter();
        Self {
            cell,
            runtime: tool.runtime().to_owned(),
            naive: tool.is_naive(),
            round,
            total_ms: ms(timed.total),
            start_ms: timed.start.map(ms),
            usable_ms: timed.usable.map(ms),
            logged_ms: timed.logged.map(ms),
            phases: phases.map(|(phase, took)| (*phase, ms(*took))).collect(),
            stored_bytes: timed.stored_bytes,
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Where the lines go.
pub struct Records(Option<File>);

impl Records {
    /// To the end of a file; to nowhere without one.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let file = path.map(|path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("open {}", path.display()))
        });
        Ok(Self(file.transpose()?))
    }

    /// Writes one.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        file.write_all(&line).context("write a sample")
    }
}
