//! Containers: state, output and changes.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use podman_api::opts::ContainerDeleteOpts;
use serde::Deserialize;
use statefork_runtime::{
    Adoption, ByteStream, Change, ChangeKind, Container, ContainerId, ContainerMount,
    ContainerState, Containers, Exec, ExecRequest, LogRequest, OutputStream, Result, RuntimeError,
};
use tokio_util::io::StreamReader;

use crate::PodmanRuntime;
use crate::cause::Cause;
use crate::client::no_container;
use crate::describe::Inspected;
use crate::fault::Fault;
use crate::frames;
use crate::raw::{Payload, encode, query};
use crate::tail::last_lines;

fn is_up(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused)
}

/// Folders that get mount points of the runtime's own files when a container starts.
const MOUNT_POINT_PARENTS: [&str; 4] = ["/", "/dev", "/etc", "/run"];

#[async_trait]
impl Containers for PodmanRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        Ok(self.look(container).await?.map(Inspected::describe))
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let outcome = self.request_start(container).await;
        if let Err(fault) = &outcome
            && let Some(error) = self.start_failure(container, fault).await?
        {
            return Err(error);
        }
        self.settle("start", "start a container", container, outcome, |state| {
            state == ContainerState::Running
        })
        .await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        // The service counts in whole seconds; the process gets no less than was asked for.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let path = format!(
            "/containers/{}/stop{}",
            encode(container.as_str()),
            query(&[("timeout", &seconds.to_string())])
        );
        let ask = || {
            let raw = &self.client.raw;
            let grace = Duration::from_secs(seconds);
            self.client
                .call_for(grace, raw.send(Method::POST, &path, Payload::Empty))
        };
        let mut outcome = ask().await.map(drop);
        if outcome
            .as_ref()
            .is_err_and(|fault| fault.cause() == Cause::WrongState)
            && self.must_look(container).await?.state == ContainerState::Paused
        {
            // A frozen process cannot hear the signal, and Podman does not thaw it for that.
            self.unpause(container).await?;
            outcome = ask().await.map(drop);
        }
        let done = |state| !is_up(state);
        self.settle("stop", "stop a container", container, outcome, done)
            .await
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        let signalled = self
            .client
            .call(self.client.container(container).send_signal("KILL"))
            .await;
        self.settle("kill", "kill a container", container, signalled, |state| {
            !is_up(state)
        })
        .await?;
        // The signal is sent, the process may take a moment to go.
        let path = format!(
            "/containers/{}/wait{}",
            encode(container.as_str()),
            query(&[("interval", "5ms")])
        );
        match self.client.post(&path).await {
            Err(fault) if fault.cause() != Cause::NoContainer => {
                Err(self.client.error("wait for a container", fault))
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        // A time-out of 0 s is SIGKILL at once.
        let options = ContainerDeleteOpts::builder()
            .force(true)
            .volumes(true)
            .timeout(0)
            .build();
        let handle = self.client.container(container);
        match self.client.call(handle.delete(&options)).await {
            Err(fault) if fault.cause() != Cause::NoContainer => {
                Err(self.client.error("remove a container", fault))
            }
            _ => Ok(()),
        }
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        let handle = self.client.container(container);
        let pause = || self.client.call(handle.pause());
        let outcome = self.freezing(container, pause).await;
        self.settle("pause", "pause a container", container, outcome, |state| {
            state == ContainerState::Paused
        })
        .await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        let handle = self.client.container(container);
        let outcome = self.client.call(handle.unpause()).await;
        let done = |state| state == ContainerState::Running;
        let refused = outcome.is_err();
        self.settle("unpause", "unpause a container", container, outcome, done)
            .await?;
        match refused {
            true => self.thaw_unknown(container).await,
            false => Ok(()),
        }
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        self.run_exec(container, request).await
    }

    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream> {
        // Of what still comes only the service can give the last lines.
        let tail = match request.follow {
            true => request.tail.map(|lines| lines.to_string()),
            false => None,
        };
        let mut pairs = vec![("stdout", "true"), ("stderr", "true")];
        if request.follow {
            pairs.push(("follow", "true"));
        }
        if let Some(tail) = &tail {
            pairs.push(("tail", tail));
        }
        let path = format!(
            "/containers/{}/logs{}",
            encode(container.as_str()),
            query(&pairs)
        );
        let op = "read a container's log";
        let call = self.client.raw.send(Method::GET, &path, Payload::Empty);
        let response = self
            .client
            .call(call)
            .await
            .map_err(|fault| self.client.container_error(op, container, fault))?;
        let body = response.into_body().into_data_stream();
        let reader = StreamReader::new(body.map_err(std::io::Error::other));
        let output = frames::framed(reader, op).boxed();
        match request.tail {
            Some(lines) if !request.follow => last_lines(output, lines).await,
            _ => Ok(output),
        }
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let path = format!("/containers/{}/changes", encode(container.as_str()));
        let (changes, found) = tokio::join!(
            self.client.get::<Option<Vec<Changed>>>(&path),
            self.look(container),
        );
        let found = found?.ok_or_else(|| no_container(container))?;
        let changes = changes.map_err(|fault| {
            self.client
                .container_error("list a container's changes", container, fault)
        })?;
        let changes = changes
            .unwrap_or_default()
            .into_iter()
            .map(|change| Change {
                path: change.path.into(),
                kind: match change.kind {
                    1 => ChangeKind::Added,
                    2 => ChangeKind::Deleted,
                    _ => ChangeKind::Modified,
                },
            })
            .collect();
        Ok(own_changes(changes, &found.mounts()))
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

impl PodmanRuntime {
    /// Asks the service to start a container; running already is success.
    pub(crate) async fn request_start(&self, container: &ContainerId) -> Result<(), Fault> {
        let path = format!("/containers/{}/start", encode(container.as_str()));
        self.client.post(&path).await
    }

    /// What a refused start says of the container's settings or program; `None` where the refusal
    /// is about something else.
    pub(crate) async fn start_failure(
        &self,
        container: &ContainerId,
        fault: &Fault,
    ) -> Result<Option<RuntimeError>> {
        let invalid = |what: &str| RuntimeError::Invalid {
            what: what.into(),
            reason: fault.message(),
        };
        Ok(Some(match fault.cause() {
            Cause::NoUser => invalid("the container's user"),
            Cause::NoWorkdir => invalid("the container's working directory"),
            Cause::TooManyLayers => RuntimeError::Unsupported {
                op: "start a container",
                reason: fault.message(),
            },
            Cause::NoProgram | Cause::NotExecutable | Cause::OciRuntime => {
                let found = self.look(container).await?;
                let found = found.ok_or_else(|| no_container(container))?;
                RuntimeError::StartFailed {
                    command: found.command(),
                    reason: fault.message(),
                }
            }
            _ => return Ok(None),
        }))
    }
}

/// An entry of a container's changes; of none the service answers `null`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    path: String,
    kind: u8,
}

/// Leaves out what lies on mounts and what starting a container changes by itself, and sorts.
///
/// Podman makes mount points in the writable layer. A folder that got the mount points of the
/// runtime's own files is listed as modified; it counts only if something below it did change.
fn own_changes(mut changes: Vec<Change>, mounts: &[ContainerMount]) -> Vec<Change> {
    changes.retain(|change| {
        !mounts
            .iter()
            .any(|mount| change.path.starts_with(&mount.path))
    });
    changes.sort();
    let is_parent = |change: &Change| {
        change.kind == ChangeKind::Modified
            && MOUNT_POINT_PARENTS
                .iter()
                .any(|path| change.path.as_os_str() == *path)
    };
    let has_children = |parent: &Change| {
        changes
            .iter()
            .any(|change| change.path != parent.path && change.path.starts_with(&parent.path))
    };
    let kept: Vec<bool> = changes
        .iter()
        .map(|change| !is_parent(change) || has_children(change))
        .collect();
    let mut kept = kept.into_iter();
    changes.retain(|_| kept.next().unwrap_or(true));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use statefork_runtime::MountKind;

    fn change(path: &str, kind: ChangeKind) -> Change {
        Change {
            path: path.into(),
            kind,
        }
    }

    #[test]
    fn mount_points_are_no_changes_and_the_rest_is_sorted() {
        let modified = |path| change(path, ChangeKind::Modified);
        let added = |path| change(path, ChangeKind::Added);
        let mounts = [ContainerMount {
            path: "/m".into(),
            kind: MountKind::Bind,
            writable: true,
        }];
        let listed = vec![added("/z"), modified("/etc"), added("/m"), added("/mm")];
        assert_eq!(own_changes(listed, &mounts), [added("/mm"), added("/z")]);
        let listed = vec![added("/etc/motd"), modified("/etc")];
        assert_eq!(
            own_changes(listed, &mounts),
            [modified("/etc"), added("/etc/motd")]
        );
    }
}
