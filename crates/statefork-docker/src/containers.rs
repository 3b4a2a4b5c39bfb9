//! Containers: look at them, run them, stop them, read what they wrote and changed.

use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::models::{ChangeType, ContainerInspectResponse};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, LogsOptions, RemoveContainerOptions,
    StartContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt;
use statefork_runtime::{
    Adoption, ByteStream, Change, ChangeKind, Container, ContainerId, ContainerState, Containers,
    Exec, ExecRequest, LogRequest, ObjectKind, Output, OutputStream, Result, RuntimeError, Stream,
};

use crate::failure::Failure;
use crate::{DockerRuntime, describe, freeze, names};

/// How long to wait before looking again, doubled each time up to [`LONGEST_WAIT`].
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(1);
/// The longest wait between two looks.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(50);

#[async_trait]
impl Containers for DockerRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        Ok(self.look(container).await?.map(describe::container))
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let target = self.target(container).await?;
        let docker = self.client.docker()?;
        let call = docker.start_container(&target, None::<StartContainerOptions>);
        let Err(failure) = self.client.bounded("start the container", call).await else {
            return Ok(());
        };
        if !failure.is_refusal() {
            return Err(failure.into());
        }
        let found = self.look(container).await?;
        let found = found.ok_or_else(|| not_found(container))?;
        match describe::state(&found) {
            ContainerState::Running => Ok(()),
            state @ ContainerState::Paused => Err(wrong_state("start", container, state)),
            ContainerState::Created | ContainerState::Exited { .. } => {
                Err(RuntimeError::StartFailed {
                    command: describe::command(&found),
                    reason: failure.said().unwrap_or_default().to_owned(),
                })
            }
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        let target = self.target(container).await?;
        // The API counts whole seconds.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let docker = self.client.docker()?;
        let call = docker.stop_container(&target, Some(options));
        let limit = Duration::from_secs(seconds).saturating_add(self.client.api_timeout());
        match self
            .client
            .bounded_by("stop the container", limit, call)
            .await
        {
            Ok(()) => Ok(()),
            Err(failure) => self.unless_ended(container, failure).await,
        }
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        let target = self.target(container).await?;
        let options = KillContainerOptions {
            signal: "SIGKILL".to_owned(),
        };
        let docker = self.client.docker()?;
        // With this signal the daemon answers when the container has ended.
        let call = docker.kill_container(&target, Some(options));
        match self.client.bounded("kill the container", call).await {
            Ok(()) => Ok(()),
            Err(failure) => self.unless_ended(container, failure).await,
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        let op = "remove the container";
        let Some(target) = self.resolve(container).await? else {
            return Ok(());
        };
        let options = RemoveContainerOptions {
            v: true,
            force: true,
            link: false,
        };
        let docker = self.client.docker()?;
        let remove = || docker.remove_container(&target, Some(options.clone()));
        let mut removed = self.client.bounded(op, remove()).await;
        if let Err(failure) = &removed
            && failure.is_refusal()
            && !matches!(failure.status(), Some(404 | 409))
            && self.agree(container).await?
        {
            // A frozen process does not die, and the daemon did not know that it was frozen.
            removed = self.client.bounded(op, remove()).await;
        }
        match removed {
            Ok(()) => Ok(()),
            Err(failure) if failure.status() == Some(404) => Ok(()),
            // Somebody else is removing it.
            Err(failure) if failure.status() == Some(409) => self.until_gone(op, container).await,
            Err(failure) => Err(failure.into()),
        }
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        self.freeze(container).await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        self.thaw(container).await
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        self.run_in(container, request).await
    }

    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream> {
        let op = "read the container's output";
        // The stream's first item may be long in coming, so that it cannot tell.
        let found = self.look(container).await?;
        let found = found.ok_or_else(|| not_found(container))?;
        let options = LogsOptions {
            follow: request.follow,
            stdout: true,
            stderr: true,
            tail: request.tail.map_or("all".to_owned(), |n| n.to_string()),
            ..LogsOptions::default()
        };
        let docker = self.client.docker()?;
        let logs = docker.logs(&found.id.unwrap_or_default(), Some(options));
        let client = std::sync::Arc::clone(&self.client);
        let output = logs.map(move |item| match item {
            Ok(item) => Ok(output(item)),
            Err(error) => Err(client.failure(op, error.into()).into()),
        });
        Ok(output.boxed())
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let target = self.target(container).await?;
        let docker = self.client.docker()?;
        let call = docker.container_changes(&target);
        let (found, changes) = tokio::join!(
            self.look(container),
            self.client.bounded("list the container's changes", call),
        );
        let found = found?.ok_or_else(|| not_found(container))?;
        let changes = match changes {
            Err(failure) if failure.status() == Some(404) => return Err(not_found(container)),
            changes => changes?.unwrap_or_default(),
        };
        let mounts = describe::container(found).mounts;
        let mut changes: Vec<Change> = changes
            .into_iter()
            .map(|change| Change {
                path: change.path.into(),
                kind: match change.kind {
                    ChangeType::_0 => ChangeKind::Modified,
                    ChangeType::_1 => ChangeKind::Added,
                    ChangeType::_2 => ChangeKind::Deleted,
                },
            })
            .filter(|change| !mounts.iter().any(|m| change.path.starts_with(&m.path)))
            .collect();
        changes.sort();
        Ok(changes)
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream> {
        self.archive_of(container, path).await
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        self.unpack_in(container, folder, archive).await
    }

    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        self.adoption(container).await
    }
}

impl DockerRuntime {
    /// The container, by id or name, with the state that the kernel says. `None` when absent.
    pub(crate) async fn look(
        &self,
        container: &ContainerId,
    ) -> Result<Option<ContainerInspectResponse>, Failure> {
        Ok(self.look_as_told(container).await?.map(freeze::corrected))
    }

    /// The container, by id or name, as the daemon describes it. `None` when absent.
    pub(crate) async fn look_as_told(
        &self,
        container: &ContainerId,
    ) -> Result<Option<ContainerInspectResponse>, Failure> {
        let asked = container.as_str();
        if !names::can_name_a_container(asked) {
            return Ok(None);
        }
        let docker = self.client.docker()?;
        let call = docker.inspect_container(asked, None::<InspectContainerOptions>);
        match self.client.bounded("inspect the container", call).await {
            Ok(found) => {
                let is_meant =
                    found.id.as_deref() == Some(asked) || describe::name(&found) == asked;
                Ok(is_meant.then_some(found))
            }
            Err(failure) if failure.status() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// How the daemon is asked for the container. Asks it only where a name could be taken for the
    /// beginning of an id. `None` for what cannot exist.
    async fn resolve(&self, container: &ContainerId) -> Result<Option<String>, Failure> {
        let asked = container.as_str();
        if names::may_begin_an_id(asked) {
            return Ok(self.look(container).await?.and_then(|found| found.id));
        }
        Ok(names::can_name_a_container(asked).then(|| asked.to_owned()))
    }

    /// Like [`Self::resolve`]; absent is `NotFound`.
    pub(crate) async fn target(&self, container: &ContainerId) -> Result<String> {
        let target = self.resolve(container).await?;
        target.ok_or_else(|| not_found(container))
    }

    /// The state that made the daemon refuse something; `None` if it did not refuse. Statuses
    /// differ between versions, so that the state itself is asked for. Errors: `NotFound`.
    pub(crate) async fn state_after(
        &self,
        container: &ContainerId,
        failure: &Failure,
    ) -> Result<Option<ContainerState>> {
        if !failure.is_refusal() {
            return Ok(None);
        }
        let found = self.look(container).await?;
        let found = found.ok_or_else(|| not_found(container))?;
        Ok(Some(describe::state(&found)))
    }

    /// The failure of an attempt to end a container, unless it has ended.
    async fn unless_ended(&self, container: &ContainerId, failure: Failure) -> Result<()> {
        match self.state_after(container, &failure).await? {
            Some(ContainerState::Created | ContainerState::Exited { .. }) => Ok(()),
            _ => Err(failure.into()),
        }
    }

    async fn until_gone(&self, op: &'static str, container: &ContainerId) -> Result<()> {
        let begun = Instant::now();
        let after = self.client.api_timeout();
        let mut wait = FIRST_WAIT;
        // By id: another container may get its name at once.
        let Some(id) = self.look(container).await?.and_then(|found| found.id) else {
            return Ok(());
        };
        let id = ContainerId::new(id);
        while self.look(&id).await?.is_some() {
            if begun.elapsed() > after {
                return Err(RuntimeError::TimedOut { op, after });
            }
            tokio::time::sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
        Ok(())
    }
}

/// The error for a container that is not there.
pub(crate) fn not_found(container: &ContainerId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Container,
        name: container.to_string(),
    }
}

/// The error for a container whose state does not allow `op`.
pub(crate) fn wrong_state(
    op: &'static str,
    container: &ContainerId,
    state: ContainerState,
) -> RuntimeError {
    RuntimeError::WrongState {
        op,
        container: container.to_string(),
        state,
    }
}

/// Bytes that a process wrote.
pub(crate) fn output(item: LogOutput) -> Output {
    let stream = match item {
        LogOutput::StdErr { .. } => Stream::Stderr,
        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
            Stream::Stdout
        }
    };
    Output {
        stream,
        bytes: item.into_bytes(),
    }
}
