//! `cargo xtask test`: all set-up, then every check and test of the workspace, then a look for what
//! they left behind, then a few rounds of the proof. Stops at the first failure.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::census::Census;
use crate::daemons::{Kind, Layout, with_daemons};
use crate::engine::{Engine, with_images};
use crate::image::{Archives, BUSYBOX, TARGET_APP, images, postgres, usual_dir, workspace};
use crate::interrupt::{self, Heed};
use crate::process::{command, display, is_root};
use crate::program;
use crate::prove::prove;
use crate::runtime::{Runtime, daemons};
use crate::setup::{Needs, setup};
use crate::tidy::tidy;

/// The volume that the conformance suite mounts: it cannot remove it through the contract.
const SUITE_VOLUME: &str = "statefork-conformance";

/// What only tests have: the points at which they end a command, and the delays that they look for.
const FEATURES: [&str; 2] = [
    "--features",
    "statefork-cli/crash-points,statefork-benches/delay",
];
/// How many rounds of the proof.
const ROUNDS: u32 = 3;
/// What they are drawn from: the same each time, so that a change is judged by what it changes.
const SEED: u64 = 2;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests of this runtime and those that need none.
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// Install nothing, make no image and start no daemon: what is there must do. The proof, which
    /// starts daemons of its own, is left out.
    #[arg(long)]
    no_setup: bool,
    /// Arguments for nextest (for `cargo test` where nextest is missing), such as a test's name.
    /// Then only these tests run, without the other checks.
    #[arg(last = true, value_name = "ARGUMENT")]
    tests: Vec<String>,
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    interrupt::watch()?;
    let mut steps = Steps::default();
    let result = all(args, &mut steps);
    steps.summarise();
    result
}

fn all(args: &Args, steps: &mut Steps) -> Result<()> {
    let runtimes = match args.runtime {
        None => Runtime::ALL.to_vec(),
        Some(runtime) => vec![runtime],
    };
    let kinds = daemons(&runtimes);
    let layout = Layout::new(None)?;
    if args.no_setup {
        let archives = Archives::in_dir(&usual_dir());
        return in_engines(args, &runtimes, &layout, &archives, steps);
    }
    steps.run("packages", || setup(Needs::All))?;
    let archives = steps.run("images", || images(&usual_dir(), false))?;
    heading("daemons");
    with_daemons(&layout, &kinds, || {
        in_engines(args, &runtimes, &layout, &archives, steps)
    })?;
    if !args.tests.is_empty() {
        return Ok(());
    }
    if !is_root() {
        println!("the proof is left out: a daemon that may be killed takes root");
        return Ok(());
    }
    // The checks have built the program.
    let program = program::built()?;
    let archive = steps.run("database image", || postgres(&usual_dir(), false))?;
    for &runtime in &runtimes {
        let name = match runtime {
            Runtime::Native => "proof on native",
            Runtime::Docker => "proof on docker",
            Runtime::Podman => "proof on podman",
        };
        steps.run(name, || {
            prove(runtime, ROUNDS, Some(SEED), &program, &archive)
        })?;
    }
    Ok(())
}

fn in_engines(
    args: &Args,
    runtimes: &[Runtime],
    layout: &Layout,
    archives: &Archives,
    steps: &mut Steps,
) -> Result<()> {
    let engines: Vec<Engine> = daemons(runtimes)
        .into_iter()
        .map(|kind| Engine::new(layout, kind))
        .collect();
    let before = Census::take(&engines)?;
    let loaded: [(&Path, &str); 2] = [
        (&archives.busybox, BUSYBOX),
        (&archives.target_app, TARGET_APP),
    ];
    let mut without_volume = Vec::new();
    for engine in &engines {
        if !engine.has_volume(SUITE_VOLUME)? {
            without_volume.push(engine);
        }
    }
    let checked = with_images(&engines, &loaded, || {
        let cargo = Cargo {
            runtimes,
            layout,
            archives,
        };
        checks(args, &cargo, steps)
    });
    for engine in without_volume {
        engine.remove_volume(SUITE_VOLUME)?;
    }
    match checked {
        Ok(()) => steps.run("leftovers", || before.compare(&engines)),
        // A test that failed or was ended may have left something: the first error stays the error.
        Err(error) => {
            if let Err(left) = before.compare(&engines) {
                println!("{left:#}");
            }
            Err(error)
        }
    }
}

fn checks(args: &Args, cargo: &Cargo<'_>, steps: &mut Steps) -> Result<()> {
    if !args.tests.is_empty() {
        return steps.run("tests", || cargo.tests(&args.tests));
    }
    steps.run("format", || cargo.run(&["fmt", "--all", "--check"]))?;
    steps.run("house rules", tidy)?;
    steps.run("clippy", || {
        let clippy = ["clippy", "--workspace", "--all-targets"];
        cargo.run(&[&clippy[..], &FEATURES, &["--", "-D", "warnings"]].concat())
    })?;
    steps.run("documentation", || {
        let mut doc = cargo.command(&["doc", "--workspace", "--no-deps"]);
        succeed(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    // Everything in one go, since cargo would build what the programs depend on once more for the
    // tests, which need more of it. The programs too: tests and benchmarks start the helper from
    // beside their own directory.
    steps.run("build", || {
        let build = ["build", "--workspace", "--all-targets"];
        cargo.run(&[&build[..], &FEATURES].concat())
    })?;
    steps.run("tests", || cargo.tests(&[]))?;
    steps.run("documentation tests", || {
        cargo.run(&[&["test", "--workspace", "--doc"][..], &FEATURES].concat())
    })?;
    // Each benchmark once, to see that it works. Its figures would mean nothing here, so what the
    // tests have built already does; the whole workspace, since a part of it would be built anew.
    steps.run("benchmarks, once each", || {
        let bench = ["bench", "--workspace", "--profile", "dev", "--bench", "*"];
        cargo.run(&[&bench[..], &FEATURES, &["--", "--test"]].concat())
    })
}

/// Calls of cargo with what the tests need to know.
struct Cargo<'a> {
    runtimes: &'a [Runtime],
    layout: &'a Layout,
    archives: &'a Archives,
}

impl Cargo<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut cargo = command("cargo");
        cargo
            .args(args)
            .current_dir(workspace())
            .env("STATEFORK_TEST_IMAGE", &self.archives.busybox)
            .env("STATEFORK_TEST_APP", &self.archives.target_app);
        for (variable, kind) in [
            ("DOCKER_HOST", Kind::Docker),
            ("CONTAINER_HOST", Kind::Podman),
        ] {
            let socket = self.layout.socket(kind);
            cargo.env(variable, format!("unix://{}", socket.display()));
        }
        // A user's own choices must not decide what a test sees.
        for variable in ["HOME", "RUNTIME", "ENVIRONMENT", "BRANCH"] {
            cargo.env_remove(format!("STATEFORK_{variable}"));
        }
        cargo
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        succeed(&mut self.command(args))
    }

    /// Unit and integration tests.
    fn tests(&self, more: &[String]) -> Result<()> {
        let absent: Vec<Runtime> = Runtime::ALL
            .into_iter()
            .filter(|runtime| !self.runtimes.contains(runtime))
            .collect();
        let mut version = self.command(&["nextest", "--version"]);
        let nextest = interrupt::output(&mut version, Heed::Interrupts)?
            .status
            .success();
        let mut tests = if nextest {
            self.command(&["nextest", "run", "--workspace"])
        } else {
            println!("cargo-nextest was not found; `cargo test` does it, without limits of time");
            self.command(&["test", "--workspace", "--lib", "--bins", "--tests"])
        };
        tests.args(FEATURES);
        // A backend's own integration tests, and those of the command line in the module named
        // like it.
        // Of several expressions one would do: they are to hold all.
        let expressions = absent.iter().map(|runtime| {
            format!(
                "not ((package(statefork-{runtime}) & kind(test)) | \
                 (package(statefork-cli) & test(/^{runtime}::/)))"
            )
        });
        let expression = expressions.collect::<Vec<_>>().join(" & ");
        match nextest {
            true if expression.is_empty() => {}
            true => {
                tests.arg("-E").arg(expression);
            }
            false => {
                let packages = absent.iter().map(|runtime| format!("statefork-{runtime}"));
                tests.args(packages.flat_map(|package| ["--exclude".to_owned(), package]));
            }
        }
        tests.args(more);
        if !nextest && !absent.is_empty() {
            if !more.iter().any(|argument| argument == "--") {
                tests.arg("--");
            }
            for runtime in &absent {
                tests.arg("--skip").arg(format!("{runtime}::"));
            }
        }
        succeed(&mut tests)
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    println!("$ {}", display(command));
    let status = interrupt::run(command, Heed::Interrupts)?;
    interrupt::check()?;
    if !status.success() {
        bail!("`{}` ended with {status}", display(command));
    }
    Ok(())
}

fn heading(name: &str) {
    println!("\n=== {name} ===");
}

/// What has been done, and how long each took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration, bool)>);

impl Steps {
    fn run<T>(&mut self, name: &'static str, action: impl FnOnce() -> Result<T>) -> Result<T> {
        interrupt::check()?;
        heading(name);
        let begun = Instant::now();
        let result = action();
        let took = begun.elapsed();
        self.0.push((name, took, result.is_ok()));
        let outcome = if result.is_ok() { "done" } else { "FAILED" };
        println!("=== {name}: {outcome} after {:.1} s", took.as_secs_f64());
        result.map_err(|error| error.context(format!("{name} failed")))
    }

    fn summarise(&self) {
        let all: Duration = self.0.iter().map(|(_, took, _)| *took).sum();
        println!("\n=== all in {:.0} s ===", all.as_secs_f64());
        for (name, took, done) in &self.0 {
            let outcome = if *done { "" } else { "  FAILED" };
            println!("{:>8.1} s  {name}{outcome}", took.as_secs_f64());
        }
    }
}
