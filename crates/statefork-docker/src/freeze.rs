//! Freezing and thawing, where the daemon may be mistaken about who is frozen.
//!
//! A containerd that was away is told of every freeze and thaw again when it is back: its shims
//! repeat their news, up to 15 s later, and dockerd takes them for what has just happened. It then
//! says of a frozen container that it runs, and refuses to thaw it; or of one that runs that it is
//! paused, and commits it without a freeze. So the kernel is asked who is frozen, and where the
//! daemon says otherwise it is brought to agree.
//!
//! Until that news comes the shim alone takes for paused what it has frozen and what we have thawed,
//! and does not freeze it again. We then freeze it ourselves; the news makes all of them agree.

use std::io;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status};
use statefork_runtime::{ContainerId, ContainerState, Result, RuntimeError, freezer};

use crate::containers::{not_found, wrong_state};
use crate::{DockerRuntime, describe, message};

/// How often a freeze is tried: runc gives up where processes come and go too fast.
pub(crate) const ATTEMPTS: u32 = 3;
/// How long to wait between two attempts.
pub(crate) const BETWEEN: Duration = Duration::from_millis(50);

/// How long a commit waits for late news: containerd's shims give theirs up after 15 s.
pub(crate) const NEWS: Duration = Duration::from_secs(20);
/// How often it is looked whether they have come.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// A container by the kernel's names.
struct Processes {
    pid: u32,
    id: ContainerId,
}

impl Processes {
    /// Those of a container that is up.
    fn of(found: &ContainerInspectResponse) -> Option<Self> {
        let pid = found.state.as_ref()?.pid?;
        Some(Self {
            pid: u32::try_from(pid).ok().filter(|&pid| pid > 0)?,
            id: ContainerId::new(found.id.as_deref()?),
        })
    }

    /// Whether they are frozen; `None` where the kernel does not say: then the daemon is believed.
    fn are_frozen(&self) -> Option<bool> {
        freezer::is_frozen(self.pid, &self.id).ok().flatten()
    }

    async fn freeze(&self) -> Result<()> {
        let frozen = freezer::freeze(self.pid, &self.id).await;
        frozen.map_err(|error| self.error("freeze", &error))
    }

    fn thaw(&self) -> Result<()> {
        let thawed = freezer::thaw(self.pid, &self.id);
        thawed.map_err(|error| self.error("thaw", &error))
    }

    fn error(&self, verb: &str, error: &io::Error) -> RuntimeError {
        RuntimeError::Daemon {
            op: "agree with the daemon on whether the container is frozen",
            status: None,
            message: format!("{verb} the processes of container {}: {error}", self.id),
            source: None,
        }
    }
}

/// The same with the state that the kernel says.
pub(crate) fn corrected(mut found: ContainerInspectResponse) -> ContainerInspectResponse {
    let frozen = Processes::of(&found).and_then(|processes| processes.are_frozen());
    if let (Some(frozen), Some(state)) = (frozen, &mut found.state)
        && let Some(status @ (Status::RUNNING | Status::PAUSED)) = &mut state.status
    {
        *status = match frozen {
            true => Status::PAUSED,
            false => Status::RUNNING,
        };
    }
    found
}

impl DockerRuntime {
    pub(crate) async fn freeze(&self, container: &ContainerId) -> Result<()> {
        let target = self.target(container).await?;
        let docker = self.client.docker()?;
        for attempt in 1.. {
            let call = docker.pause_container(&target);
            let Err(failure) = self.client.bounded("pause the container", call).await else {
                break;
            };
            match self.state_after(container, &failure).await? {
                Some(ContainerState::Paused) => break,
                Some(ContainerState::Running)
                    if failure.said().is_some_and(message::is_frozen_already) =>
                {
                    return self.freeze_by_ourselves(container).await;
                }
                Some(ContainerState::Running) if attempt < ATTEMPTS => {
                    self.agree(container).await?;
                    tokio::time::sleep(BETWEEN).await;
                }
                Some(ContainerState::Running) | None => return Err(failure.into()),
                Some(state) => return Err(wrong_state("pause", container, state)),
            }
        }
        Ok(())
    }

    async fn freeze_by_ourselves(&self, container: &ContainerId) -> Result<()> {
        let found = self.look_as_told(container).await?;
        match found.as_ref().and_then(Processes::of) {
            Some(processes) => processes.freeze().await,
            None => Err(not_found(container)),
        }
    }

    pub(crate) async fn thaw(&self, container: &ContainerId) -> Result<()> {
        let target = self.target(container).await?;
        let docker = self.client.docker()?;
        let call = docker.unpause_container(&target);
        let Err(failure) = self.client.bounded("unpause the container", call).await else {
            return Ok(());
        };
        match self.state_after(container, &failure).await? {
            Some(ContainerState::Running | ContainerState::Paused) => {
                self.agree(container).await?;
            }
            Some(state) => return Err(wrong_state("unpause", container, state)),
            None => return Err(failure.into()),
        }
        match self.state_after(container, &failure).await? {
            Some(ContainerState::Paused) => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// Brings the daemon to agree with the kernel on whether a container is frozen: one that it
    /// wrongly says runs is thawed, one that it wrongly says is paused goes on running. Whether
    /// there was anything to do.
    pub(crate) async fn agree(&self, container: &ContainerId) -> Result<bool> {
        let Some(found) = self.look_as_told(container).await? else {
            return Ok(false);
        };
        let Some(processes) = Processes::of(&found) else {
            return Ok(false);
        };
        match (describe::state(&found), processes.are_frozen()) {
            (ContainerState::Running, Some(true)) => processes.thaw()?,
            (ContainerState::Paused, Some(false)) => {
                // The daemon thaws only what is frozen.
                processes.freeze().await?;
                let docker = self.client.docker()?;
                let call = docker.unpause_container(processes.id.as_str());
                if let Err(failure) = self.client.bounded("unpause the container", call).await {
                    processes.thaw()?;
                    return Err(failure.into());
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A container that is to be committed: where the daemon is mistaken about it, it is brought to
    /// agree first, since it freezes nothing that it takes for frozen. `None` when absent.
    pub(crate) async fn look_to_freeze(
        &self,
        container: &ContainerId,
    ) -> Result<Option<ContainerInspectResponse>> {
        let Some(told) = self.look_as_told(container).await? else {
            return Ok(None);
        };
        let state = describe::state(&told);
        let found = corrected(told);
        if describe::state(&found) == state || !self.agree(container).await? {
            return Ok(Some(found));
        }
        Ok(self.look(container).await?)
    }

    /// Thaws what the daemon has left frozen though it was to thaw it.
    pub(crate) async fn thaw_what_stayed(&self, found: &ContainerInspectResponse) -> Result<()> {
        match Processes::of(found) {
            Some(processes) if processes.are_frozen() == Some(true) => {
                self.thaw(&processes.id).await
            }
            _ => Ok(()),
        }
    }
}
