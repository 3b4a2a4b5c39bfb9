//! What an operation of ours costs, and how much more than the same calls made bare.
//!
//! Each iteration times ours and the bare calls in turn; criterion is given ours, and the pairs are
//! printed at the end. Both work on containers of the same image with the same command, and both
//! wait until the application accepts a connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use statefork_benches::{Fixture, Pairs, available};
use statefork_core::environment::{RestoreRequest, SnapshotRequest};
use tokio::runtime::Runtime;

/// The name of the bare twin's container.
const TWIN: &str = "statefork-bench-twin";

fn operations(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("an async runtime");
    let mut table = Vec::new();
    for available in runtime.block_on(available()).expect("the runtimes open") {
        let name = available.runtime.name();
        let mut fixture = runtime
            .block_on(Fixture::up(&available))
            .expect("it comes up");
        let twin = format!("{TWIN}-{}", std::process::id());
        runtime
            .block_on(fixture.run_raw(&twin))
            .expect("the twin runs");
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        group.sample_size(20);
        group.warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(2));
        let mut snapshots = Pairs::default();
        group.bench_function("snapshot", |bencher| {
            bencher.iter_custom(|iterations| {
                let work = pairs(
                    iterations,
                    &mut snapshots,
                    &mut fixture,
                    &twin,
                    Kind::Snapshot,
                );
                runtime.block_on(work).expect("snapshots are taken")
            });
        });
        let mut restores = Pairs::default();
        group.bench_function("restore", |bencher| {
            bencher.iter_custom(|iterations| {
                let work = pairs(
                    iterations,
                    &mut restores,
                    &mut fixture,
                    &twin,
                    Kind::Restore,
                );
                runtime.block_on(work).expect("snapshots are restored")
            });
        });
        group.finish();
        runtime
            .block_on(fixture.raw.remove(&twin))
            .expect("the twin is removed");
        runtime.block_on(fixture.down()).expect("it goes down");
        table.push(format!("{name} snapshot | {snapshots}"));
        table.push(format!("{name} restore  | {restores}"));
    }
    println!("\noperation | n | ours ms | bare ms | difference ms: median (min to max)");
    for row in table {
        println!("{row}");
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Snapshot,
    Restore,
}

async fn pairs(
    iterations: u64,
    pairs: &mut Pairs,
    fixture: &mut Fixture,
    twin: &str,
    kind: Kind,
) -> Result<Duration> {
    let to = RestoreRequest::to("base");
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let ours = match kind {
            Kind::Snapshot => {
                fixture
                    .environment
                    .snapshot(&SnapshotRequest::default())
                    .await?
                    .timing
                    .duration
            }
            Kind::Restore => fixture.environment.restore(&to).await?.timing.duration,
        };
        let bare = match kind {
            Kind::Snapshot => bare_snapshot(fixture, twin).await?,
            Kind::Restore => bare_restore(fixture, twin).await?,
        };
        pairs.push(ours, bare);
        total += ours;
    }
    Ok(total)
}

async fn bare_snapshot(fixture: &mut Fixture, twin: &str) -> Result<Duration> {
    let begun = Instant::now();
    fixture.raw.inspect(twin).await?;
    fixture
        .raw
        .commit(twin, "localhost/statefork-bench", twin)
        .await?;
    let took = begun.elapsed();
    let image = format!("localhost/statefork-bench:{twin}");
    fixture.raw.remove_image(&image).await?;
    Ok(took)
}

/// The former twin is paused until the next one answers, then removed; the next one takes its name
/// afterwards, outside of the time.
async fn bare_restore(fixture: &mut Fixture, twin: &str) -> Result<Duration> {
    let next = format!("{twin}-next");
    let begun = Instant::now();
    fixture.raw.inspect(twin).await?;
    fixture.raw.pause(twin).await?;
    fixture.run_raw(&next).await?;
    fixture.raw.remove(twin).await?;
    let took = begun.elapsed();
    fixture.raw.remove(&next).await?;
    fixture.run_raw(twin).await?;
    Ok(took)
}

criterion_group!(benches, operations);
criterion_main!(benches);
