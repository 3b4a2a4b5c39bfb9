//! The container that a branch goes on in, from its launch until it is the branch's.

use std::time::Duration;

use jiff::Timestamp;
use statefork_runtime::{
    Container, ContainerPort, ContainerSpec, LaunchRequest, ObjectType, Phase,
};
use statefork_shim::Shim;

use super::address::targets;
use super::handover::Successor;
use super::{Environment, identity};
use crate::config::Readiness;
use crate::error::Result;
use crate::model::{Branch, LiveContainer};
use crate::operation::Recorder;
use crate::readiness::Wait;
use crate::store::EnvironmentRecord;

/// How long a new application without a readiness check is watched, whether it ends at once.
const FIRST_SETTLE: Duration = Duration::from_millis(300);

/// A container that runs and is to be the branch's.
pub(super) struct Coming<'a> {
    /// It.
    pub(super) container: &'a Container,
    /// As the branch has it.
    pub(super) live: LiveContainer,
    /// What is waited for.
    pub(super) wait: Wait<'a>,
}

impl Successor {
    /// The container that it is launched in, as the branch has it.
    pub(super) fn live_in(&self, container: &Container) -> LiveContainer {
        LiveContainer {
            id: container.id.clone(),
            object: self.object.clone(),
            origin: self.snapshot.id.clone(),
            spec: self.spec.clone(),
            since: Timestamp::now(),
            attached: false,
            capture: self.snapshot.object.clone(),
        }
    }

    /// How long it is watched where the application has no readiness check.
    pub(super) fn settle(&self) -> Duration {
        match self.is_new {
            true => FIRST_SETTLE,
            false => Duration::ZERO,
        }
    }
}

impl Environment {
    /// Launches. After an error there is no new container.
    pub(super) async fn launch_successor(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
    ) -> Result<Container> {
        self.options.cancel.check()?;
        recorder.goes_on(false);
        self.launch(recorder, record, branch, successor).await
    }

    /// Waits for a container that was launched, switches, publishes. After an error it is gone.
    pub(super) async fn go_on_in(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
        container: &Container,
        shim: &mut Option<Shim>,
    ) -> Result<LiveContainer> {
        let coming = Coming {
            container,
            live: successor.live_in(container),
            wait: self.wait(container, &record.settings.readiness, successor.settle()),
        };
        let published = self
            .publish(recorder, record, branch, successor, coming, shim)
            .await;
        match published {
            Ok(live) => Ok(live),
            Err(error) => Err(error.and_then(self.take_away(successor, container).await)),
        }
    }

    /// Removes a container that was launched and is not to be the branch's.
    pub(super) async fn take_away(
        &self,
        successor: &Successor,
        container: &Container,
    ) -> Result<()> {
        self.runtime.remove(&container.id).await?;
        self.home.remove_identity(&successor.object)
    }

    /// How a container of ours is launched from a snapshot for a branch.
    pub(super) fn launch_request(
        &self,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
    ) -> LaunchRequest {
        let object = &successor.object;
        let publish = match record.capabilities.reachable.is_yes() {
            true => Vec::new(),
            false => branch.ports.iter().map(|port| port.container).collect(),
        };
        LaunchRequest {
            name: self.container_name(&branch.name, object),
            spec: identity::settings(&branch.name, &successor.spec),
            labels: self.owner(object).labels(ObjectType::Container),
            publish: publish.into_iter().map(ContainerPort::tcp).collect(),
        }
    }

    /// Waits for a container that runs, leads the branch's ports to it, and makes it the branch's.
    pub(super) async fn publish(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
        coming: Coming<'_>,
        shim: &mut Option<Shim>,
    ) -> Result<LiveContainer> {
        let Coming {
            container,
            live,
            wait,
        } = coming;
        if let Some(shim) = shim
            && branch.is_attached()
        {
            // The old one, which had them, has been stopped.
            shim.listen(&branch.ports).await?;
        }
        let ready = wait.until_ready(&live.spec.network);
        recorder.phases.time(Phase::Ready, ready).await?;
        self.run_hook(recorder, record, &branch.name, successor, container)
            .await?;
        if let Some(shim) = shim {
            let targets = targets(branch, container, &live.spec)?;
            recorder
                .phases
                .time(Phase::Switch, shim.target(&targets))
                .await?;
        }
        recorder.usable();
        recorder.time(Phase::Persist, || {
            self.store().move_branch(branch.number, &live.origin, &live)
        })?;
        Ok(live)
    }

    /// How a container is waited for.
    pub(super) fn wait<'a>(
        &'a self,
        container: &'a Container,
        readiness: &'a Readiness,
        settle: Duration,
    ) -> Wait<'a> {
        Wait {
            runtime: self.runtime.as_ref(),
            container,
            readiness,
            settle,
            cancel: &self.options.cancel,
        }
    }

    /// Waits until a container can be used.
    pub(super) async fn wait_ready(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        container: &Container,
        spec: &ContainerSpec,
        settle: Duration,
    ) -> Result<()> {
        let wait = self.wait(container, &record.settings.readiness, settle);
        recorder
            .phases
            .time(Phase::Ready, wait.until_ready(&spec.network))
            .await
    }
}
