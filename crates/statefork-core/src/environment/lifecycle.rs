//! `start` and `stop`: the branch's container as it is, with its changes.

use std::time::Duration;

use statefork_runtime::{ContainerId, ContainerState, Phase, PortMapping};

use super::{Begun, Environment, Live};
use crate::error::{CoreError, Result};
use crate::model::{LiveContainer, OperationKind};
use crate::operation::{Recorder, Timing};
use crate::store::EnvironmentRecord;

/// A container that was started or stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleReport {
    /// The branch.
    pub branch: String,
    /// Its container.
    pub container: ContainerId,
    /// Its ports.
    pub ports: Vec<PortMapping>,
    /// How long it took; `None` if it was so already.
    pub timing: Option<Timing>,
}

impl Environment {
    /// Starts the branch's container, with its changes, and waits until it can be used.
    pub async fn start(&self) -> Result<LifecycleReport> {
        let begun = Begun::now();
        let outcome = self.start_inner(begun).await;
        outcome.map_err(|error| error.in_operation("start the container"))
    }

    async fn start_inner(&self, begun: Begun) -> Result<LifecycleReport> {
        let locked = self.lock_branch(OperationKind::Start).await?;
        let mut live = self.live_on(&locked.branch).await?;
        if live.container.state == ContainerState::Running {
            return Ok(report(&live, None));
        }
        let intent = self.intent(OperationKind::Start, begun, Some(&locked.branch), &[]);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            live.branch = self.take_ports(&live.branch, &live.branch.ports).await?;
            if live.container.state == ContainerState::Paused {
                self.runtime.unpause(&live.container.id).await?;
            }
            self.run_again(&mut recorder, &live.record, &live.branch, &live.live)
                .await
        };
        let outcome = outcome.await;
        let ((), timing) = recorder.finish(outcome)?;
        self.tend_behind(&locked.branch, None).await;
        Ok(report(&live, Some(timing)))
    }

    /// Starts a container that ended, waits for it, and leads the branch's ports to it.
    pub(super) async fn run_again(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &crate::model::Branch,
        live: &LiveContainer,
    ) -> Result<()> {
        self.refresh_own_files(&branch.name, live).await?;
        let start = self.runtime.start(&live.id);
        recorder.phases.time(Phase::Start, start).await?;
        let container = self.runtime.inspect(&live.id).await?;
        let container = container.ok_or_else(|| CoreError::Lost {
            container: live.id.short().to_owned(),
        })?;
        self.wait_ready(recorder, record, &container, &live.spec, Duration::ZERO)
            .await?;
        let mut shim = self.shim(branch).await?;
        self.retarget(&container, branch, &mut shim).await?;
        recorder.usable();
        Ok(())
    }

    /// Stops the branch's container, which keeps its changes.
    pub async fn stop(&self) -> Result<LifecycleReport> {
        let begun = Begun::now();
        let outcome = self.stop_inner(begun).await;
        outcome.map_err(|error| error.in_operation("stop the container"))
    }

    async fn stop_inner(&self, begun: Begun) -> Result<LifecycleReport> {
        let locked = self.lock_branch(OperationKind::Stop).await?;
        let live = self.live_on(&locked.branch).await?;
        if matches!(
            live.container.state,
            ContainerState::Exited { .. } | ContainerState::Created
        ) {
            return Ok(report(&live, None));
        }
        let intent = self.intent(OperationKind::Stop, begun, Some(&locked.branch), &[]);
        let recorder = Recorder::begin(self.store(), &intent)?;
        let stopping = self
            .runtime
            .stop(&live.container.id, self.options.stop_timeout);
        let outcome = recorder.phases.time(Phase::Stop, stopping).await;
        let ((), timing) = recorder.finish(outcome.map_err(CoreError::from))?;
        self.tend_behind(&locked.branch, None).await;
        Ok(report(&live, Some(timing)))
    }
}

fn report(live: &Live, timing: Option<Timing>) -> LifecycleReport {
    LifecycleReport {
        branch: live.branch.name.clone(),
        container: live.container.id.clone(),
        ports: live.branch.ports.clone(),
        timing,
    }
}
