//! `buildah`, which builds images without a daemon. It has no API, so its program is run.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use statefork_runtime::{ByteStream, Labels, RuntimeError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use crate::config::Build;
use crate::environment::Cancel;
use crate::error::{CoreError, Result};

/// How many lines of its output go with an error.
const TAIL_LINES: usize = 20;
/// How long it may take to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// The program.
pub(crate) struct Buildah {
    program: PathBuf,
}

/// What a run has said: its standard output, and the last lines of both outputs.
struct Said {
    output: Vec<String>,
    tail: VecDeque<String>,
}

impl Buildah {
    /// What it is called.
    pub(crate) const NAME: &str = "buildah";

    /// The first program of this name in a folder of `PATH`.
    pub(crate) fn on_path() -> Option<Self> {
        Self::of_path(&std::env::var_os("PATH")?)
    }

    fn of_path(path: &OsStr) -> Option<Self> {
        let programs = std::env::split_paths(path).map(|folder| folder.join(Self::NAME));
        let is_program = |program: &PathBuf| {
            program
                .metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let program = programs.into_iter().find(is_program)?;
        Some(Self { program })
    }

    /// Builds a folder under a name. `progress` receives its output line by line.
    ///
    /// Errors: `BuildFailed` with the last lines; `Interrupted`, when it has ended.
    pub(crate) async fn build(
        &self,
        build: &Build,
        name: &str,
        labels: &Labels,
        progress: &mut (dyn FnMut(&str) + Send),
        cancel: &Cancel,
    ) -> Result<()> {
        // `--force-rm`: nor does a step that fails leave its container.
        let mut arguments: Vec<OsString> =
            ["build", "--layers", "--force-rm", "--format", "docker"]
                .map(OsString::from)
                .into();
        arguments.extend(["--tag".into(), name.into()]);
        for (label, value) in labels {
            arguments.extend(["--label".into(), format!("{label}={value}").into()]);
        }
        for (argument, value) in &build.args {
            arguments.extend(["--build-arg".into(), format!("{argument}={value}").into()]);
        }
        arguments.extend([
            "--file".into(),
            build.context.join(&build.dockerfile).into(),
            build.context.clone().into(),
        ]);
        match self.run(&arguments, progress, Some(cancel)).await {
            Ok(_) => Ok(()),
            Err(CoreError::Program { status, tail, .. }) => {
                Err(CoreError::Runtime(RuntimeError::BuildFailed {
                    reason: format!("{} build: {status}", Self::NAME),
                    tail,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// An image as an archive as `docker save` writes it. It lies at `path` in between, where
    /// nothing is after success; after a failure the caller removes what is there.
    pub(crate) async fn export(
        &self,
        name: &str,
        path: &Path,
        cancel: &Cancel,
    ) -> Result<ByteStream> {
        let failed = |op| {
            move |source| CoreError::Io {
                op,
                path: path.to_owned(),
                source,
            }
        };
        let target = format!("docker-archive:{}:{name}", path.display());
        let arguments = ["push", name, &target].map(OsString::from);
        self.run(&arguments, &mut |_| (), Some(cancel)).await?;
        let file = tokio::fs::File::open(path).await.map_err(failed("open"))?;
        // The open file outlives its name.
        std::fs::remove_file(path).map_err(failed("remove"))?;
        Ok(ReaderStream::new(file).boxed())
    }

    /// Takes a name off its image, and removes the image with its last name. Absent is success.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let quiet = &mut |_: &str| ();
        let filter = format!("reference={name}");
        let list = ["images", "--quiet", "--filter", &filter].map(OsString::from);
        if self.run(&list, quiet, None).await?.output.is_empty() {
            return Ok(());
        }
        let remove = ["rmi", name].map(OsString::from);
        self.run(&remove, quiet, None).await?;
        Ok(())
    }

    /// Runs it to its end; `Program` if that is none of success. It has a process group of its own, so
    /// that it is not hit by a signal that is for us: it is asked to end when we are.
    async fn run(
        &self,
        arguments: &[OsString],
        progress: &mut (dyn FnMut(&str) + Send),
        cancel: Option<&Cancel>,
    ) -> Result<Said> {
        let failed = |source| CoreError::Io {
            op: "run",
            path: self.program.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let mut lines = stream::select(
            lines(output).map(|line| (true, line)),
            lines(errors).map(|line| (false, line)),
        );
        let mut said = Said {
            output: Vec::new(),
            tail: VecDeque::new(),
        };
        let reading = async {
            while let Some((is_output, line)) = lines.next().await {
                let line = line.map_err(failed)?;
                progress(&line);
                if said.tail.len() == TAIL_LINES {
                    said.tail.pop_front();
                }
                said.tail.push_back(line.clone());
                if is_output {
                    said.output.push(line);
                }
            }
            Ok(())
        };
        let read = match cancel {
            Some(cancel) => cancel.or(reading).await,
            None => reading.await,
        };
        if let Err(error) = read {
            end(&mut child).await.map_err(failed)?;
            return Err(error);
        }
        let status: ExitStatus = child.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(said);
        }
        let verb = arguments.first().map(|verb| verb.to_string_lossy());
        Err(CoreError::Program {
            command: format!("{} {}", Self::NAME, verb.unwrap_or_default()),
            status,
            tail: said.tail.into(),
        })
    }
}

/// Asks it to end, which it does with what it has started, and kills all of it if it does not.
async fn end(child: &mut Child) -> std::io::Result<()> {
    let number = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(pid) = number.and_then(Pid::from_raw) else {
        return Ok(());
    };
    // Until it is waited for, its number is nobody else's.
    kill_process(pid, Signal::TERM)?;
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        kill_process_group(pid, Signal::KILL)?;
        child.wait().await?;
    }
    Ok(())
}

/// The lines of an output; what is no UTF-8 is replaced.
fn lines(
    output: Option<impl AsyncRead + Send + Unpin + 'static>,
) -> stream::BoxStream<'static, std::io::Result<String>> {
    let Some(output) = output else {
        return stream::empty().boxed();
    };
    let pieces = BufReader::new(output).split(b'\n');
    let lines = stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.next_segment().await {
            Ok(Some(line)) => {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                Some((Ok(line), Some(pieces)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    lines.boxed()
}

#[cfg(test)]
mod tests;
