//! The tables of the report, which both its readable forms show.

use super::cells::Operation;
use super::report::{Measured, Metric, Report};
use super::statistics::{Figures, Ratio};

/// What is shown where a ratio is not to be quoted.
pub(super) const NOISY: &str = "too noisy to quote";

/// A table: its head, then its rows, each as long as the head.
pub(super) struct Table {
    /// What it is about.
    pub(super) title: String,
    /// Names of the columns.
    pub(super) head: Vec<&'static str>,
    /// The rows.
    pub(super) rows: Vec<Vec<String>>,
}

/// The durations and ratios of an operation.
pub(super) fn durations(report: &Report, operation: Operation) -> Table {
    let mut rows = Vec::new();
    for measured in of(report, operation) {
        for (metric, figures) in &measured.figures {
            // The naive way has nothing left to do once it can be used.
            let twice = measured.tool.naive && operation != Operation::Snapshot;
            if twice && *metric == Metric::Total {
                continue;
            }
            rows.push(vec![
                measured.cell.payload.to_string(),
                measured.cell.depth.to_string(),
                measured.tool.to_string(),
                metric.as_str().to_owned(),
                figures.n.to_string(),
                ms(figures.median),
                format!("{} to {}", ms(figures.quartiles.0), ms(figures.quartiles.1)),
                format!("{} to {}", ms(figures.range.0), ms(figures.range.1)),
                measured
                    .to_naive
                    .get(metric)
                    .map_or_else(String::new, ratio),
            ]);
        }
    }
    Table {
        title: format!("{operation}: durations in ms"),
        head: vec![
            "changed",
            "depth",
            "on",
            "until",
            "n",
            "median",
            "middle half",
            "all",
            "to naive",
        ],
        rows,
    }
}

/// The ratios to quote, one line each.
pub(super) fn summary(report: &Report) -> Table {
    let mut rows = Vec::new();
    for measured in &report.measured {
        let metric = Metric::main(measured.cell.operation);
        let Some(figures) = measured
            .figures
            .get(&metric)
            .filter(|_| !measured.tool.naive)
        else {
            continue;
        };
        rows.push(vec![
            measured.cell.operation.to_string(),
            measured.cell.payload.to_string(),
            measured.cell.depth.to_string(),
            measured.tool.to_string(),
            format!("{} (n {})", ms(figures.median), figures.n),
            naive_of(report, measured, metric)
                .map_or_else(String::new, |figures| ms(figures.median)),
            measured
                .to_naive
                .get(&metric)
                .map_or_else(String::new, ratio),
        ]);
    }
    Table {
        title: "At a glance: medians in ms, a snapshot until it was taken, the others until the \
                application answered"
            .to_owned(),
        head: vec![
            "operation",
            "changed",
            "depth",
            "on",
            "StateFork",
            "naive",
            "ratio",
        ],
        rows,
    }
}

fn naive_of<'r>(report: &'r Report, measured: &Measured, metric: Metric) -> Option<&'r Figures> {
    let naive = report
        .of(measured.cell)
        .find(|one| one.tool.naive && one.tool.runtime == measured.tool.runtime)?;
    naive.figures.get(&metric)
}

/// The phases of an operation.
pub(super) fn phases(report: &Report, operation: Operation) -> Table {
    let mut rows = Vec::new();
    for measured in of(report, operation).filter(|measured| !measured.phases.is_empty()) {
        let phases = measured.phases.iter();
        let phases: Vec<String> = phases
            .map(|(name, took)| format!("{name} {}", ms(*took)))
            .collect();
        rows.push(vec![
            measured.cell.payload.to_string(),
            measured.cell.depth.to_string(),
            measured.tool.to_string(),
            phases.join(", "),
        ]);
    }
    Table {
        title: format!("{operation}: medians of the phases in ms"),
        head: vec!["changed", "depth", "on", "phases"],
        rows,
    }
}

/// The two clocks.
pub(super) fn clocks(report: &Report) -> Table {
    let mut rows = Vec::new();
    for measured in &report.measured {
        if let (Some(logged), Some(beyond), Some(total)) = (
            measured.logged_ms,
            measured.beyond_log_ms,
            measured.figures.get(&Metric::Total),
        ) {
            rows.push(vec![
                measured.cell.operation.to_string(),
                measured.cell.payload.to_string(),
                measured.cell.depth.to_string(),
                measured.tool.to_string(),
                format!("{:.2}", total.median),
                format!("{logged:.2}"),
                format!("{beyond:.2}"),
            ]);
        }
    }
    Table {
        title: "The same operations by both clocks: medians in ms".to_owned(),
        head: vec![
            "operation",
            "changed",
            "depth",
            "on",
            "benchmark",
            "operation log",
            "difference",
        ],
        rows,
    }
}

/// What a snapshot takes on the disk.
pub(super) fn storage(report: &Report) -> Table {
    let mut rows = Vec::new();
    for measured in of(report, Operation::Snapshot) {
        if let Some(bytes) = measured.stored_bytes {
            rows.push(vec![
                measured.cell.payload.to_string(),
                measured.cell.depth.to_string(),
                measured.tool.to_string(),
                size(bytes),
            ]);
        }
    }
    Table {
        title: "What a snapshot stores: medians".to_owned(),
        head: vec!["changed", "depth", "on", "stored"],
        rows,
    }
}

/// On what it ran.
pub(super) fn origin(report: &Report) -> Table {
    let origin = &report.origin;
    let machine = &origin.machine;
    let mut rows = vec![
        ("command", origin.command.clone()),
        (
            "commit",
            match &origin.commit {
                Some(commit) if commit.dirty => format!("{}, with changes", commit.id),
                Some(commit) => commit.id.clone(),
                None => "none".to_owned(),
            },
        ),
        (
            "measured",
            format!(
                "{}, for {} s: {} × ({} to warm up + {})",
                origin.started_at, origin.seconds, origin.rounds, origin.warm_up, origin.samples
            ),
        ),
        ("processor", format!("{} × {}", machine.cpus, machine.cpu)),
        ("memory", size(machine.memory_bytes)),
        (
            "system",
            format!("{}, Linux {}", machine.system, machine.kernel),
        ),
        ("load before", machine.load.clone()),
    ];
    if let Some(delay) = &origin.delay {
        rows.insert(1, ("slowed down on purpose", delay.to_string()));
    }
    let listed = |map: &std::collections::BTreeMap<String, String>| {
        let entries = map.iter().map(|(name, value)| format!("{name} {value}"));
        entries.collect::<Vec<_>>().join(", ")
    };
    rows.push(("runtimes", listed(&report.daemons)));
    rows.push(("crates", listed(&origin.versions)));
    for (name, reason) in &report.skipped {
        rows.push(("skipped", format!("{name}: failed to {reason}")));
    }
    Table {
        title: "What was measured on what".to_owned(),
        head: vec!["what", "value"],
        rows: rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect(),
    }
}

/// What was measured of an operation.
pub(super) fn of(report: &Report, operation: Operation) -> impl Iterator<Item = &Measured> {
    let measured = report.measured.iter();
    measured.filter(move |measured| measured.cell.operation == operation)
}

/// A ratio with its interval.
fn ratio(ratio: &Ratio) -> String {
    let (low, high) = ratio.interval;
    if ratio.noisy {
        return format!("{NOISY} ({low:.2} to {high:.2})");
    }
    format!("× {:.2} ({low:.2} to {high:.2})", ratio.ratio)
}

/// Milliseconds, as closely as they mean something.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

/// Bytes, in decimal units.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::made_up;
    use super::*;

    #[test]
    fn every_row_is_as_long_as_its_head() {
        let report = made_up(1.0, &[1, 50]);
        let operations = Operation::ALL.into_iter();
        let tables = operations
            .flat_map(|operation| [durations(&report, operation), phases(&report, operation)])
            .chain([
                summary(&report),
                clocks(&report),
                storage(&report),
                origin(&report),
            ]);
        for table in tables {
            assert!(!table.rows.is_empty(), "{}", table.title);
            for row in &table.rows {
                assert_eq!(row.len(), table.head.len(), "{}: {row:?}", table.title);
            }
        }
    }

    #[test]
    fn figures_are_as_close_as_they_mean_something() {
        assert_eq!([ms(1.234), ms(12.34), ms(123.4)], ["1.23", "12.3", "123"]);
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_000_016), "1.0 MB");
    }
}
