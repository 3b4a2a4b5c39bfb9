//! What a long chain costs: steps in a row past the runtime's limit of layers, what was flattened
//! behind them, what they waited for, then restores of the first, the middle and the last of them in
//! turn.

use anyhow::{Context, Result, ensure};
use statefork_benches::{Fixture, Series, available};
use statefork_core::environment::{RestoreRequest, SnapshotRequest};
use statefork_core::{Environment, Operation, OperationKind, Outcome};
use statefork_runtime::{ExecRequest, Phase};

/// How long the chain gets, and how often each of the three is restored.
struct Size {
    chain: usize,
    rounds: usize,
}

fn main() -> Result<()> {
    // What `cargo bench -- --test` asks for: does it work?
    let size = match std::env::args().any(|argument| argument == "--test") {
        true => Size {
            chain: 3,
            rounds: 1,
        },
        false => Size {
            chain: 300,
            rounds: 10,
        },
    };
    let runtime = tokio::runtime::Runtime::new().context("start an async runtime")?;
    println!("chain of {} | n | ms: median (min to max)", size.chain);
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("home");
    for available in runtime.block_on(available(&home))? {
        let name = available.runtime.name();
        let fixture = runtime.block_on(Fixture::up(&available, &home))?;
        let measured = runtime.block_on(measure(name, &fixture, &size));
        runtime.block_on(fixture.down())?;
        measured?;
    }
    Ok(())
}

async fn measure(name: &str, fixture: &Fixture, size: &Size) -> Result<()> {
    let environment = &fixture.environment;
    let mut ids = Vec::new();
    let mut steps = Vec::new();
    for number in 1..=size.chain {
        change(environment, number).await?;
        let step = environment.step(&SnapshotRequest::default()).await?;
        ids.push(step.snapshot.id.to_string());
        steps.push(step.timing.duration);
    }
    let tenth = size.chain.div_ceil(10);
    let first: Series = steps[..tenth].iter().copied().collect();
    let last: Series = steps[size.chain - tenth..].iter().copied().collect();
    println!("{name} step, the first {tenth} | {first}");
    println!("{name} step, the last {tenth} | {last}");
    let history = environment.history()?;
    let (behind, before): (Vec<_>, Vec<_>) = history
        .iter()
        .filter(|row| row.outcome == Outcome::Done)
        .partition(|row| row.kind == OperationKind::Flatten);
    let phases = |rows: &[&Operation], wanted: Phase| -> Series {
        let phases = rows.iter().flat_map(|row| &row.phases);
        let wanted = phases.filter(|(phase, _)| *phase == wanted);
        wanted.map(|(_, duration)| *duration).collect()
    };
    println!(
        "{name} flattening behind | {}",
        phases(&behind, Phase::Flatten)
    );
    println!(
        "{name} flattening waited for | {}",
        phases(&before, Phase::Flatten)
    );
    println!("{name} rebasing | {}", phases(&before, Phase::Rebase));

    let numbers = [1, size.chain.div_ceil(2), size.chain];
    let mut restores = [(); 3].map(|()| Series::default());
    for _ in 0..size.rounds {
        for (number, restores) in numbers.iter().zip(&mut restores) {
            let to = RestoreRequest::to(&ids[number - 1]);
            restores.push(environment.restore(&to).await?.timing.duration);
        }
    }
    for (number, restores) in numbers.iter().zip(&restores) {
        println!("{name} restore of {number} | {restores}");
    }
    let [first, _, last] = &restores;
    let ratio = last.median_ms() / first.median_ms();
    println!("{name} restore, the last to the first | {ratio:.2}");
    Ok(())
}

/// Changes a file, outside of the time: Docker adds no layer for a container that changed nothing.
async fn change(environment: &Environment, number: usize) -> Result<()> {
    let request = ExecRequest {
        argv: ["sh", "-c", &format!("echo {number} > /step")]
            .map(str::to_owned)
            .into(),
        ..ExecRequest::default()
    };
    let exec = environment.exec(&request).await?;
    let exit = exec.control.wait().await?;
    ensure!(
        exit.code() == 0,
        "the change before step {number} ended with {}",
        exit.code()
    );
    Ok(())
}
