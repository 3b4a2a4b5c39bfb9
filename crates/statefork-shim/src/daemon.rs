//! The helper program: how a shim comes to run in the background.
//!
//! ```text
//! command ──► statefork-shim --dir DIR                the helper: in the command's session, ends at once
//!                 └──► statefork-shim --dir DIR --detached      the shim: in a session of its own
//! ```
//!
//! The shim writes its [`StartReport`] when it accepts commands, or why it does not; the helper
//! hands it on. Two programs instead of a fork, which no safe code can do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::Mode;

use crate::directory::{Directory, Lock};
use crate::log::Log;
use crate::protocol::StartReport;
use crate::server::Server;

/// Wrong usage.
const USAGE: u8 = 2;

/// The first descriptor that is not standard input, output or error.
const FIRST_OTHER: i32 = 3;

/// Longest report that is read from the shim.
const MAX_REPORT: u64 = 64 * 1024;

/// Says that the process is already the one in the background.
const DETACHED: &str = "--detached";

/// What the program was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Shim { dir: PathBuf, detached: bool },
    Version,
}

/// A step of the start that failed; reads after "failed to".
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{op}: {source}")]
    Io {
        op: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("use the directory: it belongs to another user, or others can enter it")]
    NotPrivate,
    #[error("lock the directory: process {0:?} has it")]
    Held(Option<u32>),
}

/// The program `statefork-shim --dir DIR`: puts the shim of `DIR` into the background.
///
/// `DIR` exists and is private. Standard output gets one line, a [`StartReport`]. Status 0: a shim
/// runs; 1: none could be started; 2: wrong usage.
pub fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)) {
        Some(Asked::Shim {
            dir,
            detached: false,
        }) => launch(&dir),
        Some(Asked::Shim {
            dir,
            detached: true,
        }) => serve(&dir),
        Some(Asked::Version) => exit_after(writeln!(
            io::stdout(),
            "statefork-shim {}",
            env!("CARGO_PKG_VERSION")
        )),
        None => {
            eprintln!("usage: statefork-shim --dir DIR");
            ExitCode::from(USAGE)
        }
    }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Asked> {
    let arguments: Vec<_> = arguments.collect();
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [flag, dir] if *flag == "--dir" => Some(Asked::Shim {
            dir: PathBuf::from(dir),
            detached: false,
        }),
        [flag, dir, detached] if *flag == "--dir" && *detached == DETACHED => Some(Asked::Shim {
            dir: PathBuf::from(dir),
            detached: true,
        }),
        [flag] if *flag == "--version" => Some(Asked::Version),
        _ => None,
    }
}

/// Starts the shim and hands on its report.
fn launch(dir: &Path) -> ExitCode {
    let report = start_detached(dir).unwrap_or_else(|error| StartReport::Failed {
        reason: error.to_string(),
    });
    let runs = !matches!(report, StartReport::Failed { .. });
    match write_report(&report) {
        Ok(()) if runs => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => exit_after(Err(error)),
    }
}

fn start_detached(dir: &Path) -> Result<StartReport, StartError> {
    // Whatever else the command had open would live as long as the shim.
    close_fds::set_fds_cloexec(FIRST_OTHER, &[]);
    let name = std::env::args_os().next().unwrap_or_default();
    // Not by name: the file may have been replaced since.
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .arg("--dir")
        .arg(dir)
        .arg(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed_to("start it in the background"))?;
    let mut line = Vec::new();
    if let Some(output) = child.stdout.take() {
        output
            .take(MAX_REPORT)
            .read_to_end(&mut line)
            .map_err(failed_to("read its report"))?;
    }
    match serde_json::from_slice(&line) {
        Ok(report) => Ok(report),
        Err(_) => {
            let status = child.wait().map_err(failed_to("wait for it"))?;
            Ok(StartReport::Failed {
                reason: format!("run in the background: it ended with {status}"),
            })
        }
    }
}

/// Runs as the shim, to its end.
fn serve(dir: &Path) -> ExitCode {
    let report = match prepare(dir) {
        Ok(prepared) => return exit_after(prepared.run()),
        Err(StartError::Held(pid)) => StartReport::AlreadyRunning { pid },
        Err(error) => StartReport::Failed {
            reason: error.to_string(),
        },
    };
    exit_after(write_report(&report))
}

/// What the shim holds while it runs.
#[derive(Debug)]
struct Prepared {
    server: Server,
    /// Held until the process ends.
    _lock: File,
}

/// Leaves the command's session, and takes the directory.
fn prepare(dir: &Path) -> Result<Prepared, StartError> {
    rustix::process::setsid()
        .map_err(io::Error::from)
        .map_err(failed_to("leave the session"))?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::thread::set_name(c"statefork-shim")
        .map_err(io::Error::from)
        .map_err(failed_to("name the process"))?;
    let directory = Directory::open(dir).map_err(failed_to("open the directory"))?;
    if !directory
        .is_private()
        .map_err(failed_to("look at the directory"))?
    {
        return Err(StartError::NotPrivate);
    }
    let lock = match directory.lock().map_err(failed_to("lock the directory"))? {
        Lock::Taken(lock) => lock,
        Lock::Held(holder) => return Err(StartError::Held(holder.map(|holder| holder.pid))),
    };
    // No file system is kept busy by the working directory.
    rustix::process::chdir("/")
        .map_err(io::Error::from)
        .map_err(failed_to("change to the root directory"))?;
    let log = directory.open_log().map_err(failed_to("open the log"))?;
    rustix::stdio::dup2_stderr(&log)
        .map_err(io::Error::from)
        .map_err(failed_to("redirect standard error"))?;
    let (socket, socket_id) = directory.bind().map_err(failed_to("make the socket"))?;
    Ok(Prepared {
        server: Server {
            directory,
            socket,
            socket_id,
            log: Log::new(log),
        },
        _lock: lock,
    })
}

impl Prepared {
    fn run(self) -> io::Result<()> {
        let log = self.server.log.clone();
        log.line(format_args!(
            "starts: process {}, version {}",
            std::process::id(),
            env!("CARGO_PKG_VERSION")
        ));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.server.run(|| {
            let pid = std::process::id();
            write_report(&StartReport::Ready { pid })?;
            let null = File::options().read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdout(&null)?;
            Ok(())
        }))
    }
}

fn write_report(report: &StartReport) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut output = io::stdout();
    output.write_all(&line)?;
    output.flush()
}

/// Standard error is the log once the shim has taken its directory.
fn exit_after(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to run the shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn failed_to(op: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { op, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<Asked> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn only_what_is_documented_is_understood() {
        let shim = |detached| {
            Some(Asked::Shim {
                dir: PathBuf::from("/d"),
                detached,
            })
        };
        assert_eq!(parsed(&["--dir", "/d"]), shim(false));
        assert_eq!(parsed(&["--dir", "/d", "--detached"]), shim(true));
        assert_eq!(parsed(&["--version"]), Some(Asked::Version));
        for wrong in [&[][..], &["--dir"], &["/d"], &["--dir", "/d", "x"]] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
