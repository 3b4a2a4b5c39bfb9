//! Running other programs: quiet while they work, their last lines when they fail.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// How many lines of a failed program's output are shown.
const TAIL: usize = 20;

/// Directories of administration programs that a user's `PATH` may lack.
const ADMIN_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds a program on `PATH` or among the administration programs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ADMIN_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// A command whose program is looked up by [`find_program`], and whose own `PATH` holds the
/// administration programs too.
pub(crate) fn command(name: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for dir in ADMIN_DIRS {
        path.push(":");
        path.push(dir);
    }
    let mut command = Command::new(find_program(name).unwrap_or_else(|| PathBuf::from(name)));
    command.env("PATH", path).stdin(Stdio::null());
    command
}

/// The command as a person would type it.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Errors
///
/// When it cannot be started or exits with another status than 0; then with its last lines.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = display(command);
    let output = command.output().with_context(|| format!("run `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  | ");
        bail!("`{shown}` ended with {}\n  | {tail}", output.status);
    }
    Ok(stdout)
}

/// Says what is being done, does it, and says how long it took.
pub(crate) fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    println!("  {what} …");
    let value = action()?;
    println!("  {what}: done in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(value)
}

/// Tries an action up to `attempts` times, with growing pauses in between.
pub(crate) fn retry<T>(attempts: u32, mut action: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match action() {
            Ok(value) => return Ok(value),
            Err(error) if attempt >= attempts || interrupt::requested() => return Err(error),
            Err(error) => {
                let pause = Duration::from_secs(2 << attempt);
                println!("  attempt {attempt} of {attempts} failed, next in {pause:?}: {error:#}");
                thread::sleep(pause);
                attempt += 1;
            }
        }
    }
}

/// Where this program is. A build meanwhile may have put another in its place, of the same sources:
/// the kernel then adds a remark to the path (proc(5), `/proc/PID/exe`).
pub(crate) fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?;
    let name = path.as_os_str().to_string_lossy();
    Ok(name
        .strip_suffix(" (deleted)")
        .map_or(path.clone(), PathBuf::from))
}

/// Whether this process may administer the machine.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_shows_its_last_lines() {
        let error =
            run(command("sh").args(["-c", "echo from-stdout; echo from-stderr >&2; exit 3"]))
                .expect_err("exit status 3");
        let text = error.to_string();
        assert!(
            text.contains("from-stdout") && text.contains("from-stderr"),
            "{text}"
        );
        assert!(text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn retry_stops_after_the_last_attempt() {
        let mut calls = 0;
        let result: Result<()> = retry(1, || {
            calls += 1;
            bail!("no")
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }

    #[test]
    fn programs_are_found_only_where_they_are() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }
}
