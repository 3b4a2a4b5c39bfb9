//! Snapshot, step and restore on every runtime, and the naive way on those that have a daemon, in turn.
//!
//! `cargo xtask compare` runs this with a plan and makes a report of the samples; by itself it does
//! each operation on 1 MB at depth 1. The rounds are our own, since criterion times one function
//! after the other and would let a drift of the machine hit one tool alone: it is given the durations
//! that were measured. The report has its own statistics, over all runs of a comparison.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use criterion::{Criterion, SamplingMode};
use statefork_benches::compare::{Cell, Plan, Record, Records, Sample, Stage, Timed};
use statefork_benches::{Available, Skipped, TARGET_APP, examine};
use tokio::runtime::Runtime;

/// Short of this criterion would ask for more iterations than were measured.
const AT_ONCE: Duration = Duration::from_nanos(1);

fn main() -> Result<()> {
    // What `cargo bench -- --test` asks for: does it work?
    let plan = match std::env::args().any(|argument| argument == "--test") {
        true => Plan::smoke(),
        false => Plan::load()?,
    };
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Runtime::new().context("start an async runtime")?;
    let mut records = Records::open(plan.samples_file.as_deref())?;
    let folder;
    let home: PathBuf = match &plan.home {
        Some(home) => home.clone(),
        None => {
            folder = tempfile::tempdir()?;
            folder.path().join("home")
        }
    };
    let runtimes = runtime.block_on(chosen(&plan, &home, &mut records))?;
    let image = plan.image.as_deref().unwrap_or(TARGET_APP.name);
    let imported = match plan.image {
        Some(_) => Vec::new(),
        None => runtime.block_on(import(&runtimes))?,
    };
    let mut measured = Ok(());
    for depth in plan.depths() {
        measured = measured.and_then(|()| {
            let mut stage = runtime.block_on(Stage::up(&plan, &home, image, &runtimes, depth))?;
            let cells = plan.cells.iter().filter(|cell| cell.depth == depth);
            let mut measured = Ok(());
            for &cell in cells {
                measured = measured.and_then(|()| {
                    let rounds = runtime.block_on(stage.measure(&plan, cell))?;
                    record(&plan, &stage, cell, &rounds, &mut records)?;
                    evaluate(&mut criterion, &plan, &stage, cell, &rounds);
                    anyhow::Ok(())
                });
            }
            measured.and(runtime.block_on(stage.down()))
        });
    }
    criterion.final_summary();
    for available in imported {
        let removed = available.runtime.remove_image(TARGET_APP.name);
        measured = measured.and(runtime.block_on(removed).map_err(Into::into));
    }
    measured
}

/// The runtimes of the plan that answer.
async fn chosen(plan: &Plan, home: &Path, records: &mut Records) -> Result<Vec<Available>> {
    let wanted = |name: &str| match &plan.runtimes {
        Some(names) => names.iter().any(|wanted| wanted == name),
        None => true,
    };
    let (mut available, skipped) = examine(home).await?;
    available.retain(|available| wanted(available.runtime.name()));
    for Skipped { name, reason } in skipped.into_iter().filter(|skipped| wanted(skipped.name)) {
        println!("{name}: skipped: failed to {reason}");
        let name = name.to_owned();
        records.write(&Record::Skipped { name, reason })?;
    }
    for Available {
        runtime, identity, ..
    } in &available
    {
        records.write(&Record::Runtime {
            name: runtime.name().to_owned(),
            version: identity.version.clone(),
        })?;
    }
    Ok(available)
}

/// Imports the application where it is absent; the runtimes where it was.
async fn import(runtimes: &[Available]) -> Result<Vec<Available>> {
    let mut imported = Vec::new();
    for available in runtimes {
        if TARGET_APP.import(available.runtime.as_ref()).await? {
            imported.push(available.clone());
        }
    }
    Ok(imported)
}

fn record(
    plan: &Plan,
    stage: &Stage,
    cell: Cell,
    rounds: &[Vec<Timed>],
    records: &mut Records,
) -> Result<()> {
    for round in &rounds[plan.warm_up..] {
        for (tool, timed) in stage.tools().iter().zip(round) {
            let sample = Sample::new(cell, tool.as_ref(), plan.round, timed);
            records.write(&Record::Sample(Box::new(sample)))?;
        }
    }
    Ok(())
}

/// Gives criterion what was measured: until the application was usable, or for a snapshot until it
/// was taken.
fn evaluate(
    criterion: &mut Criterion,
    plan: &Plan,
    stage: &Stage,
    cell: Cell,
    rounds: &[Vec<Timed>],
) {
    let mut group = criterion.benchmark_group(cell.to_string());
    group.sampling_mode(SamplingMode::Flat);
    group.warm_up_time(AT_ONCE);
    group.measurement_time(AT_ONCE);
    // Fewer than criterion's least are for a test, which asks for one.
    group.sample_size(plan.samples.max(10));
    for (at, tool) in stage.tools().iter().enumerate() {
        let naive = if tool.is_naive() { " naive" } else { "" };
        let mut durations = rounds
            .iter()
            .map(|round| round[at].usable.unwrap_or(round[at].total))
            .cycle();
        group.bench_function(format!("{}{naive}", tool.runtime()), |bencher| {
            bencher.iter_custom(|iterations| {
                let iterations = usize::try_from(iterations).unwrap_or(usize::MAX);
                durations.by_ref().take(iterations).sum()
            });
        });
    }
    group.finish();
}
