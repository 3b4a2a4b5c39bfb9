//! `cargo xtask demo`: the main job on a real application, told step by step, on native or on what is
//! asked for. Each claim is checked by asking the application itself over HTTP.

mod application;
mod stage;
mod story;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::census::Census;
use crate::cleanup::and_cleaned;
use crate::daemons::{Layout, with_daemons};
use crate::engine::{Engine, with_images};
use crate::image::{TARGET_APP, target_app, usual_dir};
use crate::interrupt;
use crate::program;
use crate::runtime::{Runtime, daemons};
use crate::setup::{Needs, setup};
use stage::Stage;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// On which runtime.
    #[arg(long, default_value = "native", value_parser = choice())]
    runtime: Choice,
}

/// One runtime, or all of them, one after the other.
#[derive(Clone)]
struct Choice(Vec<Runtime>);

fn choice() -> impl TypedValueParser<Value = Choice> {
    let names = ["native", "docker", "podman", "all"];
    PossibleValuesParser::new(names).map(|name| match Runtime::from_str(&name, false) {
        Ok(one) => Choice(vec![one]),
        Err(_) => Choice(Runtime::ALL.to_vec()),
    })
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    let begun = Instant::now();
    interrupt::watch()?;
    let Choice(runtimes) = &args.runtime;
    let kinds = daemons(runtimes);
    println!("This builds statefork and runs it on a real application.");
    println!(
        "{}\n",
        match kinds.is_empty() {
            true =>
                "No container tool is needed. What makes the application's image is installed where\n\
                 it is missing; what the demonstration makes is taken away again, except for\n\
                 installed packages and what lies in target/.",
            false =>
                "It installs the container tools that are missing, starts their daemons if they do\n\
                 not run, and takes away what it made, except for installed packages and what lies\n\
                 in target/.",
        }
    );
    let program = program::build()?;
    setup(match kinds.is_empty() {
        true => Needs::Image,
        false => Needs::All,
    })?;
    interrupt::check()?;
    let archive = target_app(&usual_dir(), false)?;
    let layout = Layout::new(None)?;
    with_daemons(&layout, &kinds, || {
        for &runtime in runtimes {
            interrupt::check()?;
            show(runtime, &program, &layout, &archive)?;
            println!("  ✓ nothing is left behind: {SOUGHT}");
        }
        Ok(())
    })?;
    let names: Vec<String> = runtimes.iter().map(Runtime::to_string).collect();
    println!(
        "\nEvery claim held, on {}, in {:.0} s.",
        names.join(", on "),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// What is looked for afterwards.
const SOUGHT: &str = "container, image, network, volume, process, control group, link or port";

/// Tells the story on one runtime, takes the environment away whatever happens, and looks for what is
/// left.
fn show(runtime: Runtime, program: &Path, layout: &Layout, archive: &Path) -> Result<()> {
    let engine = runtime.daemon().map(|kind| Engine::new(layout, kind));
    let engines: Vec<Engine> = engine.clone().into_iter().collect();
    let before = Census::take(&engines)?;
    let shown = with_images(&engines, &[(archive, TARGET_APP)], || {
        let stage = Stage::set(program, layout, runtime, engine.as_ref())?;
        story::tell(&stage, archive).or_else(|error| and_cleaned(Err(error), stage.clear()))
    });
    and_cleaned(shown, before.compare(&engines))
}
