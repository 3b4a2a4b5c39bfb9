//! Restores where a container is prepared, as an explorer makes them: how often is one ready when the
//! same snapshot is restored every two seconds, does anybody meet a closed door when restores follow
//! each other under load, and what does the preparation cost the application that runs?
//!
//! How long a warm restore takes, next to the naive way, is in the comparison (`cargo xtask compare`).

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use statefork_benches::load::{Asked, Load, Requests};
use statefork_benches::{Available, Series, Versioned, available};
use statefork_core::config::Standby;
use statefork_core::environment::{RestoreRequest, SnapshotRequest};

/// Between two restores of the same snapshot.
const EVERY: Duration = Duration::from_secs(2);
/// Of how many of them at least a container was ready, in hundredths.
const HITS: usize = 95;
/// Requests a second while restores follow each other.
const RATE: u32 = 200;
/// Requests a second while it is looked what the preparation costs others.
const CALM: u32 = 50;
/// What target-app is asked.
const PATH: &str = "/health";
/// How long it may take until a container is prepared.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is measured.
struct Size {
    hits: usize,
    restores: usize,
    looks: usize,
}

fn main() -> Result<()> {
    // What `cargo bench -- --test` asks for: does it work?
    let size = match std::env::args().any(|argument| argument == "--test") {
        true => Size {
            hits: 1,
            restores: 2,
            looks: 1,
        },
        false => Size {
            hits: 20,
            restores: 100,
            looks: 10,
        },
    };
    let tokio = tokio::runtime::Runtime::new()?;
    tokio.block_on(async {
        let home = tempfile::Builder::new()
            .prefix("warm-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        for runtime in available(home.path()).await? {
            let name = runtime.runtime.name();
            let measured = measure(&runtime, home.path(), &size).await;
            measured.with_context(|| format!("measure warm restores on {name}"))?;
        }
        Ok(())
    })
}

async fn measure(available: &Available, home: &Path, size: &Size) -> Result<()> {
    println!("{}", available.runtime.name());
    let app = Versioned::up(available, home, Standby::default()).await?;
    let measured = async {
        let taken = app
            .environment
            .snapshot(&SnapshotRequest::default())
            .await?;
        let id = taken.snapshot.id.to_string();
        hits(&app, &id, size.hits).await?;
        doors(&app, &id, size.restores).await?;
        cost(&app, &id, size.looks).await
    };
    let measured = measured.await;
    // Whatever came of it: nothing of it stays.
    match (measured, app.down().await) {
        (Err(first), Err(cleanup)) => Err(first.context(format!("{cleanup:#}"))),
        (measured, down) => measured.and(down),
    }
}

/// Restores every two seconds.
async fn hits(app: &Versioned, id: &str, count: usize) -> Result<()> {
    app.until_prepared(id, PATIENCE).await?;
    let (mut warm, mut usable) = (0, Series::default());
    for _ in 0..count {
        tokio::time::sleep(EVERY).await;
        let restored = app.environment.restore(&RestoreRequest::to(id)).await?;
        if restored.timing.warm == Some(true) {
            warm += 1;
            usable.push(restored.timing.usable);
        }
    }
    println!("  warm when restored every {EVERY:?}: {warm} of {count}");
    println!("  usable by its own account, ms: {usable}");
    ensure!(warm * 100 >= count * HITS, "fewer than {HITS} % are warm");
    Ok(())
}

/// Restores one after the other under load.
async fn doors(app: &Versioned, id: &str, count: usize) -> Result<()> {
    let load = Load::begin(app.address, PATH, RATE);
    let begun = Instant::now();
    let mut warm = 0;
    let mut restored = Ok(());
    for _ in 0..count {
        match app.environment.restore(&RestoreRequest::to(id)).await {
            Ok(report) => warm += usize::from(report.timing.warm == Some(true)),
            Err(error) => restored = Err(error),
        }
    }
    let took = begun.elapsed();
    let requests = load.end()?;
    restored?;
    let refused = count_of(&requests, Asked::Refused);
    println!(
        "  {count} restores in {} s under {RATE} requests a second, {warm} warm: {} requests, \
         {refused} refused, {} broken off as they were in flight",
        took.as_secs(),
        requests.len(),
        count_of(&requests, Asked::Broken),
    );
    ensure!(refused == 0, "connections were refused");
    Ok(())
}

/// What the preparation costs the application that runs, and the machine.
async fn cost(app: &Versioned, id: &str, looks: usize) -> Result<()> {
    let (mut calm, mut beside) = (Series::default(), Series::default());
    let (mut cpu, mut memory, mut took) = (Series::default(), Vec::new(), Series::default());
    for _ in 0..looks {
        app.until_prepared(id, PATIENCE).await?;
        answers(&mut calm, app.address, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await?;
        app.environment.restore(&RestoreRequest::to(id)).await?;
        let begun = Instant::now();
        answers(&mut beside, app.address, app.until_prepared(id, PATIENCE)).await?;
        took.push(begun.elapsed());
        let usage = app.prepared_usage().await?;
        cpu.push(usage.cpu);
        memory.push(usage.memory_bytes);
    }
    memory.sort_unstable();
    println!("  preparing one takes, ms: {took}");
    println!("  its processor time, ms: {cpu}");
    println!(
        "  its memory, bytes: {} ({} to {})",
        memory[memory.len() / 2],
        memory[0],
        memory[memory.len() - 1]
    );
    println!(
        "  answers of the live application meanwhile, p99 ms: {:.2} (n={}), without: {:.2} (n={})",
        beside.percentile_ms(99),
        beside.count(),
        calm.percentile_ms(99),
        calm.count(),
    );
    Ok(())
}

/// Adds how long answers take while something is done.
async fn answers(
    series: &mut Series,
    address: SocketAddr,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let load = Load::begin(address, PATH, CALM);
    let done = work.await;
    for (_, asked) in load.end()? {
        if let Asked::Answered(took) = asked {
            series.push(took);
        }
    }
    done
}

fn count_of(requests: &Requests, kind: Asked) -> usize {
    requests.iter().filter(|(_, asked)| *asked == kind).count()
}
