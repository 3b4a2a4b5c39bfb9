//! Refusals for the state of a container: what they mean for the caller depends on the state,
//! which is looked up only then, so that the usual case costs one request.

use std::time::Duration;

use statefork_runtime::{Container, ContainerId, ContainerState, Result, RuntimeError, freezer};

use crate::PodmanRuntime;
use crate::cause::Cause;
use crate::client::no_container;
use crate::describe::Inspected;
use crate::fault::Fault;
use crate::raw::encode;

/// How often a freeze is tried.
const ATTEMPTS: u32 = 3;
/// How long to wait between two attempts.
const BETWEEN: Duration = Duration::from_millis(50);

impl PodmanRuntime {
    /// What the service says of a container; `None` when it is gone.
    pub(crate) async fn look(&self, container: &ContainerId) -> Result<Option<Inspected>> {
        let path = format!("/containers/{}/json", encode(container.as_str()));
        match self.client.get::<Inspected>(&path).await {
            Ok(found) => Ok(Some(found).filter(|found| found.is(container))),
            Err(fault) if fault.cause() == Cause::NoContainer => Ok(None),
            Err(fault) => Err(self.client.error("inspect a container", fault)),
        }
    }

    /// The container, which must be there.
    pub(crate) async fn must_look(&self, container: &ContainerId) -> Result<Container> {
        let found = self.look(container).await?;
        found
            .map(Inspected::describe)
            .ok_or_else(|| no_container(container))
    }

    /// Asks for something that freezes a container, again where the OCI runtime did not: it gives up
    /// where processes come and go too fast, and refuses one that is frozen although the service
    /// does not know, as after a freeze amid which the service was killed.
    pub(crate) async fn freezing<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        container: &ContainerId,
        ask: impl Fn() -> F,
    ) -> Result<T, Fault> {
        let mut attempt = 1;
        loop {
            let outcome = ask().await;
            match &outcome {
                Err(fault) if fault.cause() == Cause::OciRuntime && attempt < ATTEMPTS => {
                    if let Err(error) = self.thaw_unknown(container).await {
                        tracing::debug!(%error, "whether it is frozen cannot be told");
                    }
                }
                _ => return outcome,
            }
            attempt += 1;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Thaws a container of which the service does not know that it is frozen.
    pub(crate) async fn thaw_unknown(&self, container: &ContainerId) -> Result<()> {
        let found = self.must_look(container).await?;
        let Some(pid) = found.pid.filter(|_| found.state == ContainerState::Running) else {
            return Ok(());
        };
        freezer::thaw(pid, &found.id).map_err(|error| RuntimeError::Daemon {
            op: "unpause a container",
            status: None,
            message: format!("its processes are frozen, which Podman does not know: {error}"),
            source: None,
        })
    }

    /// Makes sense of the outcome of an operation: a refusal for the container's state is success
    /// where `done` says that the state is already as asked. `verb` is what was asked, `op` the
    /// same with its object.
    pub(crate) async fn settle(
        &self,
        verb: &'static str,
        op: &'static str,
        container: &ContainerId,
        outcome: Result<(), Fault>,
        done: impl FnOnce(ContainerState) -> bool,
    ) -> Result<()> {
        let Err(fault) = outcome else {
            return Ok(());
        };
        match self.refused(verb, op, container, fault).await {
            RuntimeError::WrongState { state, .. } if done(state) => Ok(()),
            error => Err(error),
        }
    }

    /// The error of a refused operation; `WrongState` with the state where that is the reason.
    pub(crate) async fn refused(
        &self,
        verb: &'static str,
        op: &'static str,
        container: &ContainerId,
        fault: Fault,
    ) -> RuntimeError {
        if fault.cause() != Cause::WrongState {
            return self.client.container_error(op, container, fault);
        }
        match self.must_look(container).await {
            Ok(found) => RuntimeError::WrongState {
                op: verb,
                container: found.name,
                state: found.state,
            },
            Err(error) => error,
        }
    }
}
