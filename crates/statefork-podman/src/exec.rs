//! Further commands in a running container.
//!
//! Podman tells a command that could not be started from one that ran and failed only by what it
//! writes into the command's output. Such lines are held back until the output ends, then the exit
//! code decides whose they are. An unknown user is worse: the request to start is never answered
//! (Podman 4.3), only the command's record says that it is over.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use hyper::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use podman_api::opts::{ExecCreateOpts, UserOpt};
use serde::Deserialize;
use serde_json::json;
use statefork_runtime::{
    ContainerId, Exec, ExecControl, ExecExit, ExecRequest, Output, Result, RuntimeError,
    TerminalSize,
};

use crate::PodmanRuntime;
use crate::cause::{Cause, ExecFailure};
use crate::client::Client;
use crate::fault::Fault;
use crate::frames;
use crate::raw::{Payload, encode, query};

const RUN: &str = "run a command in a container";
/// How long a start may go unanswered before the command's record is looked at.
const UNANSWERED: Duration = Duration::from_millis(200);
/// The longest time between two looks at a command that has not ended.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// What Podman records as the exit code of a command that it failed to start.
const NOT_STARTED: i32 = 125;

/// The parts of a command's record (libpod API, `InspectExecSession`) that are used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Session {
    running: bool,
    exit_code: i32,
}

impl PodmanRuntime {
    pub(crate) async fn run_exec(
        &self,
        container: &ContainerId,
        request: &ExecRequest,
    ) -> Result<Exec> {
        check(request)?;
        if let Some(path) = &request.workdir {
            let path = path.to_string_lossy();
            self.check_workdir(container, &path).await?;
        }
        let id = self.create_exec(container, request).await?;
        let payload = Payload::Json(start_body(request.terminal));
        let path = format!("/exec/{id}/start");
        let start = self.client.raw.upgrade(&path, payload);
        let stream = self
            .client
            .call(answered(&self.client, &id, start))
            .await
            .map_err(|fault| match fault.cause() {
                Cause::NoUser => RuntimeError::Invalid {
                    what: match &request.user {
                        Some(user) => format!("user {user:?}"),
                        None => "the container's user".into(),
                    },
                    reason: fault.message(),
                },
                _ => self.client.error(RUN, fault),
            })?;
        Ok(self.running(id, stream, request))
    }

    /// Asks whether a working directory exists. Podman would report a missing one only in the
    /// command's output.
    async fn check_workdir(&self, container: &ContainerId, path: &str) -> Result<()> {
        let url = format!(
            "/containers/{}/archive{}",
            encode(container.as_str()),
            query(&[("path", path)])
        );
        let call = self.client.raw.send(Method::HEAD, &url, Payload::Empty);
        match self.client.call(call).await {
            Err(Fault::Refused { status: 404, .. }) => {
                // An answer to HEAD has no body that could say what is missing.
                self.must_look(container).await?;
                Err(no_workdir(path, "no such folder in the container"))
            }
            Err(fault) => Err(self.client.error(RUN, fault)),
            Ok(_) => Ok(()),
        }
    }

    async fn create_exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<String> {
        let mut options = ExecCreateOpts::builder()
            .command(&request.argv)
            .env(request.env.iter().map(|var| (&var.name, &var.value)))
            .attach_stdout(true)
            .attach_stderr(true)
            .attach_stdin(request.stdin)
            .tty(request.terminal.is_some());
        if let Some(user) = &request.user {
            options = options.user(UserOpt::User(user.clone()));
        }
        if let Some(path) = &request.workdir {
            options = options.working_dir(path.to_string_lossy());
        }
        let handle = self.client.container(container);
        let options = options.build();
        match self.client.call(handle.create_exec(&options)).await {
            Ok(exec) => Ok(exec.id().to_string()),
            Err(fault) => Err(self
                .refused("run a command in", RUN, container, fault)
                .await),
        }
    }

    fn running(&self, id: String, stream: TokioIo<Upgraded>, request: &ExecRequest) -> Exec {
        let (reader, writer) = tokio::io::split(stream);
        let refusal = Arc::new(Mutex::new(None));
        let control = Control {
            client: self.client.clone(),
            id: id.clone(),
            workdir: request
                .workdir
                .as_ref()
                .map(|path| path.display().to_string()),
            refusal: Arc::clone(&refusal),
        };
        let outputs = if request.terminal.is_some() {
            frames::terminal(reader, RUN).boxed()
        } else {
            frames::framed(reader, RUN).boxed()
        };
        let filter = Filter {
            outputs,
            held: Vec::new(),
            pristine: true,
            client: self.client.clone(),
            id,
            refusal,
        };
        // The writing half that is not handed out is dropped, which does not shut it down.
        let input = request.stdin.then(|| Box::new(writer) as _);
        Exec {
            output: filter.into_stream(),
            input,
            control: Box::new(control),
        }
    }
}

fn check(request: &ExecRequest) -> Result<()> {
    if request.argv.is_empty() {
        return Err(RuntimeError::Invalid {
            what: "an empty command".into(),
            reason: "there is no program to run".into(),
        });
    }
    crate::launch::check_env(&request.env)
}

fn no_workdir(path: &str, reason: &str) -> RuntimeError {
    RuntimeError::Invalid {
        what: format!("working directory {path}"),
        reason: reason.into(),
    }
}

fn start_body(terminal: Option<TerminalSize>) -> serde_json::Value {
    match terminal {
        Some(size) => json!({"Detach": false, "Tty": true, "h": size.rows, "w": size.columns}),
        None => json!({"Detach": false, "Tty": false}),
    }
}

/// Waits for the answer to a start; gives up when the record says that the command failed without
/// one.
async fn answered<T>(
    client: &Client,
    id: &str,
    start: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let mut start = std::pin::pin!(start);
    loop {
        if let Ok(answer) = tokio::time::timeout(UNANSWERED, &mut start).await {
            return answer;
        }
        let session = session(client, id).await?;
        if !session.running && session.exit_code == NOT_STARTED {
            return Err(Fault::refused(
                500,
                "Podman could not start it and gives no reason, as for an unknown user or group",
                "no matching entries in passwd file",
            ));
        }
    }
}

async fn session(client: &Client, id: &str) -> Result<Session, Fault> {
    let record = client.call(client.exec(id).inspect()).await?;
    serde_json::from_value(record).map_err(Fault::broken)
}

/// Output on its way to the caller, without Podman's own lines.
struct Filter {
    outputs: BoxStream<'static, Result<Output>>,
    /// Pieces that may be Podman's.
    held: Vec<Output>,
    /// Whether nothing else has come.
    pristine: bool,
    client: Client,
    id: String,
    refusal: Arc<Mutex<Option<ExecFailure>>>,
}

impl Filter {
    fn into_stream(self) -> BoxStream<'static, Result<Output>> {
        let steps = stream::unfold(Some(self), |filter| async move {
            let mut filter = filter?;
            match filter.outputs.next().await {
                Some(Ok(output)) => Some((filter.take(output), Some(filter))),
                Some(Err(error)) => {
                    let mut last = filter.release();
                    last.push(Err(error));
                    Some((last, None))
                }
                None => Some((filter.end().await, None)),
            }
        });
        steps.flat_map(stream::iter).boxed()
    }

    fn take(&mut self, output: Output) -> Vec<Result<Output>> {
        if self.pristine && ExecFailure::read(&output.bytes).is_some() {
            self.held.push(output);
            return Vec::new();
        }
        self.pristine = false;
        let mut released = self.release();
        released.push(Ok(output));
        released
    }

    fn release(&mut self) -> Vec<Result<Output>> {
        self.held.drain(..).map(Ok).collect()
    }

    /// Decides whose the held lines are: Podman never lets such a command end with 0.
    async fn end(&mut self) -> Vec<Result<Output>> {
        let failure = self
            .held
            .iter()
            .filter_map(|output| ExecFailure::read(&output.bytes))
            .find(|failure| *failure != ExecFailure::Stream);
        let Some(failure) = failure else {
            return self.release();
        };
        match ended(&self.client, &self.id).await {
            Ok(0) => self.release(),
            Ok(_) => {
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Vec::new()
            }
            Err(error) => vec![Err(error)],
        }
    }
}

/// Waits until a command has ended; its exit code.
async fn ended(client: &Client, id: &str) -> Result<i32> {
    let mut pause = Duration::from_millis(1);
    loop {
        let session = session(client, id)
            .await
            .map_err(|fault| client.error("read how a command ended", fault))?;
        if !session.running {
            return Ok(session.exit_code);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Control {
    client: Client,
    id: String,
    workdir: Option<String>,
    refusal: Arc<Mutex<Option<ExecFailure>>>,
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let handle = self.client.exec(&self.id);
        let call = handle.resize(size.columns.into(), size.rows.into());
        match self.client.call(call).await {
            // A command without a terminal, or one that has ended.
            Ok(()) | Err(Fault::Refused { .. }) => Ok(()),
            Err(fault) => Err(self.client.error("resize a terminal", fault)),
        }
    }

    async fn wait(&self) -> Result<ExecExit> {
        let code = ended(&self.client, &self.id).await?;
        let refusal = *self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Some(ExecFailure::NoProgram) => Ok(ExecExit::NotFound),
            Some(ExecFailure::NotExecutable) => Ok(ExecExit::NotExecutable),
            Some(ExecFailure::NoWorkdir) => Err(no_workdir(
                self.workdir.as_deref().unwrap_or_default(),
                "not a folder that the user can enter",
            )),
            Some(ExecFailure::Stream) | None => Ok(ExecExit::Code(code)),
        }
    }
}
