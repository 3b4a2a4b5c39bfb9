//! The binary in a folder of its own, with a configuration in which no daemon answers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The runtimes that have a daemon.
pub(crate) const RUNTIMES: [&str; 2] = ["docker", "podman"];

/// A working directory with a home, and a configuration in which no daemon answers.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        world.configure("");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration: this, a runtime that has a daemon, and sockets where nobody listens.
    pub(crate) fn configure(&self, yaml: &str) {
        let mut text = format!("{yaml}runtime: docker\nruntimes:\n");
        for runtime in RUNTIMES {
            let socket = self.path("nobody.sock");
            text.push_str(&format!("  {runtime}: {{socket: {}}}\n", socket.display()));
        }
        self.write("statefork.yaml", &text);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_statefork")), args)
    }

    pub(crate) fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATEFORK_") {
                command.env_remove(name);
            }
        }
        command
            .env("STATEFORK_HOME", self.path("home"))
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args), "")
    }

    pub(crate) fn pipe(&self, args: &[&str], input: &str) -> Ended {
        ended(self.command(args).stdin(Stdio::piped()), input)
    }

    /// Must fail so, in the form that every error has.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "{args:?}\n{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: failed to "),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{args:?}");
        ended.stderr
    }
}

pub(crate) fn ended(command: &mut Command, input: &str) -> Ended {
    let mut child = command.spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
