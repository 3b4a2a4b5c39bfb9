//! `cargo xtask demo`: the main job on a real application, told step by step, on Docker and then on
//! Podman. Each claim is checked by asking the application itself over HTTP.

mod application;
mod stage;
mod story;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::census::Census;
use crate::daemons::{Kind, Layout, with_daemons};
use crate::engine::{Engine, with_images};
use crate::image::{TARGET_APP, images, usual_dir};
use crate::interrupt;
use crate::program;
use crate::setup::setup;
use stage::Stage;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only on this runtime.
    #[arg(long, value_enum)]
    runtime: Option<Kind>,
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    let begun = Instant::now();
    interrupt::watch()?;
    let kinds = args.runtime.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    println!(
        "This builds statefork and runs it on a real application. It installs the container tools\n\
         that are missing, starts their daemons if they do not run, and takes away what it made,\n\
         except for installed packages and what lies in target/.\n"
    );
    let program = program::build()?;
    setup(false)?;
    interrupt::check()?;
    let archives = images(&usual_dir(), false)?;
    let layout = Layout::new(None)?;
    with_daemons(&layout, &kinds, || {
        for &kind in &kinds {
            interrupt::check()?;
            let engine = Engine::new(&layout, kind);
            let engines = [engine.clone()];
            let before = Census::take(&engines)?;
            let shown = with_images(&engines, &[(&archives.target_app, TARGET_APP)], || {
                show(&program, &layout, &engine)
            });
            let left = before.compare(&engines);
            match (shown, left) {
                (Ok(()), left) => left?,
                (Err(error), Ok(())) => return Err(error),
                (Err(error), Err(left)) => return Err(error.context(format!("{left:#}"))),
            }
            println!("  ✓ no container, image, network, volume, process or port is left behind");
        }
        Ok(())
    })?;
    let names: Vec<String> = kinds.iter().map(Kind::to_string).collect();
    println!(
        "\nEvery claim held, on {}, in {:.0} s.",
        names.join(" and on "),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Tells the story on one runtime, and takes the environment away whatever happens.
fn show(program: &Path, layout: &Layout, engine: &Engine) -> Result<()> {
    let stage = Stage::set(program, layout, engine)?;
    let told = story::tell(&stage);
    if told.is_ok() {
        return Ok(());
    }
    match stage.clear() {
        Ok(()) => told,
        Err(clearing) => told.map_err(|error| error.context(format!("{clearing:#}"))),
    }
}
