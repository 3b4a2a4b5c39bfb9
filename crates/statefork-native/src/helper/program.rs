//! The last steps of a process in a container: its user, working directory, environment and
//! privileges, and execve.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::failure::{Attempt, Result, failure};
use super::privileges;
use super::user::User;
use crate::plan::{Failure, FailureKind, ProcessPlan};
use crate::sys;

/// The `PATH` of a process that is given none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be executed in the root that the process is in.
pub(super) struct Program {
    user: User,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Where it may be, in the order in which it is looked for.
    places: Vec<CString>,
}

impl Program {
    /// Reads the container's files of users, and makes arguments and environment.
    pub(super) fn new(plan: &ProcessPlan) -> Result<Self> {
        let user = User::find(&plan.user)?;
        let mut env = Vec::new();
        for (name, value) in &plan.env {
            env.push(text(format!("{name}={value}"))?);
        }
        let value = |wanted: &str| {
            let mut found = plan.env.iter().filter(|(name, _)| name == wanted);
            found.next_back().map(|(_, value)| value.as_str())
        };
        let path = value("PATH");
        if path.is_none() {
            env.push(text(format!("PATH={PATH}"))?);
        }
        if value("HOME").is_none() {
            env.push(text(format!("HOME={}", user.home))?);
        }
        let mut argv = Vec::new();
        for argument in &plan.argv {
            argv.push(text(argument.clone())?);
        }
        let name = plan
            .argv
            .first()
            .ok_or_else(|| failure(FailureKind::Setting, "run a command: it is empty"))?;
        let mut places = Vec::new();
        if name.contains('/') {
            places.push(text(name.clone())?);
        } else if !name.is_empty() {
            for folder in path.unwrap_or(PATH).split(':') {
                let folder = if folder.is_empty() { "." } else { folder };
                places.push(text(format!("{folder}/{name}"))?);
            }
        }
        Ok(Self {
            user,
            argv,
            env,
            places,
        })
    }

    /// Enters the working directory, which is made with its parents for the first process, and
    /// becomes the user. Afterwards only [`Ready::execute`] is left.
    pub(super) fn prepare(self, plan: &ProcessPlan, first: bool) -> Result<Ready> {
        let what = format!("enter the working directory {}", plan.workdir.display());
        let unusable = |what: &str| failure(FailureKind::Setting, what);
        if !plan.workdir.is_absolute() {
            return Err(unusable(&format!("{what}: it is not absolute")));
        }
        if first {
            make_folder(&plan.workdir).or_fail(FailureKind::Setting, &what)?;
        }
        rustix::process::chdir(&plan.workdir).or_fail(FailureKind::Setting, &what)?;
        // A link in /proc may lead to a folder that is not in the container.
        let here = rustix::process::getcwd(Vec::new()).or_fail(FailureKind::Setting, &what)?;
        if !here.to_bytes().starts_with(b"/") {
            return Err(unusable(&format!("{what}: it is outside the container")));
        }
        give_stdio_to(&self.user).or_system("give standard input and output to the user")?;
        sys::mark_close_on_exec_from(3).or_system("close descriptors")?;
        privileges::drop_to(&self.user, plan.no_new_privileges)?;
        Ok(Ready(self))
    }
}

/// A process that is all that its program will be.
pub(super) struct Ready(Program);

impl Ready {
    /// Executes it. Returns only if that fails.
    pub(super) fn execute(self) -> Result<Infallible> {
        let Program {
            argv, env, places, ..
        } = self.0;
        let mut refused = None;
        for place in &places {
            let Err(error) = sys::execute(place, &argv, &env);
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                // Another place may have one that can be executed.
                io::ErrorKind::PermissionDenied => refused = Some(error),
                _ => return Err(not_executable(&argv, &error)),
            }
        }
        Err(match refused {
            Some(error) => not_executable(&argv, &error),
            None => failure(
                FailureKind::ProgramNotFound,
                format!("execute {}: no such program in the container", shown(&argv)),
            ),
        })
    }
}

/// The failure of a program that is there.
fn not_executable(argv: &[CString], error: &io::Error) -> Failure {
    failure(
        FailureKind::ProgramNotExecutable,
        format!("execute {}: {error}", shown(argv)),
    )
}

/// The program's name, for people.
fn shown(argv: &[CString]) -> String {
    argv.first()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A string of the system's.
fn text(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| {
        let message = "run a command: an argument or environment variable has a zero byte";
        failure(FailureKind::Setting, message)
    })
}

/// Makes a folder with its parents. There already: success.
fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).create(path)
}

/// Connects standard input to the container's `/dev/null`.
pub(super) fn connect_stdin() -> Result<()> {
    let null = File::open("/dev/null").or_system("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).or_system("connect standard input")
}

/// Lets the user open its standard input, output and error by their names in `/dev`: pipes, files
/// and terminals that are only there for it.
fn give_stdio_to(user: &User) -> io::Result<()> {
    let stdio = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for descriptor in stdio {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode);
        let own = match kind {
            FileType::Fifo | FileType::RegularFile => true,
            FileType::CharacterDevice => rustix::termios::isatty(descriptor),
            _ => false,
        };
        if own {
            rustix::fs::fchown(descriptor, Some(Uid::from_raw(user.uid)), None::<Gid>)?;
        }
    }
    Ok(())
}

/// The mode bits that a program's new files lack.
pub(super) fn set_umask() {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Whether an error says that there is no such process or namespace any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}
