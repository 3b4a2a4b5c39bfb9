//! What an operation of ours costs, and how much more than the same calls made bare.
//!
//! Each iteration times ours and the bare calls in turn; criterion is given ours, and the pairs are
//! printed at the end. Both work on containers of the same image with the same command, and both
//! wait until the application accepts a connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use statefork_benches::raw::Raw;
use statefork_benches::{BUSYBOX, COMMAND, Fixture, Pairs, available};
use statefork_core::environment::{RestoreRequest, SnapshotRequest};
use tokio::runtime::Runtime;

/// The name of the bare twin's container.
const TWIN: &str = "statefork-bench-twin";

fn operations(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("an async runtime");
    let mut table = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    for available in runtime
        .block_on(available(&home))
        .expect("the runtimes open")
    {
        let raw = runtime.block_on(available.raw()).expect("it connects");
        // One without a daemon has no bare calls: benches/native.rs has what that takes.
        let Some(raw) = raw else { continue };
        let name = available.runtime.name();
        let fixture = runtime
            .block_on(Fixture::up(&available, &home))
            .expect("it comes up");
        let mut twin = Twin {
            raw,
            name: format!("{TWIN}-{}", std::process::id()),
        };
        runtime.block_on(twin.run("")).expect("the twin runs");
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
                    &fixture,
                    &mut twin,
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
                    &fixture,
                    &mut twin,
                    Kind::Restore,
                );
                runtime.block_on(work).expect("snapshots are restored")
            });
        });
        group.finish();
        runtime
            .block_on(twin.remove(""))
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
    fixture: &Fixture,
    twin: &mut Twin,
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
            Kind::Snapshot => twin.snapshot().await?,
            Kind::Restore => twin.restore().await?,
        };
        pairs.push(ours, bare);
        total += ours;
    }
    Ok(total)
}

/// The same application by bare calls.
struct Twin {
    raw: Raw,
    name: String,
}

impl Twin {
    fn named(&self, more: &str) -> String {
        format!("{}{more}", self.name)
    }

    async fn run(&mut self, more: &str) -> Result<()> {
        let name = self.named(more);
        self.raw.run(&name, BUSYBOX.name, &COMMAND).await
    }

    async fn remove(&mut self, more: &str) -> Result<()> {
        let name = self.named(more);
        self.raw.remove(&name).await
    }

    async fn snapshot(&mut self) -> Result<Duration> {
        const REPOSITORY: &str = "localhost/statefork-bench";
        let begun = Instant::now();
        self.raw.inspect(&self.name).await?;
        self.raw.commit(&self.name, REPOSITORY, &self.name).await?;
        let took = begun.elapsed();
        let image = format!("{REPOSITORY}:{}", self.name);
        self.raw.remove_image(&image).await?;
        Ok(took)
    }

    /// The former twin is paused until the next one answers, then removed; the next one takes its name
    /// afterwards, outside of the time.
    async fn restore(&mut self) -> Result<Duration> {
        const NEXT: &str = "-next";
        let begun = Instant::now();
        self.raw.inspect(&self.name).await?;
        self.raw.pause(&self.name).await?;
        self.run(NEXT).await?;
        self.remove("").await?;
        let took = begun.elapsed();
        self.remove(NEXT).await?;
        self.run("").await?;
        Ok(took)
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
