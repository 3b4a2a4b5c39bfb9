//! A home and an environment of the demonstration's own, in which `statefork` runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemons::{Kind, Layout, identity};
use crate::engine::Engine;
use crate::interrupt::{self, Heed, Output};
use crate::runtime::Runtime;

/// What the configuration of the demonstration says.
const CONFIG: &str = "\
readiness:
  http:
    port: 8000
    path: /health
";

/// The exit code of `statefork` where the environment does not exist.
const NOTHING_THERE: i32 = 3;

/// Where `statefork` runs.
pub(super) struct Stage {
    program: PathBuf,
    runtime: Runtime,
    engine: Option<Engine>,
    sockets: [(&'static str, PathBuf); 2],
    environment: String,
    folder: TempDir,
}

impl Stage {
    /// Makes the folder with the configuration and the home.
    pub(super) fn set(
        program: &Path,
        layout: &Layout,
        runtime: Runtime,
        engine: Option<&Engine>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("statefork-demo-")
            .tempdir()
            .context("make a temporary folder")?;
        let config = folder.path().join("statefork.yaml");
        write_private(&config, CONFIG).with_context(|| format!("write {}", config.display()))?;
        let stage = Self {
            program: program.to_owned(),
            runtime,
            engine: engine.cloned(),
            sockets: [
                ("DOCKER_HOST", layout.socket(Kind::Docker)),
                ("CONTAINER_HOST", layout.socket(Kind::Podman)),
            ],
            environment: format!("demo-p{}", std::process::id()),
            folder,
        };
        println!("\n=== {runtime} ===\n");
        println!(
            "In {}, with this statefork.yaml:",
            stage.folder.path().display()
        );
        show(CONFIG);
        println!(
            "and STATEFORK_HOME=./home STATEFORK_ENVIRONMENT={}",
            stage.environment
        );
        Ok(stage)
    }

    /// The runtime's name.
    pub(super) fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// Runs `statefork`, showing the command as it would be typed and what it says.
    pub(super) fn run(&self, args: &[&str]) -> Result<()> {
        interrupt::check()?;
        let typed: Vec<_> = args.iter().map(|arg| quote(arg)).collect();
        println!("\n$ statefork -r {} {}", self.runtime(), typed.join(" "));
        let output = self.output(args, Heed::Interrupts)?;
        show(&output.stdout);
        show(&output.stderr);
        succeeded(&output, args)
    }

    /// Runs `statefork --json` without showing it.
    pub(super) fn json(&self, command: &str) -> Result<Value> {
        let args = ["--json", command];
        let output = self.output(&args, Heed::Interrupts)?;
        succeeded(&output, &args).with_context(|| output.stderr.clone())?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("statefork --json {command} prints no JSON"))
    }

    /// Takes away what is left of the environment: by `statefork` itself, and what that cannot
    /// remove one by one.
    pub(super) fn clear(&self) -> Result<()> {
        println!("\ntaking the environment away");
        let down = self.output(&["down", "--purge"], Heed::Nothing);
        match down {
            Ok(output) if output.status.success() => {}
            Ok(output) if output.status.code() == Some(NOTHING_THERE) => {}
            Ok(output) => show(&output.stderr),
            Err(error) => println!("{error:#}"),
        }
        let mut failures = Vec::new();
        let home = self.folder.path().display().to_string();
        for process in identity::find(|args| args.iter().any(|arg| arg.contains(&home))) {
            failures.extend(process.stop(Duration::from_secs(2)).err());
        }
        if let Some(engine) = &self.engine {
            self.sweep(engine, &mut failures)?;
        }
        match failures.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    /// Removes what is left in a daemon.
    fn sweep(&self, engine: &Engine, failures: &mut Vec<anyhow::Error>) -> Result<()> {
        let label = format!("dev.statefork.environment={}", self.environment);
        for container in engine.containers(Some(&label))? {
            failures.extend(engine.remove_container(&container.id).err());
        }
        // Those made from others come first.
        for image in engine.images(&label)? {
            failures.extend(engine.remove_image(&image.id).err());
        }
        Ok(())
    }

    fn output(&self, args: &[&str], heed: Heed) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .args(["-r", &self.runtime().to_string()])
            .args(args)
            .current_dir(self.folder.path())
            .env("STATEFORK_HOME", "home")
            .env("STATEFORK_ENVIRONMENT", &self.environment)
            .env_remove("STATEFORK_RUNTIME")
            .stdin(std::process::Stdio::null());
        for (variable, socket) in &self.sockets {
            command.env(variable, format!("unix://{}", socket.display()));
        }
        interrupt::output(&mut command, heed)
    }
}

fn succeeded(output: &Output, args: &[&str]) -> Result<()> {
    if !output.status.success() {
        bail!("statefork {} ended with {}", args.join(" "), output.status);
    }
    Ok(())
}

fn show(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}

/// An argument as a shell takes it.
fn quote(arg: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@~^".contains(c);
    if arg.chars().all(is_plain) && !arg.is_empty() {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

/// A configuration that others can write is refused, whatever the umask says.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn arguments_are_shown_as_a_shell_takes_them() {
        assert_eq!(quote("-p"), "-p");
        assert_eq!(quote("localhost/app:latest"), "localhost/app:latest");
        assert_eq!(quote("before it's too late"), r"'before it'\''s too late'");
        assert_eq!(quote(""), "''");
    }
}
