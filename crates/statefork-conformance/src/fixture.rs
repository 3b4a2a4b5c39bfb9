//! What a case works with: a runtime, names that nobody else uses, and waits that end.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use statefork_runtime::{
    ByteStream, Capabilities, Capture, CaptureRequest, Captured, Container, ContainerId,
    ContainerSpec, ContainerState, ExecExit, ExecRequest, Found, HomeId, ImageId, Labels,
    LaunchRequest, LogRequest, ObjectId, ObjectType, OutputStream, Owner, Phases, PrepareRequest,
    Result, Runtime, Stream,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::case::{Failure, Outcome};
use crate::image::Draft;
use crate::suite::Shared;

/// How long a case waits for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before looking again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a case has made.
#[derive(Default)]
struct Made {
    containers: Vec<String>,
    captures: Vec<Capture>,
    images: Vec<String>,
    dirs: Vec<TempDir>,
}

/// What a case works with.
pub(crate) struct Fixture {
    shared: Arc<Shared>,
    /// Whose everything is that the case makes.
    pub(crate) home: HomeId,
    token: String,
    count: AtomicU32,
    made: Mutex<Made>,
}

/// What a command in a container did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: ExecExit,
}

impl Ran {
    /// Standard output as text, without the last line's end.
    pub(crate) fn out(&self) -> String {
        as_text(&self.stdout)
    }

    /// Standard error as text, without the last line's end.
    pub(crate) fn err(&self) -> String {
        as_text(&self.stderr)
    }
}

/// Bytes as text, without the last line's end.
pub(crate) fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// A stream that gives all of `bytes` at once.
pub(crate) fn one_piece(bytes: Vec<u8>) -> ByteStream {
    stream::once(async move { Ok(Bytes::from(bytes)) }).boxed()
}

impl Fixture {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let token = format!("{:016x}", rand::random::<u64>());
        Self {
            shared,
            home: HomeId::new(format!("conformance-{token}")),
            token,
            count: AtomicU32::new(0),
            made: Mutex::default(),
        }
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.shared.runtime
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// The image that containers are launched from.
    pub(crate) fn image(&self) -> &ImageId {
        &self.shared.image
    }

    /// The same as a capture.
    pub(crate) fn base(&self) -> Capture {
        self.runtime().of_image(self.image())
    }

    fn next(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An unused name for a container; what gets it is removed at the end.
    pub(crate) fn container_name(&self) -> String {
        let name = format!("statefork-conformance-{}-{}", self.token, self.next());
        self.made().containers.push(name.clone());
        name
    }

    /// An unused name for an image; what gets it is removed at the end.
    pub(crate) fn image_name(&self) -> String {
        let name = format!("statefork.local/conformance:{}-{}", self.token, self.next());
        self.made().images.push(name.clone());
        name
    }

    /// The name of a container or an image that never exists.
    pub(crate) fn absent(&self) -> String {
        format!("statefork-conformance-{}-absent", self.token)
    }

    /// A folder of the host, removed at the end.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        let dir = TempDir::with_prefix("statefork-conformance-")?;
        let path = dir.path().to_owned();
        self.made().dirs.push(dir);
        Ok(path)
    }

    /// The labels of a new object of this case.
    pub(crate) fn labels(&self, kind: ObjectType) -> Labels {
        let object = ObjectId::new(format!("{}-{}", self.token, self.next()));
        Owner {
            home: self.home.clone(),
            environment: "conformance".into(),
            object,
        }
        .labels(kind)
    }

    /// The arguments that run a line of the vocabulary (`write /a text ; serve`).
    pub(crate) fn argv(&self, line: &str) -> Vec<String> {
        self.shared.base.argv(line)
    }

    /// The arguments that run a script of the image's shell; where the runtime runs programs.
    pub(crate) fn shell(&self, script: &str) -> Vec<String> {
        vec!["/bin/sh".into(), "-c".into(), script.into()]
    }

    /// The settings of a container that runs a line of the vocabulary.
    pub(crate) fn spec(&self, line: &str) -> ContainerSpec {
        ContainerSpec {
            command: Some(self.argv(line)),
            ..ContainerSpec::default()
        }
    }

    /// A request for a container, under an unused name.
    pub(crate) fn launch_request(&self, spec: ContainerSpec) -> LaunchRequest {
        LaunchRequest {
            name: self.container_name(),
            spec,
            labels: self.labels(ObjectType::Container),
            publish: Vec::new(),
        }
    }

    /// A request for a capture that pauses where the runtime can, under an unused name.
    pub(crate) fn capture_request(&self) -> CaptureRequest {
        CaptureRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Capture),
            pause: self.capabilities().pause.is_yes(),
        }
    }

    /// A request for a prepared image, under an unused name.
    pub(crate) fn prepare_request(&self) -> PrepareRequest {
        PrepareRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Prepared),
        }
    }

    /// Imports an image like the base image under an unused name, with other settings.
    pub(crate) async fn import(&self, mut draft: Draft<'_>) -> Outcome<(ImageId, String)> {
        let name = self.image_name();
        draft.names.push(name.clone());
        draft.labels.extend(self.labels(ObjectType::Build));
        let archive = self.shared.base.archive(&draft)?;
        let id = self.runtime().import_image(one_piece(archive)).await?;
        Ok((id, name))
    }

    /// A container of the base image that runs a line of the vocabulary.
    pub(crate) async fn launch(&self, line: &str) -> Result<Container> {
        self.launch_from(&self.base(), self.spec(line)).await
    }

    /// A container of a capture.
    pub(crate) async fn launch_from(
        &self,
        capture: &Capture,
        spec: ContainerSpec,
    ) -> Result<Container> {
        let request = self.launch_request(spec);
        self.runtime()
            .launch(capture, &request, &Phases::new())
            .await
    }

    /// Captures a container.
    pub(crate) async fn capture(&self, container: &Container) -> Result<Capture> {
        let captured = self
            .capture_as(&container.id, &self.capture_request())
            .await?;
        Ok(captured.capture)
    }

    /// Captures a container as asked.
    pub(crate) async fn capture_as(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
    ) -> Result<Captured> {
        let captured = self
            .runtime()
            .capture(container, request, &Phases::new())
            .await?;
        self.made().captures.push(captured.capture.clone());
        Ok(captured)
    }

    /// Runs a line of the vocabulary in a container, to its end.
    pub(crate) async fn run(&self, container: &Container, line: &str) -> Outcome<Ran> {
        self.run_as(container, line, ExecRequest::default(), None)
            .await
    }

    /// The same with other settings, and with standard input if there is some.
    pub(crate) async fn run_as(
        &self,
        container: &Container,
        line: &str,
        settings: ExecRequest,
        input: Option<&[u8]>,
    ) -> Outcome<Ran> {
        let request = ExecRequest {
            argv: self.argv(line),
            stdin: input.is_some(),
            ..settings
        };
        self.run_request(container, &request, input).await
    }

    /// Runs exactly what is asked.
    pub(crate) async fn run_request(
        &self,
        container: &Container,
        request: &ExecRequest,
        input: Option<&[u8]>,
    ) -> Outcome<Ran> {
        let exec = self.runtime().exec(&container.id, request).await?;
        let feed = async {
            if let (Some(bytes), Some(mut writer)) = (input, exec.input) {
                writer.write_all(bytes).await?;
                writer.shutdown().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let (fed, read) = tokio::join!(feed, collect(exec.output));
        fed?;
        let (stdout, stderr) = read?;
        let exit = exec.control.wait().await?;
        Ok(Ran {
            stdout,
            stderr,
            exit,
        })
    }

    /// What a script of the image's shell writes, which must succeed; where the runtime runs
    /// programs.
    pub(crate) async fn script(&self, container: &Container, script: &str) -> Outcome<String> {
        let request = ExecRequest {
            argv: self.shell(script),
            ..ExecRequest::default()
        };
        let ran = self.run_request(container, &request, None).await?;
        if ran.exit == ExecExit::Code(0) {
            Ok(ran.out())
        } else {
            Err(Failure::new(format!("{script:?} ended with {ran:?}")))
        }
    }

    /// A file's content as a process in the container reads it; `None` if it cannot.
    pub(crate) async fn file(&self, container: &Container, path: &str) -> Outcome<Option<String>> {
        let ran = self.run(container, &format!("cat {path}")).await?;
        Ok((ran.exit == ExecExit::Code(0)).then(|| ran.out()))
    }

    /// What a line of the vocabulary writes to standard output, which must succeed.
    pub(crate) async fn told(&self, container: &Container, line: &str) -> Outcome<String> {
        let ran = self.run(container, line).await?;
        if ran.exit == ExecExit::Code(0) {
            Ok(ran.out())
        } else {
            Err(Failure::new(format!("{line:?} ended with {ran:?}")))
        }
    }

    /// All that a container has written so far, standard output and standard error.
    pub(crate) async fn logs(&self, container: &Container) -> Outcome<(String, String)> {
        let stream = self
            .runtime()
            .logs(&container.id, LogRequest::default())
            .await?;
        let (stdout, stderr) = collect(stream).await?;
        Ok((as_text(&stdout), as_text(&stderr)))
    }

    /// The container as it is now.
    pub(crate) async fn inspect(&self, container: &Container) -> Outcome<Container> {
        let found = self.runtime().inspect(&container.id).await?;
        found.ok_or_else(|| Failure::new(format!("container {} is gone", container.name)))
    }

    /// Its state.
    pub(crate) async fn state(&self, container: &Container) -> Outcome<ContainerState> {
        Ok(self.inspect(container).await?.state)
    }

    /// Waits until a container has ended; its exit code.
    pub(crate) async fn exit(&self, container: &Container) -> Outcome<Option<i32>> {
        self.until("a container's end", async || {
            Ok(match self.state(container).await? {
                ContainerState::Exited { code } => Some(code),
                _ => None,
            })
        })
        .await
    }

    /// Waits until a line of the container's output has come.
    pub(crate) async fn until_said(&self, container: &Container, line: &str) -> Outcome {
        self.until(&format!("the output {line}"), async || {
            let (out, err) = self.logs(container).await?;
            let said = out.lines().chain(err.lines()).any(|said| said == line);
            Ok(said.then_some(()))
        })
        .await
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T, Look, Looking>(&self, what: &str, mut look: Look) -> Outcome<T>
    where
        Look: FnMut() -> Looking,
        Looking: Future<Output = Outcome<Option<T>>>,
    {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "{what} did not come within {PATIENCE:?}"
                )));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Removes all that the case has made, and checks that nothing with its label remains; goes on
    /// after a failure and reports the first.
    pub(crate) async fn clean_up(&self) -> Outcome {
        let made = std::mem::take(&mut *self.made());
        let mut first = Ok(());
        for name in made.containers {
            let removed = self.runtime().remove(&ContainerId::new(name)).await;
            first = first.and(removed.map_err(Failure::from));
        }
        for capture in made.captures.iter().rev() {
            let removed = self.runtime().remove_capture(capture).await;
            first = first.and(removed.map_err(Failure::from));
        }
        for name in made.images.iter().rev() {
            let removed = self.runtime().remove_image(name).await;
            first = first.and(removed.map_err(Failure::from));
        }
        first?;
        let remains = self.runtime().find(&self.home).await?;
        for found in &remains {
            match found {
                Found::Container { id, .. } => self.runtime().remove(id).await?,
                Found::Image { name, .. } => self.runtime().remove_image(name).await?,
            }
        }
        if remains.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "it had to remove what no case knows of: {remains:?}"
            )))
        }
    }
}

/// Reads output to its end: standard output, standard error.
pub(crate) async fn collect(output: OutputStream) -> Result<(Vec<u8>, Vec<u8>)> {
    output
        .try_fold(
            (Vec::new(), Vec::new()),
            |(mut stdout, mut stderr), part| async move {
                match part.stream {
                    Stream::Stdout => stdout.extend_from_slice(&part.bytes),
                    Stream::Stderr => stderr.extend_from_slice(&part.bytes),
                }
                Ok((stdout, stderr))
            },
        )
        .await
}
