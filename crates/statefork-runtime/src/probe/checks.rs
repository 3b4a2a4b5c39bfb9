//! What each capability promises, tried.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::outcome::{self, Failure, Outcome, support};
use super::run::{POLL_INTERVAL, PROGRAM_LIMIT, Run};
use super::{archive, program};
use crate::{
    BuildRequest, ByteStream, Capture, CaptureRequest, Captures, Container, ContainerId,
    ContainerPort, ContainerSpec, ContainerState, Containers, Images, LaunchRequest, Limits,
    ObjectType, Phases, Result, Support,
};

/// Far below what the program fills, so that swap of the same size again does not hide it, and
/// enough for an OCI runtime to start in.
const MEMORY_LIMIT: u64 = program::FILL_BYTES / 8;

/// What the main container found out.
pub(super) struct Main {
    pub(super) filesystem: Support,
    pub(super) pause: Support,
    pub(super) reachable: Support,
    pub(super) programs: Support,
}

impl<R> Run<'_, R>
where
    R: Images + Containers + Captures + ?Sized,
{
    pub(super) async fn main<F, Reached>(&self, base: &Capture, reach: &F) -> Result<Main>
    where
        F: Fn(SocketAddr) -> Reached + Send + Sync,
        Reached: Future<Output = bool> + Send,
    {
        let started = self.launch(base, "main", ContainerSpec::default()).await;
        let container = match started {
            Ok(container) => container,
            Err(error) => {
                let reason = outcome::reason(error)?;
                return Ok(Main {
                    filesystem: Support::no(reason.clone()),
                    pause: Support::no(reason.clone()),
                    reachable: Support::no(reason.clone()),
                    programs: Support::no(reason),
                });
            }
        };
        let programs = match self.state(&container.id).await {
            Ok(ContainerState::Running) => Support::Yes,
            Ok(state) => Support::no(format!("a program that should run is {state}")),
            Err(error) => Support::No {
                reason: outcome::reason(error)?,
                mend: None,
            },
        };
        let reachable = self.reachable(&container, reach).await;
        let pause = support(self.pause(&container.id).await)?;
        let filesystem = support(self.filesystem(&container.id).await)?;
        Ok(Main {
            filesystem,
            pause,
            reachable,
            programs,
        })
    }

    async fn reachable<F, Reached>(&self, container: &Container, reach: &F) -> Support
    where
        F: Fn(SocketAddr) -> Reached + Send + Sync,
        Reached: Future<Output = bool> + Send,
    {
        let Some(ip) = container.address else {
            return Support::no("containers have no address of their own here");
        };
        let address = SocketAddr::new(ip, program::PORT);
        let begun = Instant::now();
        loop {
            if reach(address).await {
                return Support::Yes;
            }
            if begun.elapsed() > PROGRAM_LIMIT {
                return Support::no(format!(
                    "no connection from the host to a container's address ({address})"
                ));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn pause(&self, container: &ContainerId) -> Outcome {
        self.runtime.pause(container).await?;
        let paused = self.state(container).await;
        self.runtime.unpause(container).await?;
        outcome::expect("a paused container", paused?, ContainerState::Paused)?;
        outcome::expect(
            "an unpaused container",
            self.state(container).await?,
            ContainerState::Running,
        )
    }

    /// A container launched from the capture must find the file that the captured one wrote.
    async fn filesystem(&self, container: &ContainerId) -> Outcome {
        self.written(container).await?;
        let request = CaptureRequest {
            name: self.image("capture"),
            labels: self.labels(ObjectType::Capture),
            pause: false,
        };
        let captured = self
            .runtime
            .capture(container, &request, &Phases::new())
            .await?;
        let spec = ContainerSpec {
            command: Some(vec!["/probe".into(), "check".into()]),
            ..ContainerSpec::default()
        };
        let check = self.launch(&captured.capture, "check", spec).await?;
        outcome::expect(
            "a program that looks for a captured file",
            self.ended(&check.id).await?,
            ContainerState::Exited { code: Some(0) },
        )
    }

    /// Waits until the program has written its file.
    async fn written(&self, container: &ContainerId) -> Outcome {
        let begun = Instant::now();
        loop {
            let changes = self.runtime.changes(container).await?;
            if changes
                .iter()
                .any(|change| change.path == Path::new("/mark"))
            {
                return Ok(());
            }
            if begun.elapsed() > PROGRAM_LIMIT {
                return Err(Failure::Other(
                    "a file that a container wrote is not among its changes".into(),
                ));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// A program that wants more memory than its limit must be killed.
    pub(super) async fn limits(&self, base: &Capture) -> Result<Support> {
        let limited = async {
            let spec = ContainerSpec {
                command: Some(vec!["/probe".into(), "fill".into(), "memory".into()]),
                limits: Limits {
                    memory: Some(MEMORY_LIMIT),
                    cpus: Some(1.0),
                },
                ..ContainerSpec::default()
            };
            let container = self.launch(base, "limits", spec).await?;
            outcome::expect(
                "a program that exceeds its memory limit",
                self.ended(&container.id).await?,
                ContainerState::Exited { code: Some(137) },
            )
        };
        support(limited.await)
    }

    /// A port that is asked for must be one of the host's.
    pub(super) async fn publish(&self, base: &Capture) -> Result<Support> {
        let published = async {
            let request = LaunchRequest {
                publish: vec![ContainerPort::tcp(program::PORT)],
                ..self.request("publish", ContainerSpec::default())
            };
            let launched = self.runtime.launch(base, &request, &Phases::new()).await?;
            match launched.published.is_empty() {
                true => Err(Failure::Other(
                    "a port that was to be published is not".into(),
                )),
                false => Ok(()),
            }
        };
        support(published.await)
    }

    /// A program with a process 1 above it must run.
    pub(super) async fn init(&self, base: &Capture) -> Result<Support> {
        let started = async {
            let spec = ContainerSpec {
                init: true,
                ..ContainerSpec::default()
            };
            let container = self.launch(base, "init", spec).await?;
            outcome::expect(
                "a program with a process 1 above it",
                self.state(&container.id).await?,
                ContainerState::Running,
            )
        };
        support(started.await)
    }

    pub(super) async fn build(&self) -> Result<Support> {
        let built = async {
            let context = archive::build_context(&self.image("base"))
                .map_err(|error| Failure::Other(error.to_string()))?;
            let request = BuildRequest {
                context: one_piece(context),
                dockerfile: "Dockerfile".into(),
                args: Default::default(),
                name: self.image("build"),
                labels: self.labels(ObjectType::Build),
            };
            self.runtime.build_image(request, &mut |_| ()).await?;
            Ok(())
        };
        support(built.await)
    }
}

/// A stream that gives all of `bytes` at once.
pub(super) fn one_piece(bytes: Vec<u8>) -> ByteStream {
    stream::once(async move { Ok(Bytes::from(bytes)) }).boxed()
}
