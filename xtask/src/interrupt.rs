//! Ctrl-C: what has been started is ended and cleaned up before we go.
//!
//! Programs that run meanwhile are in process groups of their own, so that a terminal's Ctrl-C
//! reaches us alone; we pass it on once.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use crate::process::display;

/// The exit status of who was interrupted.
pub(crate) const EXIT_CODE: u8 = 130;

/// How long a program may take to end once it was told.
const PATIENCE: Duration = Duration::from_secs(60);

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal that asks us to end has arrived.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails if a signal that asks us to end has arrived.
pub(crate) fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}

/// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending us; a second one ends us at
/// once.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if REQUESTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(EXIT_CODE.into());
                }
                eprintln!("\ninterrupted: cleaning up; once more leaves everything as it is");
            }
        });
    });
    Ok(())
}

/// Whether Ctrl-C reaches a program that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// It is told.
    Interrupts,
    /// It cleans up and is left to it.
    Nothing,
}

/// Runs a program to its end, its output on ours.
pub(crate) fn run(command: &mut Command, heed: Heed) -> Result<ExitStatus> {
    let mut child = spawn(command)?;
    wait(&mut child, heed)
}

/// What a program has written.
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Runs a program to its end and returns what it wrote.
pub(crate) fn output(command: &mut Command, heed: Heed) -> Result<Output> {
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    command
        .stdout(Stdio::from(stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?));
    let status = run(command, heed)?;
    Ok(Output {
        status,
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
    })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .process_group(0)
        .spawn()
        .with_context(|| format!("run `{}`", display(command)))
}

fn wait(child: &mut Child, heed: Heed) -> Result<ExitStatus> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let mut told: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        // The child is not reaped yet, so the number is still its own.
        if heed == Heed::Interrupts
            && requested()
            && let Some(group) = group
        {
            match told {
                None => {
                    kill_process_group(group, Signal::INT)?;
                    told = Some(Instant::now());
                }
                Some(since) if since.elapsed() > PATIENCE => {
                    kill_process_group(group, Signal::KILL)?;
                }
                Some(_) => {}
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::command;

    #[test]
    fn both_outputs_and_the_status_are_returned() {
        let mut command = command("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let output = output(&mut command, Heed::Interrupts).unwrap();
        assert_eq!(output.stdout, "out\n");
        assert_eq!(output.stderr, "err\n");
        assert_eq!(output.status.code(), Some(3));
    }
}
