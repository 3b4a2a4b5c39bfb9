//! Building the benchmark and running it in rounds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use serde::Serialize;

use super::cells::{Cell, Extent, Operation};
use super::delay::Delay;
use super::guard::{PLAN, Task};
use super::samples::cell;
use crate::daemons::{Kind, Layout};
use crate::image::workspace;
use crate::interrupt::{self, Heed};
use crate::process::{command, display};
use crate::runtime::{Runtime, daemons};

/// The benchmark's name.
const BENCHMARK: &str = "compare";

/// How many of the benchmark's last lines are shown where it fails.
const TAIL: usize = 20;

/// How often it is looked at how far the benchmark is.
const LOOK: Duration = Duration::from_secs(1);

/// What was built.
pub(super) struct Programs {
    /// `statefork`.
    pub(super) statefork: PathBuf,
    benchmark: PathBuf,
}

/// Builds the programs and the benchmark, optimised, in one go.
pub(super) fn build(with_delay: bool) -> Result<Programs> {
    let mut cargo = command("cargo");
    cargo
        .args(["build", "--release", "-p", "statefork-cli"])
        .args(["-p", "statefork-benches", "--bins", "--bench", BENCHMARK])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace());
    if with_delay {
        cargo.args(["--features", "statefork-benches/delay"]);
    }
    println!("$ {}", display(&cargo));
    let mut messages = tempfile::tempfile()?;
    cargo.stdout(Stdio::from(messages.try_clone()?));
    let status = interrupt::run(&mut cargo, Heed::Interrupts)?;
    interrupt::check()?;
    if !status.success() {
        bail!("`{}` ended with {status}", display(&cargo));
    }
    std::io::Seek::rewind(&mut messages)?;
    let mut built = Vec::new();
    for message in Message::parse_stream(std::io::BufReader::new(messages)) {
        if let Message::CompilerArtifact(artifact) = message.context("read cargo's messages")? {
            let name = artifact.target.name.clone();
            built.extend(artifact.executable.map(|path| (name, path)));
        }
    }
    let find = |wanted: &str| {
        let found = built.iter().find(|(name, _)| name == wanted);
        let (_, path) = found.with_context(|| format!("cargo has built no {wanted}"))?;
        anyhow::Ok(path.clone().into_std_path_buf())
    };
    Ok(Programs {
        statefork: find("statefork")?,
        benchmark: find(BENCHMARK)?,
    })
}

/// What the benchmark is to do, as it reads it.
#[derive(Serialize)]
struct Plan<'a> {
    run: &'a str,
    round: usize,
    home: &'a Path,
    image: &'a str,
    runtimes: Vec<String>,
    cells: &'a [Cell],
    warm_up: usize,
    samples: usize,
    samples_file: &'a Path,
    delay: Option<&'a Delay>,
}

/// Where and on what the benchmark runs.
pub(super) struct Setting<'a> {
    /// What was built.
    pub(super) programs: &'a Programs,
    /// The daemons.
    pub(super) layout: &'a Layout,
    /// The run and its folder.
    pub(super) task: &'a Task,
    /// The run's random digits.
    pub(super) run: &'a str,
    /// The application's image.
    pub(super) image: &'a str,
    /// How much.
    pub(super) extent: &'a Extent,
    /// What is slowed down.
    pub(super) delay: Option<&'a Delay>,
    /// Where the benchmark's own output goes.
    pub(super) log: &'a Path,
}

impl Setting<'_> {
    /// Runs all rounds; what the benchmark wrote down.
    pub(super) fn run(&self) -> Result<String> {
        let samples = self.task.folder.join("samples.jsonl");
        let log = File::create(self.log)?;
        let tools = self.task.runtime.len() + daemons(&self.task.runtime).len();
        let each = self.extent.rounds * self.extent.samples * tools;
        let progress = Progress {
            samples: samples.clone(),
            all: each * self.extent.cells.len(),
            work: each as f64 * self.extent.cells.iter().map(work).sum::<f64>(),
            begun: Instant::now(),
        };
        for round in 0..self.extent.rounds {
            println!("  round {} of {}", round + 1, self.extent.rounds);
            self.round(round, &samples, &log, &progress)
                .with_context(|| format!("round {} failed", round + 1))?;
        }
        fs::read_to_string(&samples).with_context(|| format!("read {}", samples.display()))
    }

    fn round(&self, round: usize, samples: &Path, log: &File, progress: &Progress) -> Result<()> {
        let plan = Plan {
            run: self.run,
            round,
            home: &self.task.home(),
            image: self.image,
            runtimes: self.task.runtime.iter().map(Runtime::to_string).collect(),
            cells: &self.extent.cells,
            warm_up: self.extent.warm_up,
            samples: self.extent.samples,
            samples_file: samples,
            delay: self.delay,
        };
        let path = self.task.folder.join("plan.json");
        fs::write(&path, serde_json::to_vec_pretty(&plan)?)?;
        let mut benchmark = std::process::Command::new(&self.programs.benchmark);
        benchmark
            .arg("--bench")
            .env(PLAN, &path)
            .current_dir(&self.task.folder)
            .env("CRITERION_HOME", self.task.folder.join("criterion"))
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log.try_clone()?));
        for (variable, kind) in [
            ("DOCKER_HOST", Kind::Docker),
            ("CONTAINER_HOST", Kind::Podman),
        ] {
            let socket = self.layout.socket(kind);
            benchmark.env(variable, format!("unix://{}", socket.display()));
        }
        let status = progress.during(|| interrupt::run(&mut benchmark, Heed::Interrupts))?;
        interrupt::check()?;
        if !status.success() {
            let text = fs::read_to_string(self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  | ");
            bail!("the benchmark ended with {status}\n  | {tail}");
        }
        Ok(())
    }
}

/// How long an operation takes with everything around it, in proportion to a snapshot: where a container
/// is made anew, the application starts, and so it does again when that is undone.
fn work(cell: &Cell) -> f64 {
    match cell.operation {
        Operation::Snapshot => 1.0,
        Operation::Step => 6.0,
        Operation::Restore | Operation::Warm => 3.0,
    }
}

/// How far the benchmark is, by the samples that it has written.
struct Progress {
    samples: PathBuf,
    /// How many operations there are to measure, and how much work they all are.
    all: usize,
    work: f64,
    begun: Instant,
}

impl Progress {
    /// Says it whenever there are more, while something is done.
    fn during<T>(&self, action: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut shown = self.done().0;
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(LOOK);
                    let (done, work) = self.done();
                    if done > shown {
                        println!("  {}", self.shown(done, work));
                        shown = done;
                    }
                }
            });
            let output = action();
            over.store(true, Ordering::Relaxed);
            output
        })
    }

    /// How many operations were measured, and how much work they were.
    fn done(&self) -> (usize, f64) {
        let text = fs::read_to_string(&self.samples).unwrap_or_default();
        let cells: Vec<Cell> = text.lines().filter_map(cell).collect();
        (cells.len(), cells.iter().map(work).sum())
    }

    fn shown(&self, done: usize, work: f64) -> String {
        let passed = self.begun.elapsed().as_secs_f64();
        let left = passed / work * (self.work - work).max(0.0);
        format!(
            "{done} of {} operations measured after {passed:.0} s, about {left:.0} s to go",
            self.all
        )
    }
}
