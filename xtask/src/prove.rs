//! `cargo xtask prove RUNTIME`: nothing is lost and nothing is left. A database is written to, saved
//! and taken back, while the command, the shim or the daemon is killed at random moments; every
//! transaction that it acknowledged is accounted for, and so is all that a purge should take away.

mod bounds;
mod chance;
mod client;
mod enclosure;
mod inventory;
mod journal;
mod links;
mod rounds;
mod stage;
mod victim;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cleanup::and_cleaned;
use crate::daemons::{self, Layout, with_daemons};
use crate::engine::Engine;
use crate::image::{POSTGRES, postgres, usual_dir};
use crate::interrupt;
use crate::program;
use crate::runtime::Runtime;
use crate::setup::{Needs, setup};
use inventory::{Inventory, Place};
use journal::Journal;
use rounds::Rounds;
use stage::Stage;
use victim::Victim;

/// The name of the command that runs inside the enclosure.
pub(crate) const ENCLOSED: &str = "prove-enclosed";

/// Arguments of `cargo xtask prove`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// On which runtime.
    #[arg(value_enum)]
    runtime: Runtime,
    /// How many rounds of snapshot, more writes, and restore.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Draw what happens when from this number, as an earlier run printed it.
    #[arg(long)]
    seed: Option<u64>,
}

/// Arguments of the command inside the enclosure.
#[derive(clap::Args)]
pub(crate) struct Enclosed {
    #[arg(value_enum)]
    runtime: Runtime,
    #[arg(long)]
    rounds: u32,
    #[arg(long)]
    seed: u64,
    /// `statefork`.
    #[arg(long)]
    program: PathBuf,
    /// The image's archive.
    #[arg(long)]
    archive: PathBuf,
    /// Where the daemon, the home and the configuration go.
    #[arg(long)]
    folder: PathBuf,
    /// Where the journal goes.
    #[arg(long)]
    journal: PathBuf,
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    interrupt::watch()?;
    let program = program::build()?;
    setup(Needs::All)?;
    interrupt::check()?;
    let archive = postgres(&usual_dir(), false)?;
    prove(args.runtime, args.rounds, args.seed, &program, &archive)
}

/// Proves it on one runtime, with a daemon of its own if it has one.
pub(crate) fn prove(
    runtime: Runtime,
    rounds: u32,
    seed: Option<u64>,
    program: &Path,
    archive: &Path,
) -> Result<()> {
    let begun = Instant::now();
    let seed = seed.unwrap_or_else(rand::random);
    println!("\nprove {runtime}: {rounds} rounds, seed {seed}");
    // Not in /tmp, which may be in memory: this is about what is on disk. Not in the workspace,
    // whose path may be too long for the sockets of a daemon.
    let folder = tempfile::Builder::new()
        .prefix("sf-prove-")
        .tempdir_in("/var/tmp")
        .context("make a temporary folder")?;
    let journal = usual_dir().join(format!("prove-{runtime}.log"));
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(format!("--{name}="));
        option.push(value);
        option
    };
    let arguments = [
        OsString::from(ENCLOSED),
        runtime.to_string().into(),
        format!("--rounds={rounds}").into(),
        format!("--seed={seed}").into(),
        option("program", program),
        option("archive", archive),
        option("folder", folder.path()),
        option("journal", &journal),
    ];
    enclosure::run(folder.path(), &arguments).with_context(|| {
        format!(
            "it does not hold on {runtime}: `cargo xtask prove {runtime} --rounds {rounds} \
             --seed {seed}` repeats it, {} tells what happened",
            journal.display()
        )
    })?;
    println!(
        "prove {runtime}: {rounds} rounds held in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Runs the command inside the enclosure.
pub(crate) fn run_enclosed(task: &Enclosed) -> Result<()> {
    interrupt::watch()?;
    let layout = Layout::enclosed(&task.folder.join("daemons"))?;
    let daemon = task.runtime.daemon();
    with_daemons(&layout, daemon.as_slice(), || {
        let held = holds(task, &layout);
        and_cleaned(held, enclosure::end_containers())
    })
}

fn holds(task: &Enclosed, layout: &Layout) -> Result<()> {
    let stage = Stage::set(task, layout)?;
    let daemon = task.runtime.daemon();
    let place = match daemon {
        Some(kind) => {
            let engine = Engine::new(layout, kind);
            engine.load(&task.archive, POSTGRES)?;
            Place::Daemon(layout, engine)
        }
        None => {
            let archive = task.archive.to_str().context("a path is not UTF-8")?;
            stage.json(&["image", "import", archive])?;
            Place::Storage(stage.storage())
        }
    };
    let restart = || {
        daemon.map_or(Ok(()), |kind| {
            daemons::kill(layout, kind)?;
            daemons::revive(layout, kind)
        })
    };
    // A daemon makes some things once, when they are first needed, and keeps them; and one that was
    // started anew while containers ran has other connections than one that was not.
    stage.up()?;
    restart()?;
    stage.json(&["down", "--purge"])?;
    let before = Inventory::take(&place)?;
    println!("  at the start: {before}");
    let journal = Journal::create(&task.journal)?;
    let rounds = Rounds::new(&stage, layout, journal, task.seed)?;
    let daemon_was_killed = match rounds.run(task.rounds) {
        Ok(victims) => victims.contains(&Victim::Daemon),
        Err(error) => {
            println!("{}", stage.describe());
            return Err(error);
        }
    };
    stage.json(&["down", "--purge"])?;
    before.compare_objects(&place)?;
    if daemon_was_killed {
        // A dockerd that was killed while it started a container finds the container's network
        // again and keeps three connections of its own to the kernel for it, without anything of
        // which they could be a part. They go with it; whatever else is left does not.
        restart()?;
    }
    before.compare_the_rest(&place)?;
    println!("  after `down --purge` it is the same");
    Ok(())
}
