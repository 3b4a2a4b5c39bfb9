//! The report: what was measured and what follows from it. `report.json` is this, as serde writes it;
//! docs/measurements.md says what each key means.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cells::{Cell, Operation};
use super::delay::Delay;
use super::machine::{Commit, Machine};
use super::samples::{Sample, Samples, Tool};
use super::statistics::{Figures, Ratio, median};

/// Version of the form of `report.json`. A reader refuses any other.
const SCHEMA: u32 = 1;

/// Between which moments an operation is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Metric {
    /// Until the call came back.
    Total,
    /// Until the new container had been started.
    Start,
    /// Until the application answered at its address.
    Usable,
}

impl Metric {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Total, Self::Start, Self::Usable];

    /// What it is called.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "returned",
            Self::Start => "started",
            Self::Usable => "usable",
        }
    }

    /// Those by which an operation of ours is compared with the naive way, the one to quote last.
    pub(super) fn compared(operation: Operation) -> &'static [Self] {
        match operation {
            Operation::Snapshot => &[Self::Total],
            Operation::Step | Operation::Restore | Operation::Warm => &[Self::Start, Self::Usable],
        }
    }

    /// The one to quote.
    pub(super) fn main(operation: Operation) -> Self {
        match operation {
            Operation::Snapshot => Self::Total,
            Operation::Step | Operation::Restore | Operation::Warm => Self::Usable,
        }
    }

    /// That of samples which have it.
    pub(super) fn of(self, samples: &[Sample]) -> Vec<f64> {
        let one = |sample: &Sample| match self {
            Self::Total => Some(sample.total_ms),
            Self::Start => sample.start_ms,
            Self::Usable => sample.usable_ms,
        };
        samples.iter().filter_map(one).collect()
    }
}

/// What one tool did of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The cell.
    #[serde(flatten)]
    pub(crate) cell: Cell,
    /// The tool.
    #[serde(flatten)]
    pub(crate) tool: Tool,
    /// The figures in ms, of the metrics that there are.
    pub(crate) figures: BTreeMap<Metric, Figures>,
    /// The ratios to the naive way on the same runtime; none for the naive way itself.
    pub(crate) to_naive: BTreeMap<Metric, Ratio>,
    /// The median of each phase in ms, in the order of the log.
    pub(crate) phases: Vec<(String, f64)>,
    /// The median of the operation log's duration in ms.
    pub(crate) logged_ms: Option<f64>,
    /// The median of what the benchmark's clock has more than the operation log, in ms.
    pub(crate) beyond_log_ms: Option<f64>,
    /// The median of what was stored, in bytes.
    pub(crate) stored_bytes: Option<u64>,
    /// All samples, in the order in which they were taken.
    pub(crate) samples: Vec<Sample>,
}

impl Measured {
    /// What each phase took, sample by sample; 0 where one does not have it.
    pub(super) fn phase(&self, name: &str) -> Vec<f64> {
        let of = |sample: &Sample| {
            let found = sample.phases.iter().find(|(phase, _)| phase == name);
            found.map_or(0.0, |(_, ms)| *ms)
        };
        self.samples.iter().map(of).collect()
    }

    /// The names of its phases, in the order of the log.
    pub(super) fn phase_names(samples: &[Sample]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in samples.iter().flat_map(|sample| &sample.phases) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    fn new(cell: Cell, tool: &Tool, samples: Vec<Sample>, naive: Option<&[Sample]>) -> Self {
        let figures = Metric::ALL.map(|metric| Some((metric, Figures::of(&metric.of(&samples))?)));
        let to_naive = naive.map_or_else(BTreeMap::new, |naive| {
            let metrics = Metric::compared(cell.operation).iter();
            let ratio = |&metric: &Metric| {
                let ratio = Ratio::to_repeat(&metric.of(&samples), &metric.of(naive));
                Some((metric, ratio?))
            };
            metrics.filter_map(ratio).collect()
        });
        let logged = |sample: &Sample| sample.logged_ms;
        let beyond = |sample: &Sample| Some(sample.total_ms - sample.logged_ms?);
        let stored = |sample: &Sample| sample.stored_bytes.map(|bytes| bytes as f64);
        let middle = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            median(&samples.iter().filter_map(figure).collect::<Vec<_>>())
        };
        let mut measured = Self {
            cell,
            tool: tool.clone(),
            figures: figures.into_iter().flatten().collect(),
            to_naive,
            phases: Vec::new(),
            logged_ms: middle(&logged),
            beyond_log_ms: middle(&beyond),
            stored_bytes: middle(&stored).map(|bytes| bytes as u64),
            samples,
        };
        let names = Self::phase_names(&measured.samples).into_iter();
        measured.phases = names
            .filter_map(|name| median(&measured.phase(&name)).map(|ms| (name, ms)))
            .collect();
        measured
    }
}

/// How a comparison came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The exact command.
    pub(crate) command: String,
    /// When it began to measure (RFC 3339, UTC).
    pub(crate) started_at: String,
    /// How long it measured.
    pub(crate) seconds: u64,
    /// Whether it was a quick one.
    pub(crate) quick: bool,
    /// How often the benchmark was started.
    pub(crate) rounds: usize,
    /// How often each was done in a round before it was measured.
    pub(crate) warm_up: usize,
    /// How often each was measured in a round.
    pub(crate) samples: usize,
    /// What was slowed down on purpose.
    pub(crate) delay: Option<Delay>,
    /// The sources.
    pub(crate) commit: Option<Commit>,
    /// The machine.
    pub(crate) machine: Machine,
    /// The crates and the compiler.
    pub(crate) versions: BTreeMap<String, String>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Version of its form.
    schema: u32,
    /// How it came about.
    pub(crate) origin: Origin,
    /// The daemons' versions, by runtime.
    pub(crate) daemons: BTreeMap<String, String>,
    /// Why runtimes did not take part.
    pub(crate) skipped: BTreeMap<String, String>,
    /// What was measured, by cell and tool.
    pub(crate) measured: Vec<Measured>,
}

impl Report {
    /// Of samples.
    pub(super) fn new(origin: Origin, samples: Samples) -> Self {
        let mut measured = Vec::new();
        for (cell, tools) in &samples.cells {
            for (tool, samples) in tools {
                let naive = Tool {
                    runtime: tool.runtime.clone(),
                    naive: true,
                };
                let naive = tools.get(&naive).filter(|_| !tool.naive);
                measured.push(Measured::new(
                    *cell,
                    tool,
                    samples.clone(),
                    naive.map(Vec::as_slice),
                ));
            }
        }
        Self {
            schema: SCHEMA,
            origin,
            daemons: samples.versions,
            skipped: samples.skipped,
            measured,
        }
    }

    /// Reads one.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
        let report: Self = serde_json::from_str(&text).with_context(|| format!("read {shown}"))?;
        if report.schema != SCHEMA {
            bail!(
                "{shown} has form {}; this program knows form {SCHEMA}",
                report.schema
            );
        }
        Ok(report)
    }

    /// Writes it.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The cells, each once.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.measured.iter().map(|measured| measured.cell).collect();
        cells.dedup();
        cells
    }

    /// What was measured of a cell, ours before the naive way.
    pub(super) fn of(&self, cell: Cell) -> impl Iterator<Item = &Measured> {
        self.measured
            .iter()
            .filter(move |measured| measured.cell == cell)
    }

    /// What one tool did of a cell.
    pub(super) fn find(&self, cell: Cell, tool: &Tool) -> Option<&Measured> {
        self.of(cell).find(|measured| measured.tool == *tool)
    }
}

/// A report of made-up samples, for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::super::cells::Payload;
    use super::*;

    /// Two runtimes, naive and not, of which ours takes so many times as long as it should.
    pub(crate) fn made_up(slower: f64, depths: &[u32]) -> Report {
        let mut samples = Samples::default();
        samples
            .versions
            .insert("docker".to_owned(), "20.10".to_owned());
        samples
            .skipped
            .insert("<other>".to_owned(), "reach \"it\" & more".to_owned());
        for (&depth, operation) in depths
            .iter()
            .flat_map(|depth| Operation::ALL.map(|operation| (depth, operation)))
        {
            let cell = Cell {
                depth,
                payload: Payload::OneMegabyte,
                operation,
            };
            for (runtime, naive) in [("docker", false), ("docker", true), ("podman", false)] {
                let tool = Tool {
                    runtime: runtime.to_owned(),
                    naive,
                };
                let sample = |at: usize| {
                    let times = if naive { 2.0 } else { slower };
                    let ms = times * (100.0 + (at * 7 % 10) as f64 + f64::from(depth));
                    let new = (operation != Operation::Snapshot).then_some(ms);
                    Sample {
                        round: 0,
                        total_ms: ms,
                        start_ms: new.map(|ms| ms * 0.5),
                        usable_ms: new.map(|ms| ms * 0.9),
                        logged_ms: (!naive).then_some(ms - 0.25),
                        phases: match naive {
                            true => Vec::new(),
                            false => vec![
                                ("pause".to_owned(), 20.0),
                                ("capture".to_owned(), ms - 30.0),
                            ],
                        },
                        stored_bytes: Some(1_000_016),
                    }
                };
                let all = (0..10).map(sample).collect();
                samples.cells.entry(cell).or_default().insert(tool, all);
            }
        }
        let origin = Origin {
            command: "cargo xtask compare --quick".to_owned(),
            started_at: "2026-01-02T03:04:05Z".to_owned(),
            seconds: 100,
            quick: true,
            rounds: 1,
            warm_up: 1,
            samples: 10,
            delay: None,
            commit: Some(Commit {
                id: "0123456789abcdef".to_owned(),
                dirty: true,
            }),
            machine: Machine {
                system: "Some <Linux>".to_owned(),
                kernel: "6.1".to_owned(),
                cpu: "made up".to_owned(),
                cpus: 2,
                memory_bytes: 1 << 34,
                load: "0.10".to_owned(),
            },
            versions: BTreeMap::from([("tokio".to_owned(), "1.0".to_owned())]),
        };
        Report::new(origin, samples)
    }

    #[test]
    fn a_report_comes_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let report = made_up(1.0, &[1]);
        report.save(&path).unwrap();
        assert_eq!(
            Report::load(&path).unwrap().measured.len(),
            3 * Operation::ALL.len()
        );
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"schema\": 1", "\"schema\": 2", 1)).unwrap();
        let error = Report::load(&path).unwrap_err();
        assert!(error.to_string().contains("form 2"), "{error}");
    }

    #[test]
    fn ours_is_compared_with_the_naive_way_where_there_is_one() {
        let report = made_up(1.0, &[1]);
        let restore = report.cells()[2];
        let ours: Vec<_> = report.of(restore).filter(|one| !one.tool.naive).collect();
        let docker = &ours[0].to_naive;
        assert_eq!(
            docker.keys().collect::<Vec<_>>(),
            [&Metric::Start, &Metric::Usable]
        );
        assert!((docker[&Metric::Usable].ratio - 0.5).abs() < 1e-9);
        assert!(
            ours[1].to_naive.is_empty(),
            "there is no naive way on podman"
        );
        assert!((ours[0].beyond_log_ms.unwrap() - 0.25).abs() < 1e-9);
        assert_eq!(ours[0].phases[0], ("pause".to_owned(), 20.0));
    }
}
