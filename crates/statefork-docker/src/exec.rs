//! Running further commands in a container.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::models::{ExecConfig, ExecInspectResponse};
use bollard::query_parameters::ResizeExecOptions;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use statefork_runtime::{
    ContainerId, ContainerState, Exec, ExecControl, ExecExit, ExecRequest, Output, OutputStream,
    Result, RuntimeError, TerminalSize,
};

use crate::client::Client;
use crate::containers::{FIRST_WAIT, LONGEST_WAIT, not_found, wrong_state};
use crate::failure::{Cause, Failure};
use crate::message::{self, Refusal};
use crate::{DockerRuntime, frames, raw, spec};

const OP: &str = "run a command in the container";

/// How long the first look at a started command waits: an OCI runtime takes longer to start one.
const START_WAIT: Duration = Duration::from_millis(4);

impl DockerRuntime {
    pub(crate) async fn run_in(
        &self,
        container: &ContainerId,
        request: &ExecRequest,
    ) -> Result<Exec> {
        if request.argv.is_empty() {
            return Err(RuntimeError::Invalid {
                what: "an empty command".into(),
                reason: "there is no program to run".into(),
            });
        }
        let target = self.target(container).await?;
        let workdir = request.workdir.as_deref().map(spec::text).transpose()?;
        let terminal = request.terminal;
        let config = ExecConfig {
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal.is_some()),
            // Read from version 1.42 on; others are told the size as soon as the command runs.
            console_size: terminal.map(|size| vec![size.rows.into(), size.columns.into()]),
            env: Some(spec::variables(&request.env)?),
            cmd: Some(request.argv.clone()),
            user: request.user.clone(),
            working_dir: workdir,
            ..ExecConfig::default()
        };
        let docker = self.client.docker()?;
        let create = || docker.create_exec(&target, config.clone());
        let mut created = self.client.bounded(OP, create()).await;
        if let Err(failure) = &created
            && failure.is_refusal()
            && self.agree(container).await?
        {
            created = self.client.bounded(OP, create()).await;
        }
        let command = match created {
            Ok(created) => Command {
                client: Arc::clone(&self.client),
                container: container.clone(),
                id: created.id,
                has_terminal: terminal.is_some(),
            },
            Err(failure) => return Err(self.not_run(container, failure).await),
        };
        let start = raw::start_exec(self.client.socket(), &command.id, terminal.is_some());
        let connection = match self.client.bounded(OP, start).await {
            Ok(connection) => connection,
            Err(failure) => return Err(self.not_run(container, failure).await),
        };
        let (reader, writer) = tokio::io::split(connection);
        let client = Arc::clone(&self.client);
        let output = frames::read(reader, terminal.is_some()).map(move |item| {
            item.map_err(|error| client.failure(OP, Cause::Connection(error)).into())
        });
        let mut output: OutputStream = output.boxed();

        let (seen, refusal) = command.begin(terminal, &mut output).await?;
        if let Some(message) = refusal {
            let exit = refused(message, request)?;
            return Ok(Exec {
                output: stream::empty().boxed(),
                input: request.stdin.then(|| Box::new(tokio::io::sink()) as _),
                control: Box::new(NeverRan(exit)),
            });
        }
        Ok(Exec {
            output: stream::iter(seen.map(Ok)).chain(output).boxed(),
            input: request.stdin.then(|| Box::new(writer) as _),
            control: Box::new(command),
        })
    }

    /// The error for a command that the daemon refused to create or to start.
    async fn not_run(&self, container: &ContainerId, failure: Failure) -> RuntimeError {
        match self.state_after(container, &failure).await {
            Err(error) => error,
            Ok(Some(state)) if state != ContainerState::Running => {
                wrong_state("run a command in", container, state)
            }
            Ok(_) => failure.into(),
        }
    }
}

/// How a command ended that could not be started, or the error that this is.
fn refused(message: String, request: &ExecRequest) -> Result<ExecExit> {
    let invalid = |what: String| RuntimeError::Invalid {
        what,
        reason: message.clone(),
    };
    match message::refusal(&message) {
        Refusal::NotFound => Ok(ExecExit::NotFound),
        Refusal::NotExecutable => Ok(ExecExit::NotExecutable),
        Refusal::User => {
            let user = request.user.as_deref().unwrap_or("of the container");
            Err(invalid(format!("user {user}")))
        }
        Refusal::Workdir => {
            let path = request.workdir.as_deref().map(|path| path.display());
            Err(invalid(match path {
                Some(path) => format!("working directory {path}"),
                None => "the container's working directory".to_owned(),
            }))
        }
        Refusal::Other => Err(RuntimeError::Daemon {
            op: OP,
            status: None,
            message,
            source: None,
        }),
    }
}

/// A command that the daemon knows.
struct Command {
    client: Arc<Client>,
    container: ContainerId,
    id: String,
    has_terminal: bool,
}

impl Command {
    /// Waits until the command runs, or has run, and gives its terminal its size. What it has
    /// written so far; or why it could not be started, which the daemon only writes into its
    /// output.
    async fn begin(
        &self,
        terminal: Option<TerminalSize>,
        output: &mut OutputStream,
    ) -> Result<(Option<Output>, Option<String>)> {
        let begun = std::pin::pin!(self.begun(output));
        // The daemon holds this back until the command runs, so it must not be waited for alone.
        let sized = std::pin::pin!(async {
            match terminal {
                Some(size) => self.resize(size).await,
                None => Ok(()),
            }
        });
        match select(begun, sized).await {
            Either::Left((begun, sized)) => {
                let (seen, refusal) = begun?;
                if refusal.is_none() {
                    sized.await?;
                }
                Ok((seen, refusal))
            }
            Either::Right((sized, begun)) => {
                let (seen, refusal) = begun.await?;
                if refusal.is_none() {
                    sized?;
                }
                Ok((seen, refusal))
            }
        }
    }

    async fn begun(&self, output: &mut OutputStream) -> Result<(Option<Output>, Option<String>)> {
        let begun = Instant::now();
        let after = self.client.api_timeout();
        let mut seen = None;
        let mut is_open = true;
        let mut wait = START_WAIT;
        loop {
            tokio::select! {
                item = output.next(), if is_open && seen.is_none() => match item {
                    Some(item) => seen = Some(item?),
                    None => is_open = false,
                },
                () = tokio::time::sleep(wait) => wait = LONGEST_WAIT.min(wait * 2),
            }
            let state = self.inspect().await?;
            if state.pid.is_some_and(|pid| pid > 0) {
                return Ok((seen, None));
            }
            if state.exit_code.is_some() && state.running != Some(true) {
                let mut message = seen.map(|output| output.bytes.to_vec()).unwrap_or_default();
                while is_open && let Some(item) = output.next().await {
                    message.extend_from_slice(&item?.bytes);
                }
                let message = String::from_utf8_lossy(&message).trim().to_owned();
                return Ok((None, Some(message)));
            }
            if begun.elapsed() > after {
                return Err(RuntimeError::TimedOut { op: OP, after });
            }
        }
    }

    async fn inspect(&self) -> Result<ExecInspectResponse> {
        let docker = self.client.docker()?;
        let call = docker.inspect_exec(&self.id);
        match self.client.bounded("inspect the command", call).await {
            Ok(found) => Ok(found),
            // The daemon forgets a command with its container.
            Err(failure) if failure.status() == Some(404) => Err(not_found(&self.container)),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[async_trait]
impl ExecControl for Command {
    async fn resize(&self, size: TerminalSize) -> Result<()> {
        if !self.has_terminal {
            return Ok(());
        }
        let options = ResizeExecOptions {
            h: size.rows.into(),
            w: size.columns.into(),
        };
        let docker = self.client.docker()?;
        let call = docker.resize_exec(&self.id, options);
        let Err(failure) = self.client.bounded("resize the terminal", call).await else {
            return Ok(());
        };
        // A command that has ended needs no size.
        if failure.is_refusal() && self.inspect().await?.running != Some(true) {
            return Ok(());
        }
        Err(failure.into())
    }

    async fn wait(&self) -> Result<ExecExit> {
        let mut wait = FIRST_WAIT;
        loop {
            let state = self.inspect().await?;
            match state.exit_code {
                Some(code) if state.running != Some(true) => {
                    let code = i32::try_from(code).unwrap_or(i32::MAX);
                    return Ok(ExecExit::Code(code));
                }
                _ => tokio::time::sleep(wait).await,
            }
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }
}

/// A command that could not be started.
struct NeverRan(ExecExit);

#[async_trait]
impl ExecControl for NeverRan {
    async fn resize(&self, _size: TerminalSize) -> Result<()> {
        Ok(())
    }

    async fn wait(&self) -> Result<ExecExit> {
        Ok(self.0)
    }
}
