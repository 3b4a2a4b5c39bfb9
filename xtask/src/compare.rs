//! `cargo xtask compare`: snapshot, step and restore on every runtime, with the naive way in the same
//! run, and a report of it.

mod against;
mod cells;
mod delay;
mod guard;
mod html;
mod machine;
mod markdown;
mod report;
mod rows;
mod run;
mod samples;
mod statistics;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cleanup::and_cleaned;
use crate::daemons::{Layout, with_daemons};
use crate::engine::{Engine, with_images};
use crate::image::{TARGET_APP, images, usual_dir};
use crate::interrupt;
use crate::runtime::{Runtime, daemons};
use crate::setup::{Needs, setup};
use against::Against;
use cells::{Extent, Operation, Payload};
use delay::Delay;
use guard::Guard;
pub(crate) use guard::{GUARD, Task, run_command as run_guard};
use machine::{Commit, Machine, versions};
use report::{Origin, Report};
use run::{Programs, Setting, build};
use samples::Samples;

/// Arguments of `cargo xtask compare`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only on these runtimes.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RUNTIME")]
    runtimes: Vec<Runtime>,
    /// 1 MB at depth 1 only, 10 samples each.
    #[arg(long)]
    quick: bool,
    /// Only with these changes before each operation.
    #[arg(long, value_enum, value_delimiter = ',')]
    payload: Vec<Payload>,
    /// Only these operations.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OPERATION")]
    operations: Vec<Operation>,
    /// Where report.json, report.md and report.html go; `target/xtask/compare` unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep the result under this name.
    #[arg(long, value_name = "NAME", value_parser = name)]
    save: Option<String>,
    /// Compare with the result of this name; fails where an operation or a phase takes longer.
    #[arg(long, value_name = "NAME", value_parser = name)]
    against: Option<String>,
    /// How much longer is too long, in percent.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "against"
    )]
    threshold: f64,
    /// Slow a phase of a runtime down, to see whether it is found.
    #[arg(long, value_name = "RUNTIME:PHASE:MS")]
    delay: Option<Delay>,
}

/// A name of a result, which names its file.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() && !text.starts_with('.') {
        true => Ok(text.to_owned()),
        false => Err("letters, digits, '-', '_' and '.' only".to_owned()),
    }
}

/// The file of a saved result.
fn saved(name: &str) -> PathBuf {
    let folder = usual_dir().join("compare/saved");
    folder.join(format!("{name}.json"))
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    interrupt::watch()?;
    let extent = Extent::new(args.quick, &args.payload, &args.operations);
    if extent.cells.is_empty() {
        bail!("nothing is left to be measured");
    }
    // Before anything takes time.
    let former = args.against.as_ref().map(|name| Report::load(&saved(name)));
    let former = former.transpose()?;
    let runtimes = match args.runtimes.as_slice() {
        [] => Runtime::ALL.to_vec(),
        chosen => chosen.to_vec(),
    };
    if let Some(delay) = &args.delay
        && !runtimes
            .iter()
            .any(|runtime| runtime.to_string() == delay.runtime)
    {
        bail!("{delay}: that runtime takes no part");
    }
    // Before the build, which is itself a load.
    let machine = Machine::this()?;
    let versions = versions()?;
    let commit = Commit::current();
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| usual_dir().join("compare"));
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    setup(Needs::All)?;
    interrupt::check()?;
    let archives = images(&usual_dir(), false)?;
    let programs = build(args.delay.is_some())?;
    let layout = Layout::new(None)?;
    let begun = Instant::now();
    let started_at = now()?;
    let measured = with_daemons(&layout, &daemons(&runtimes), || {
        let comparison = Comparison {
            args,
            runtimes: &runtimes,
            layout: &layout,
            programs: &programs,
            extent: &extent,
            log: &out.join("benchmark.log"),
        };
        comparison.run(&archives.target_app)
    })?;
    let origin = Origin {
        command: command_line(),
        started_at,
        seconds: begun.elapsed().as_secs(),
        quick: args.quick,
        rounds: extent.rounds,
        warm_up: extent.warm_up,
        samples: extent.samples,
        delay: args.delay.clone(),
        commit,
        machine,
        versions,
    };
    let report = Report::new(origin, Samples::read(&measured)?);
    write(&report, &out)?;
    if let Some(name) = &args.save {
        let path = saved(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        report.save(&path)?;
        println!("kept as {name}: {}", path.display());
    }
    match (former, &args.against) {
        (Some(former), Some(name)) => judge(&former, &report, name, args.threshold),
        _ => Ok(()),
    }
}

/// One comparison, with daemons that answer.
struct Comparison<'a> {
    args: &'a Args,
    runtimes: &'a [Runtime],
    layout: &'a Layout,
    programs: &'a Programs,
    extent: &'a Extent,
    log: &'a Path,
}

impl Comparison<'_> {
    /// Measures, and leaves nothing behind; what the benchmark wrote down.
    fn run(&self, archive: &Path) -> Result<String> {
        let engines: Vec<Engine> = daemons(self.runtimes)
            .into_iter()
            .map(|kind| Engine::new(self.layout, kind))
            .collect();
        let run = format!("{:08x}", rand::random::<u32>());
        let name = format!("statefork-compare-{run}");
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir()
            .context("make a temporary folder")?;
        let depths = self.extent.depths();
        let task = Task {
            // It is the guard's to remove from here on.
            folder: folder.keep(),
            program: self.programs.statefork.clone(),
            runtime: self.runtimes.to_vec(),
            environment: depths
                .iter()
                .map(|depth| format!("{name}-d{depth}"))
                .collect(),
            name,
        };
        let mut guard = Guard::start(&task)?;
        for engine in &engines {
            if !engine.has_image(TARGET_APP)? {
                guard.loads(engine.kind)?;
            }
        }
        with_images(&engines, &[(archive, TARGET_APP)], || {
            let measured = self.measure(archive, &engines, &task, &run);
            let ended = guard.end(measured.is_ok());
            and_cleaned(measured, ended)
        })
    }

    fn measure(
        &self,
        archive: &Path,
        engines: &[Engine],
        task: &Task,
        run: &str,
    ) -> Result<String> {
        // A name of its own, which nobody else takes away meanwhile.
        let repository = format!("localhost/{}", task.name);
        for engine in engines {
            engine.tag(TARGET_APP, &repository, "app")?;
        }
        let image = format!("{repository}:app");
        if self.runtimes.contains(&Runtime::Native) {
            task.import_on_native(self.layout, archive, &image)?;
        }
        let setting = Setting {
            programs: self.programs,
            layout: self.layout,
            task,
            run,
            image: &image,
            extent: self.extent,
            delay: self.args.delay.as_ref(),
            log: self.log,
        };
        println!(
            "measuring {} cells, each {} times by each tool; {} has the benchmark's own output",
            self.extent.cells.len(),
            self.extent.rounds * self.extent.samples,
            self.log.display()
        );
        setting.run()
    }
}

fn write(report: &Report, out: &Path) -> Result<()> {
    report.save(&out.join("report.json"))?;
    for (file, text) in [
        ("report.md", markdown::render(report)),
        ("report.html", html::render(report)),
    ] {
        let path = out.join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    for table in [rows::summary(report), rows::clocks(report)] {
        println!("\n{}\n{}", table.title, table.head.join(" | "));
        for row in &table.rows {
            println!("{}", row.join(" | "));
        }
    }
    println!("\nthe report: {}", out.join("report.html").display());
    Ok(())
}

/// Compares with a former result.
fn judge(former: &Report, report: &Report, name: &str, percent: f64) -> Result<()> {
    let against = Against::new(former, report, percent / 100.0);
    println!("\nagainst {name}, {percent} % or more apart:\n{against}");
    let slower: Vec<String> = against.slower().map(ToString::to_string).collect();
    if !slower.is_empty() {
        bail!("slower than {name}:\n  {}", slower.join("\n  "));
    }
    Ok(())
}

/// The command as a person would type it.
fn command_line() -> String {
    let args = std::env::args().skip(1);
    ["cargo".to_owned(), "xtask".to_owned()]
        .into_iter()
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The time of day, in UTC.
fn now() -> Result<String> {
    let mut date = crate::process::command("date");
    let text = crate::process::run(date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    Ok(text.trim().to_owned())
}
