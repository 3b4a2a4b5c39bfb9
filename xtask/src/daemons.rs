//! `cargo xtask daemons`: the Docker daemon and the Podman service where no init system starts
//! them.
//!
//! A daemon that already answers on its usual socket is used and never stopped. One that this
//! command starts runs in a session of its own, so it survives us, and is recorded in the state
//! directory by pid, start time and boot; only a process that matches such a record is stopped.

mod firewall;
pub(crate) mod identity;
mod layout;
mod ping;
mod record;
mod remains;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cleanup::and_cleaned;
use crate::process::{command, find_program, is_root};
use identity::Identity;
pub(crate) use layout::{Kind, Layout};
use record::Record;
pub(crate) use remains::is_exec_monitor;

/// How long a daemon may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a daemon may take to end by itself: Docker first stops its containers, for up to 15 s.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// `cargo xtask daemons COMMAND`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Start each one that does not answer, and wait until it does.
    Up(Args),
    /// Stop those that `up` started.
    Down(Args),
    /// Say which ones answer and who started them.
    Status(Args),
}

/// Arguments of each of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this one.
    #[arg(value_enum)]
    daemon: Option<Kind>,
    /// Keep records, logs, sockets and all data in DIR, and the networks in a namespace of their
    /// own, apart from the machine's usual daemons.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Args {
    fn kinds(&self) -> Vec<Kind> {
        self.daemon
            .map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
    }

    fn layout(&self) -> Result<Layout> {
        Layout::new(self.state_dir.as_deref())
    }
}

/// Runs the command.
pub(crate) fn run_command(command: &Command) -> Result<()> {
    match command {
        Command::Up(args) => up(&args.layout()?, &args.kinds()),
        Command::Down(args) => down(&args.layout()?, &args.kinds()),
        Command::Status(args) => {
            status(&args.layout()?, &args.kinds());
            Ok(())
        }
    }
}

/// Starts each daemon that does not answer, and waits until it does.
fn up(layout: &Layout, kinds: &[Kind]) -> Result<()> {
    for &kind in kinds {
        bring_up(layout, kind)?;
    }
    Ok(())
}

/// Stops those of the named daemons that [`up`] has started, in this process or an earlier one.
fn down(layout: &Layout, kinds: &[Kind]) -> Result<()> {
    for &kind in kinds {
        let Some(record) = Record::load(layout, kind)? else {
            println!("{kind}: not started by us, left as it is");
            continue;
        };
        take_down(layout, kind, &record).with_context(|| format!("failed to stop {kind}"))?;
    }
    Ok(())
}

/// Starts each daemon that does not answer, does something, and stops those again, also after a
/// failure.
pub(crate) fn with_daemons<T>(
    layout: &Layout,
    kinds: &[Kind],
    action: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut started = Vec::new();
    let result = (|| {
        for &kind in kinds {
            crate::interrupt::check()?;
            if bring_up(layout, kind)? {
                started.push(kind);
            }
        }
        action()
    })();
    and_cleaned(result, down(layout, &started))
}

/// Whether it had to be started.
fn bring_up(layout: &Layout, kind: Kind) -> Result<bool> {
    let socket = layout.socket(kind);
    if ping::ping(&socket).is_ok() {
        println!("{kind}: answers on {}", socket.display());
        return Ok(false);
    }
    if !is_root() {
        bail!(
            "start {kind} takes root: nothing answers on {}",
            socket.display()
        );
    }
    if find_program(kind.program()).is_none() {
        bail!(
            "{} was not found: run `cargo xtask setup` first",
            kind.program()
        );
    }
    layout.create()?;
    let former = Record::load(layout, kind)?;
    if let Some(record) = &former
        && record.daemon.is_alive()
    {
        bail!(
            "{kind} runs as process {} but does not answer; its log is {}",
            record.daemon.pid,
            layout.log(kind).display()
        );
    }
    layout.remove_stale_pid_files(kind)?;
    let begun = Instant::now();
    let pid = start(layout, kind, former).with_context(|| format!("failed to start {kind}"))?;
    println!(
        "{kind}: started as process {pid}, answers on {} after {:.1} s, log {}",
        socket.display(),
        begun.elapsed().as_secs_f64(),
        layout.log(kind).display()
    );
    Ok(true)
}

/// Kills a daemon that [`with_daemons`] has started.
pub(crate) fn kill(layout: &Layout, kind: Kind) -> Result<()> {
    let record = Record::load(layout, kind)?.context("it was not started by us")?;
    record.daemon.kill()?;
    // dockerd takes its containerd along: its next one would find this one's socket.
    record
        .containerd
        .map_or(Ok(()), |containerd| containerd.kill())
}

/// Starts a daemon again that was killed, and waits until it answers.
pub(crate) fn revive(layout: &Layout, kind: Kind) -> Result<()> {
    let former = Record::load(layout, kind)?;
    layout.remove_stale_pid_files(kind)?;
    start(layout, kind, former).with_context(|| format!("failed to start {kind} again"))?;
    Ok(())
}

/// Returns the daemon's pid once it answers.
fn start(layout: &Layout, kind: Kind, former: Option<Record>) -> Result<i32> {
    let begun = Instant::now();
    let socket = layout.socket(kind);
    let log = layout.log(kind);
    let out = File::options().create(true).append(true).open(&log)?;
    if let Some(parent) = socket.parent() {
        fs::create_dir_all(parent)?;
    }
    let forward_policy = match &former {
        // One that was killed has left its own policy in place of what was there before it.
        Some(record) if record.daemon.is_of_this_boot() => record.forward_policy.clone(),
        _ if kind == Kind::Docker && !layout.is_apart() => firewall::forward_policy(),
        _ => None,
    };
    // setsid replaces itself with the daemon, so the child's pid is the daemon's.
    let mut child = command("setsid")
        .args(layout.command_line(kind))
        // With it podman takes itself for the client of another service.
        .env_remove("CONTAINER_HOST")
        .stdout(Stdio::from(out.try_clone()?))
        .stderr(Stdio::from(out))
        .current_dir("/")
        .spawn()?;
    let pid = i32::try_from(child.id())?;
    let daemon = Identity::of(pid).context("it ended at once")?;
    let mut record = Record {
        daemon,
        containerd: None,
        forward_policy,
    };
    record.save(layout, kind)?;
    let failure = loop {
        match ping::ping(&socket) {
            Ok(()) => break None,
            Err(_) if child.try_wait()?.is_some() => break Some("it ended".to_owned()),
            Err(error) if begun.elapsed() > START_PATIENCE => break Some(format!("{error:#}")),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    if let Some(failure) = failure {
        record.daemon.stop(STOP_PATIENCE)?;
        // Reaps it, or its record would match a process that has ended.
        child.wait()?;
        match former {
            Some(former) => former.save(layout, kind)?,
            None => Record::remove(layout, kind)?,
        }
        bail!(
            "{failure}; the last lines of {}:\n{}",
            log.display(),
            tail(&log)
        );
    }
    record.containerd = layout.containerd(kind);
    record.save(layout, kind)?;
    Ok(pid)
}

fn take_down(layout: &Layout, kind: Kind, record: &Record) -> Result<()> {
    let begun = Instant::now();
    let was_alive = record.daemon.is_alive();
    record.daemon.stop(STOP_PATIENCE)?;
    if let Some(containerd) = &record.containerd {
        containerd.stop(Duration::from_secs(10))?;
    }
    for shim in layout.shims(kind) {
        // A shim does not take its container along.
        for container in shim.children() {
            container.stop(Duration::ZERO)?;
        }
        shim.stop(Duration::from_secs(2))?;
    }
    layout.unmount(kind);
    match fs::remove_file(layout.socket(kind)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if kind == Kind::Docker && !layout.is_apart() {
        firewall::clean(record.forward_policy.as_deref());
    }
    Record::remove(layout, kind)?;
    let how = if was_alive { "stopped" } else { "had ended" };
    println!("{kind}: {how}, {:.1} s", begun.elapsed().as_secs_f64());
    for what in layout.leftovers(kind) {
        println!("{kind}: left behind: {what}");
    }
    Ok(())
}

fn status(layout: &Layout, kinds: &[Kind]) {
    for &kind in kinds {
        let socket = layout.socket(kind);
        let answer = match ping::ping(&socket) {
            Ok(()) => format!("answers on {}", socket.display()),
            Err(error) => format!("does not answer ({error:#})"),
        };
        let origin = match Record::load(layout, kind) {
            Ok(Some(record)) if record.daemon.is_alive() => format!(
                ", started by us as process {}, log {}",
                record.daemon.pid,
                layout.log(kind).display()
            ),
            Ok(Some(record)) => format!(", process {} of ours has ended", record.daemon.pid),
            Ok(None) => String::new(),
            Err(error) => format!(", its record cannot be read: {error:#}"),
        };
        println!("{kind}: {answer}{origin}");
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
