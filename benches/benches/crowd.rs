//! A hundred applications side by side on native: do all of them answer, and how much memory of ours
//! does each cost?
//!
//! Each is an environment of its own with a published port, brought up by the built program, and so
//! has a shim and a process that waits for its end. The application is a small server: it is not its
//! memory that is asked for.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use statefork_benches::{BUSYBOX, PORT, program, storage_options};

/// How many there are.
const CROWD: usize = 100;
/// What the processes of ours may take of each, proportionally (PSS), in kB.
const MOST: u64 = 4 * 1024;
/// The exit code of a command whose environment is not there.
const NOT_FOUND: i32 = 3;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    // What `cargo bench -- --test` asks for: does it work?
    let count = match std::env::args().any(|argument| argument == "--test") {
        true => 3,
        false => CROWD,
    };
    if !rustix::process::geteuid().is_root() {
        println!("crowd: skipped: native makes containers as root only");
        return Ok(());
    }
    let folder = tempfile::Builder::new()
        .prefix("crowd-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    // The server does not hear a polite stop, and is not prepared twice. A configuration that others can write is refused.
    let config = folder.path().join("statefork.yaml");
    fs::write(&config, "stop: {timeout: 100ms}\nstandby: none\n")?;
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
    let crowd = Crowd {
        statefork: program("statefork")?,
        home: folder.path().join("home"),
        config,
    };
    crowd.import()?;
    let measured = crowd.measure(count);
    // Whatever came of it: nothing of them stays.
    let brought_down = crowd.bring_down(count);
    match (measured, brought_down) {
        (Err(first), Err(cleanup)) => Err(first.context(format!("{cleanup:#}"))),
        (measured, brought_down) => measured.and(brought_down),
    }
}

/// Environments in one home.
struct Crowd {
    statefork: PathBuf,
    home: PathBuf,
    config: PathBuf,
}

impl Crowd {
    fn storage(&self) -> PathBuf {
        self.home.join("native")
    }

    fn import(&self) -> Result<()> {
        self.run(0, &["doctor"])?;
        let native = statefork_native::open(&storage_options(&self.storage())?)?;
        let runtime = tokio::runtime::Runtime::new().context("start an async runtime")?;
        runtime.block_on(BUSYBOX.import(&native)).map(drop)
    }

    /// A command on the environment of that number.
    fn command(&self, number: usize, args: &[&str]) -> Command {
        let mut command = Command::new(&self.statefork);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATEFORK_") {
                command.env_remove(name);
            }
        }
        let environment = format!("crowd-{number}");
        command
            .arg("--json")
            .arg("--config")
            .arg(&self.config)
            .arg("--home")
            .arg(&self.home)
            .args(["-e", &environment, "-r", "native"])
            .args(args);
        command
    }

    /// Runs a command on the environment of that number, and returns its document.
    fn run(&self, number: usize, args: &[&str]) -> Result<Value> {
        let mut command = self.command(number, args);
        let output = command.output()?;
        ensure!(output.status.success(), told_by(&command, &output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Takes away what there is of each, also where that fails with some. Errors: the first.
    fn bring_down(&self, count: usize) -> Result<()> {
        let mut failures = Vec::new();
        for number in 0..count {
            let mut down = self.command(number, &["down", "--purge"]);
            match down.output() {
                // Those behind one that did not come up.
                Ok(output) if matches!(output.status.code(), Some(0 | NOT_FOUND)) => {}
                Ok(output) => failures.push(anyhow!(told_by(&down, &output))),
                Err(error) => failures.push(error.into()),
            }
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            Some(first) => Err(first.context(format!("{failed} of {count} were not taken away"))),
            None => Ok(()),
        }
    }

    fn measure(&self, count: usize) -> Result<()> {
        let begun = Instant::now();
        let publish = PORT.to_string();
        let up = ["up", BUSYBOX.name, "-p", &publish, "--"];
        let server = ["httpd", "-f", "-p", &publish];
        let up = [&up[..], &server].concat();
        let mut ports = Vec::new();
        for number in 0..count {
            let document = self.run(number, &up)?;
            let port = document["ports"][0]["host"].as_u64();
            ports.push(u16::try_from(port.context("find the port")?)?);
        }
        let took = begun.elapsed();
        let answering = ports.iter().filter(|port| answers(**port)).count();
        println!(
            "{answering} of {count} answer, brought up in {} ms",
            took.as_millis()
        );
        let (shims, monitors) = (self.shims()?, self.monitors()?);
        println!("n | kB of memory (PSS): each, mean (min to max)");
        let each = told("the shims", &shims)? + told("who waits for the end", &monitors)?;
        println!("both, for each application | {each}");
        ensure!(answering == count, "some do not answer");
        ensure!(shims.len() == count && monitors.len() == count);
        // A few share little, and so does another build than that of a release.
        ensure!(each <= MOST || count < CROWD, "that is more than {MOST} kB");
        Ok(())
    }

    /// What the shims take, each.
    fn shims(&self) -> Result<Vec<u64>> {
        let locks = entries(&self.home.join("shims"), "lock")?;
        locks.iter().map(|lock| memory(&lock["pid"])).collect()
    }

    /// What those take who wait for the end of a container, each.
    fn monitors(&self) -> Result<Vec<u64>> {
        let runs = entries(&self.storage().join("containers"), "run.json")?;
        let pids = runs.iter().map(|run| memory(&run["monitor"]["pid"]));
        pids.collect()
    }
}

/// How a command failed.
fn told_by(command: &Command, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    format!("{command:?} ended with {}: {said}", output.status)
}

/// The file of that name in each folder of a folder.
fn entries(folder: &Path, name: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path().join(name);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        found.push(serde_json::from_slice(&text)?);
    }
    Ok(found)
}

/// The memory of a process in kB; what it shares with others is counted in parts.
fn memory(pid: &Value) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.context("read the memory of a process")?.parse()?)
}

/// Prints them; their mean, rounded up.
fn told(what: &str, kilobytes: &[u64]) -> Result<u64> {
    let (min, max) = (kilobytes.iter().min(), kilobytes.iter().max());
    let (min, max) = (min.context("find any")?, max.context("find any")?);
    let count = u64::try_from(kilobytes.len())?;
    let mean = kilobytes.iter().sum::<u64>().div_ceil(count);
    println!("{what} | {count} | {mean} ({min} to {max})");
    Ok(mean)
}

/// Whether the small server says that it has no such file.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /none HTTP/1.1\r\nhost: crowd\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 404"))
}
