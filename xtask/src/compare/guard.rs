//! Takes away what a comparison has made, also when the comparison was killed.
//!
//! A process of its own waits at a pipe whose other end the comparison holds. When that closes, in
//! whatever way the comparison has ended, it ends the benchmark and removes everything that carries
//! the run's name: first by `statefork` itself, then what is left one by one. Nothing else is touched.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::daemons::{Kind, Layout, identity};
use crate::engine::Engine;
use crate::image::TARGET_APP;
use crate::interrupt::{self, Heed};
use crate::process::this_program;
use crate::runtime::{Runtime, daemons};

/// The name of the command.
pub(crate) const GUARD: &str = "compare-guard";

/// The variable by which the benchmark and what it starts are known.
pub(super) const PLAN: &str = "STATEFORK_COMPARE_PLAN";

/// What the comparison says on the pipe: that it lives, and removes again what it has loaded.
const ALIVE: &str = "alive";
/// That the benchmark has brought its environments down.
const DOWN: &str = "down";
/// Before the name of a daemon into which it is about to load the application's image.
const LOADS: &str = "loads ";

/// What is in the name of everything that the naive way makes, beside the run's name.
const NAIVE: &str = "-naive";

/// The exit code of `statefork` where the environment does not exist.
const NOTHING_THERE: i32 = 3;

/// Which run, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    /// What everything that the run makes is named after.
    #[arg(long)]
    pub(super) name: String,
    /// Its folder, with the home.
    #[arg(long)]
    pub(super) folder: PathBuf,
    /// `statefork`.
    #[arg(long)]
    pub(super) program: PathBuf,
    /// On which runtimes.
    #[arg(long, value_enum)]
    pub(super) runtime: Vec<Runtime>,
    /// The names of its environments.
    #[arg(long)]
    pub(super) environment: Vec<String>,
}

impl Task {
    /// The home of the run.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Imports the application's image under a name into the storage of the run, which goes with it.
    pub(super) fn import_on_native(
        &self,
        layout: &Layout,
        archive: &Path,
        name: &str,
    ) -> Result<()> {
        let archive = archive.to_str().context("a path is not UTF-8")?;
        let args = ["-r", "native", "image", "import", "--name", name, archive];
        statefork(self, layout, &args)
    }
}

/// The guard, as the comparison has it.
pub(super) struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts it.
    pub(super) fn start(task: &Task) -> Result<Self> {
        let mut command = Command::new(this_program()?);
        command
            .arg(GUARD)
            .args(["--name", &task.name])
            .arg("--folder")
            .arg(&task.folder)
            .arg("--program")
            .arg(&task.program);
        for runtime in &task.runtime {
            command.args(["--runtime", &runtime.to_string()]);
        }
        for environment in &task.environment {
            command.args(["--environment", environment]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            // A terminal's Ctrl-C is for the comparison alone.
            .process_group(0)
            .spawn()
            .context("start the guard")?;
        let pipe = child.stdin.take().context("no pipe to the guard")?;
        Ok(Self { child, pipe })
    }

    /// Tells it that the application's image is about to be loaded into a daemon.
    pub(super) fn loads(&mut self, kind: Kind) -> Result<()> {
        writeln!(self.pipe, "{LOADS}{kind}").context("tell the guard")
    }

    /// Has it take everything away but the images that were loaded; less is to be done where the
    /// benchmark came to its end.
    pub(super) fn end(self, is_down: bool) -> Result<()> {
        let Self {
            mut child,
            mut pipe,
        } = self;
        writeln!(pipe, "{ALIVE}").context("tell the guard")?;
        if is_down {
            writeln!(pipe, "{DOWN}").context("tell the guard")?;
        }
        drop(pipe);
        let status = child.wait()?;
        if !status.success() {
            bail!("taking away what the comparison made ended with {status}");
        }
        Ok(())
    }
}

/// Runs the command: waits, then takes away.
pub(crate) fn run_command(task: &Task) -> Result<()> {
    // Whoever ends the comparison may mean this one too.
    interrupt::watch()?;
    let (mut alive, mut is_down, mut loaded) = (false, false, Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read from the comparison")?;
        alive |= line == ALIVE;
        is_down |= line == DOWN;
        loaded.extend(line.strip_prefix(LOADS).map(str::to_owned));
    }
    if !alive {
        println!("{GUARD}: the comparison has ended early: its leftovers are taken away");
    }
    let layout = Layout::new(None)?;
    let mut failures = Vec::new();
    let mut keep = |done: Result<()>| failures.extend(done.err().map(|error| format!("{error:#}")));
    keep(end_processes(&task.folder));
    let engines = daemons(&task.runtime).into_iter();
    let engines: Vec<Engine> = engines.map(|kind| Engine::new(&layout, kind)).collect();
    for engine in &engines {
        // The naive way stands on images of the environments.
        keep(sweep(engine, |object| {
            object.contains(&task.name) && object.contains(NAIVE)
        }));
    }
    if !is_down {
        keep(down(task, &layout));
    }
    for engine in &engines {
        keep(sweep(engine, |object| object.contains(&task.name)));
        if !alive && loaded.contains(&engine.kind.to_string()) {
            keep(engine.remove_image(TARGET_APP));
        }
    }
    keep(
        fs::remove_dir_all(&task.folder)
            .with_context(|| format!("remove {}", task.folder.display())),
    );
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// Kills them until none is left: the helpers start workers where a command has died.
fn end_processes(folder: &Path) -> Result<()> {
    loop {
        let processes = processes_of(folder)?;
        if processes.is_empty() {
            return Ok(());
        }
        for process in processes {
            process.kill()?;
        }
    }
}

/// The benchmark, the workers and the helpers that it has started, by the plan that they were given.
fn processes_of(folder: &Path) -> Result<Vec<identity::Identity>> {
    let variable = format!("{PLAN}={}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(process) = name
            .to_str()
            .and_then(|pid| identity::Identity::of(pid.parse().ok()?))
        else {
            continue;
        };
        // Those of others cannot be read, and are not ours.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(variable.as_bytes()))
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Brings the run's environments down by `statefork`, where the benchmark has not.
fn down(task: &Task, layout: &Layout) -> Result<()> {
    if !task.home().join("store.sqlite").exists() {
        return Ok(());
    }
    for runtime in &task.runtime {
        for environment in &task.environment {
            let runtime = runtime.to_string();
            let args = ["-r", &runtime, "-e", environment, "down", "--purge"];
            statefork(task, layout, &args)?;
        }
    }
    // What is left of a probe that was cut off goes with the next.
    statefork(task, layout, &["doctor"])
}

/// Runs `statefork`; that something is not there is no error.
fn statefork(task: &Task, layout: &Layout, args: &[&str]) -> Result<()> {
    let mut command = Command::new(&task.program);
    command
        .arg("--home")
        .arg(task.home())
        .args(args)
        .current_dir(&task.folder)
        .stdin(Stdio::null());
    for (variable, kind) in [
        ("DOCKER_HOST", Kind::Docker),
        ("CONTAINER_HOST", Kind::Podman),
    ] {
        command.env(
            variable,
            format!("unix://{}", layout.socket(kind).display()),
        );
    }
    let output = interrupt::output(&mut command, Heed::Nothing)?;
    match output.status.code() {
        Some(0 | NOTHING_THERE) => Ok(()),
        _ => bail!(
            "statefork {} ended with {}: {}",
            args.join(" "),
            output.status,
            output.stderr.trim()
        ),
    }
}

/// Removes what has such a name: containers first, since they hold their images.
fn sweep(engine: &Engine, is_ours: impl Fn(&str) -> bool) -> Result<()> {
    for container in engine.containers(None)? {
        if is_ours(&container.name) {
            engine.remove_container(&container.id)?;
        }
    }
    for object in engine.objects()? {
        let names = object.name.split(", ").filter(|tag| is_ours(tag));
        for tag in names.filter(|_| object.what == "image") {
            engine.remove_image(tag)?;
        }
    }
    let left = engine.objects()?.into_iter();
    let left: Vec<String> = left
        .filter(|object| is_ours(&object.name))
        .map(|object| object.to_string())
        .collect();
    if !left.is_empty() {
        bail!("{}: left: {}", engine.kind, left.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_plan_is_ended_and_nothing_else() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start = |folder: &Path| {
            let plan = folder.join("plan.json");
            Command::new("sleep")
                .arg("60")
                .env(PLAN, plan)
                .spawn()
                .unwrap()
        };
        let (mut ended, mut spared) = (start(ours.path()), start(others.path()));
        assert_eq!(processes_of(ours.path()).unwrap().len(), 1);
        end_processes(ours.path()).unwrap();
        assert!(!ended.wait().unwrap().success());
        assert!(spared.try_wait().unwrap().is_none());
        end_processes(others.path()).unwrap();
        spared.wait().unwrap();
    }
}
