//! Where `statefork` runs: a home, a configuration, and the daemon of the enclosure.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Enclosed;
use super::client::Database;
use crate::daemons::{Layout, identity::Identity};
use crate::image::POSTGRES;
use crate::interrupt;
use crate::runtime::Runtime;

/// No command takes as long.
const LIMIT: Duration = Duration::from_secs(150);

/// How often it is looked whether a command has ended.
const POLL: Duration = Duration::from_millis(2);

/// The environment's name.
const ENVIRONMENT: &str = "prove";

/// Where `statefork` runs.
#[derive(Debug)]
pub(super) struct Stage {
    program: PathBuf,
    /// The runtime.
    pub(super) runtime: Runtime,
    folder: PathBuf,
    /// The database, at the branch's address.
    pub(super) database: Database,
}

impl Stage {
    /// Writes the configuration.
    pub(super) fn set(task: &Enclosed, layout: &Layout) -> Result<Self> {
        let runtime = task.runtime;
        let mut config = "readiness: {exec: [pg_isready, --quiet, --host=127.0.0.1]}\n".to_owned();
        if let Some(kind) = runtime.daemon() {
            let socket = layout.socket(kind);
            let socket = socket.display();
            config += &format!("runtimes: {{{runtime}: {{socket: {socket}}}}}\n");
        }
        if runtime == Runtime::Docker {
            // All links but one container's are removed between rounds (`links.rs`).
            config += "standby: none\n";
        }
        // A configuration that others can write is refused, whatever the umask says.
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(task.folder.join("statefork.yaml"))?
            .write_all(config.as_bytes())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        Ok(Self {
            program: task.program.clone(),
            runtime,
            folder: task.folder.clone(),
            database: Database(listener.local_addr()?),
        })
    }

    /// Brings the database up.
    pub(super) fn up(&self) -> Result<Value> {
        let port = format!("{}:5432", self.database.0.port());
        self.json(&["up", POSTGRES, "-p", &port])
    }

    /// Runs a command that must succeed, and returns its document.
    pub(super) fn json(&self, args: &[&str]) -> Result<Value> {
        interrupt::check()?;
        let mut running = self.start(args)?;
        let status = running.wait()?;
        if !status.success() {
            let said = running.said()?;
            bail!("{} ended with {status}: {said}", running.shown);
        }
        let document = text(&mut running.stdout)?;
        serde_json::from_str(&document)
            .with_context(|| format!("{} prints no JSON: {document}", running.shown))
    }

    /// Starts a command.
    pub(super) fn start(&self, args: &[&str]) -> Result<Running> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let shown = format!("statefork {}", args.join(" "));
        let child = Command::new(&self.program)
            .args(["--json", "-r", &self.runtime.to_string(), "-e", ENVIRONMENT])
            .args(args)
            .current_dir(&self.folder)
            .env("STATEFORK_HOME", self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::from(stdout.try_clone()?))
            .stderr(Stdio::from(stderr.try_clone()?))
            .spawn()
            .with_context(|| format!("run `{shown}`"))?;
        Ok(Running {
            child,
            stdout,
            stderr,
            begun: Instant::now(),
            shown,
        })
    }

    /// The shim that listens on the branch's port: the home says which process it is.
    pub(super) fn shim(&self) -> Result<Identity> {
        for entry in fs::read_dir(self.home().join("shims"))? {
            let lock: Value = serde_json::from_slice(&fs::read(entry?.path().join("lock"))?)?;
            let pid = lock["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if let Some(identity) = pid.and_then(Identity::of) {
                return Ok(identity);
            }
        }
        bail!("no shim runs")
    }

    /// Where native has its images, layers and containers: in the home, unless it is told otherwise.
    pub(super) fn storage(&self) -> PathBuf {
        self.home().join("native")
    }

    /// Those of native's processes that are there for its containers: the monitors (`monitor`), or the
    /// applications' first processes (`init`).
    pub(super) fn processes_of_native(&self, which: &str) -> Result<Vec<Identity>> {
        let mut found = Vec::new();
        for container in fs::read_dir(self.storage().join("containers"))? {
            // There is none before the start, and none after the removal.
            let Ok(run) = fs::read(container?.path().join("run.json")) else {
                continue;
            };
            let run: Value = serde_json::from_slice(&run).context("read what a monitor wrote")?;
            let pid = run[which]["pid"].as_i64().context("no such process")?;
            found.extend(Identity::of(i32::try_from(pid)?));
        }
        Ok(found)
    }

    /// What stands, for a person who looks for what went wrong.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for command in ["status", "branch", "history"] {
            text += &match self.json(&[command]) {
                Ok(document) => format!("  {command}: {document}\n"),
                Err(error) => format!("  {command}: {error:#}\n"),
            };
        }
        let shims = self.home().join("shims");
        for shim in fs::read_dir(shims).into_iter().flatten().flatten() {
            let log = shim.path().join("log");
            text += &match fs::read_to_string(&log) {
                Ok(lines) => format!("  {}:\n{lines}", log.display()),
                Err(error) => format!("  {}: {error}\n", log.display()),
            };
        }
        text
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    begun: Instant,
    shown: String,
}

impl Running {
    /// Waits until the command has run for so long, or has ended: then returns `false`.
    pub(super) fn runs_for(&mut self, delay: Duration) -> Result<bool> {
        while self.begun.elapsed() < delay {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            thread::sleep(POLL.min(delay.saturating_sub(self.begun.elapsed())));
        }
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends SIGKILL. The command stays a zombie until it is waited for.
    pub(super) fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if self.begun.elapsed() > LIMIT {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {LIMIT:?}", self.shown);
            }
            thread::sleep(POLL);
        }
    }

    /// What it wrote to standard error.
    pub(super) fn said(&mut self) -> Result<String> {
        Ok(text(&mut self.stderr)?.trim().to_owned())
    }

    /// How long ago it was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
