//! From one container of a branch to the next: the old one is never lost before the new one can be
//! used.
//!
//! 1. The shim holds new connections.
//! 2. The old container is paused; or stopped, where two cannot run at once, which is said.
//! 3. The new one is launched and waited for.
//! 4. The shim's target moves; held connections go to the new container.
//! 5. The store's branch moves: from here on there is no way back.
//! 6. The old container is removed.
//!
//! Whatever fails before 5 is undone: the new container is removed, the old one unpaused (or, where
//! it was stopped, started), the shim released.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use statefork_runtime::{
    Container, ContainerPort, ContainerSpec, ContainerState, LaunchRequest, ObjectId, ObjectType,
    Phase, PortMapping,
};
use statefork_shim::Shim;

use super::{Environment, RECOVER, THAW};
use crate::error::{CoreError, Result};
use crate::lock::LockMode;
use crate::model::{Branch, LiveContainer, Snapshot};
use crate::operation::Recorder;
use crate::readiness::{Wait, address};
use crate::store::EnvironmentRecord;

/// Beyond the readiness limit, how long connections are held: for all the calls besides.
const HOLD_MARGIN: Duration = Duration::from_secs(60);
/// How long a new application without a readiness check is watched, whether it ends at once.
const FIRST_SETTLE: Duration = Duration::from_millis(300);

/// The container to come.
pub(super) struct Successor {
    /// What it is launched from.
    pub(super) snapshot: Snapshot,
    /// Its settings.
    pub(super) spec: ContainerSpec,
    /// Its random value, logged.
    pub(super) object: ObjectId,
}

/// What became of the old container while the new one comes.
enum Retired {
    /// There was none that ran.
    Nothing,
    /// It is frozen, with its memory.
    Paused(Container),
    /// Its processes have ended.
    Stopped(Container),
}

impl Environment {
    /// Brings the successor up in place of `old` and publishes it.
    pub(super) async fn hand_over(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        old: Option<(LiveContainer, Container)>,
        successor: &Successor,
    ) -> Result<LiveContainer> {
        self.options.cancel.check()?;
        let _no_command_starts = self
            .lock_processes(&branch.name, LockMode::Exclusive)
            .await?;
        let mut shim = self.shim(branch).await?;
        if let Some(shim) = &mut shim {
            shim.hold(record.settings.readiness.timeout + HOLD_MARGIN)
                .await?;
        }
        let outcome = self
            .hand_over_guarded(recorder, record, branch, old, successor, &mut shim)
            .await;
        if matches!(&outcome, Err(error) if error.leaves_undone()) {
            // The shim sees this connection end, and has a worker undo what could not be undone.
            return outcome;
        }
        match (outcome, unguard(&mut shim).await) {
            (Ok(live), Ok(())) => Ok(live),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), unguarded) => Err(error.and_then(unguarded)),
        }
    }

    async fn hand_over_guarded(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        old: Option<(LiveContainer, Container)>,
        successor: &Successor,
        shim: &mut Option<Shim>,
    ) -> Result<LiveContainer> {
        let frozen = old.as_ref().map(|(live, _)| live);
        let guarded = self.guard(shim, &branch.name, frozen).await;
        let retired = match guarded {
            Ok(()) => self.retire(recorder, record, branch, &old, successor).await,
            Err(error) => Err(error),
        };
        let retired = match retired {
            Ok(retired) => retired,
            Err(error) => return Err(error.and_then(release(shim).await)),
        };
        let first = old.is_none();
        match self
            .succeed(recorder, record, branch, successor, shim, first)
            .await
        {
            Ok(live) => {
                self.remove_retired(recorder, old).await;
                Ok(live)
            }
            Err(error) => Err(error.and_then(self.bring_back(retired, branch, shim).await)),
        }
    }

    /// The branch's shim, listening on its ports unless the runtime still publishes them; `None`
    /// where branches have none.
    pub(super) async fn shim(&self, branch: &Branch) -> Result<Option<Shim>> {
        let ports = match branch.is_attached() {
            true => &[],
            false => branch.ports.as_slice(),
        };
        let listening = self.listen(branch, ports).await?;
        Ok(listening.map(|(shim, _)| shim))
    }

    /// Serves the branch's ports again if its shim died and its container lives.
    pub(super) async fn revive_shim(&self, branch: &str) -> Result<()> {
        let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
            return Ok(());
        };
        let Some(branch) = self.store().branch(record.number, branch)? else {
            return Ok(());
        };
        let Some(live) = branch.container.as_ref().filter(|live| !live.attached) else {
            return Ok(());
        };
        let dir = self.home.shim_dir(branch.number);
        if branch.ports.is_empty() || Shim::connect(&dir).await?.is_some() {
            return Ok(());
        }
        match self.runtime.inspect(&live.id).await? {
            Some(container) if container.state == ContainerState::Running => {
                let mut shim = self.shim(&branch).await?;
                self.retarget(&container, &branch, &mut shim).await
            }
            _ => Ok(()),
        }
    }

    /// The branch's shim, listening on exactly these ports; with the ports as they were bound.
    pub(super) async fn listen(
        &self,
        branch: &Branch,
        ports: &[PortMapping],
    ) -> Result<Option<(Shim, Vec<PortMapping>)>> {
        let Some(programs) = &self.options.programs else {
            return match ports {
                [] => Ok(None),
                _ => Err(CoreError::InvalidSettings {
                    what: "published ports".to_owned(),
                    reason: "there is no helper program that could serve them".to_owned(),
                }),
            };
        };
        let dir = self.home.shim_dir(branch.number);
        let mut shim = Shim::ensure(&programs.helper, &dir).await?;
        let bound = shim.listen(ports).await?;
        Ok(Some((shim, bound)))
    }

    /// Has the shim look after a container while it is frozen or stopped, should this process
    /// die or take too long.
    async fn guard(
        &self,
        shim: &mut Option<Shim>,
        branch: &str,
        frozen: Option<&LiveContainer>,
    ) -> Result<()> {
        let (Some(shim), Some(programs), Some(live)) = (shim, &self.options.programs, frozen)
        else {
            return Ok(());
        };
        let recover = programs.command(branch, &[RECOVER]);
        let thaw = programs.command(branch, &[THAW, live.id.as_str()]);
        shim.guard(&recover, &thaw, self.options.freeze_timeout)
            .await?;
        Ok(())
    }

    /// Has the branch's shim, if one runs, look after what this process could not undo: it sees the
    /// connection end.
    pub(super) async fn leave_to_shim(&self, branch: &Branch, live: &LiveContainer) -> Result<()> {
        let mut shim = Shim::connect(&self.home.shim_dir(branch.number)).await?;
        self.guard(&mut shim, &branch.name, Some(live)).await
    }

    async fn retire(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        old: &Option<(LiveContainer, Container)>,
        successor: &Successor,
    ) -> Result<Retired> {
        let Some((live, container)) = old else {
            return Ok(Retired::Nothing);
        };
        match container.state {
            ContainerState::Running => {}
            // Left so by an operation that died: it goes back to running if this one fails.
            ContainerState::Paused => return Ok(Retired::Paused(container.clone())),
            ContainerState::Created | ContainerState::Exited { .. } => return Ok(Retired::Nothing),
        }
        let why_not = if !record.capabilities.pause.is_yes() {
            Some("the runtime cannot pause it")
        } else if !live.spec.can_run_twice() || !successor.spec.can_run_twice() {
            Some("it shares a writable mount or the host's network with the new one")
        } else if live.attached && !branch.ports.is_empty() {
            Some("its ports move from the runtime to StateFork, which keeps them from now on")
        } else {
            None
        };
        let id = &container.id;
        match why_not {
            None => {
                recorder
                    .phases
                    .time(Phase::Stop, self.runtime.pause(id))
                    .await?;
                Ok(Retired::Paused(container.clone()))
            }
            Some(why) => {
                self.observer().notice(&format!(
                    "the old container is stopped before the new one starts: {why}"
                ));
                let stop = self.runtime.stop(id, self.options.stop_timeout);
                recorder.phases.time(Phase::Stop, stop).await?;
                Ok(Retired::Stopped(container.clone()))
            }
        }
    }

    /// Launches, waits, switches, publishes. After an error the new container is gone.
    async fn succeed(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
        shim: &mut Option<Shim>,
        first: bool,
    ) -> Result<LiveContainer> {
        self.options.cancel.check()?;
        let publish = match record.capabilities.reachable.is_yes() {
            true => Vec::new(),
            false => branch.ports.iter().map(|port| port.container).collect(),
        };
        let request = LaunchRequest {
            name: self.container_name(&branch.name, &successor.object),
            spec: successor.spec.clone(),
            labels: self.owner(&successor.object).labels(ObjectType::Container),
            publish: publish.into_iter().map(ContainerPort::tcp).collect(),
        };
        let capture = &successor.snapshot.capture;
        let container = self
            .runtime
            .launch(capture, &request, &recorder.phases)
            .await?;
        let published = async {
            if let Some(shim) = shim
                && branch.is_attached()
            {
                // The old one, which had them, has been stopped.
                shim.listen(&branch.ports).await?;
            }
            let settle = if first { FIRST_SETTLE } else { Duration::ZERO };
            self.wait_ready(recorder, record, &container, &successor.spec, settle)
                .await?;
            if let Some(shim) = shim {
                let targets = targets(branch, &container, &successor.spec)?;
                recorder
                    .phases
                    .time(Phase::Switch, shim.target(&targets))
                    .await?;
            }
            recorder.usable();
            let live = LiveContainer {
                id: container.id.clone(),
                object: successor.object.clone(),
                origin: successor.snapshot.id.clone(),
                spec: successor.spec.clone(),
                since: Timestamp::now(),
                attached: false,
                capture: successor.snapshot.object.clone(),
            };
            recorder.time(Phase::Persist, || {
                self.store()
                    .move_branch(branch.number, &successor.snapshot.id, &live)
            })?;
            Ok(live)
        };
        match published.await {
            Ok(live) => Ok(live),
            Err(error) => {
                let removed = self.runtime.remove(&container.id).await;
                Err(CoreError::and_then(error, removed.map_err(Into::into)))
            }
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
        let wait = Wait {
            runtime: self.runtime.as_ref(),
            container,
            readiness: &record.settings.readiness,
            settle,
            cancel: &self.options.cancel,
        };
        recorder
            .phases
            .time(Phase::Ready, wait.until_ready(&spec.network))
            .await
    }

    /// Undoes `retire`: the old container goes on.
    async fn bring_back(
        &self,
        retired: Retired,
        branch: &Branch,
        shim: &mut Option<Shim>,
    ) -> Result<()> {
        match retired {
            Retired::Nothing => release(shim).await,
            Retired::Paused(container) => {
                self.runtime.unpause(&container.id).await?;
                self.retarget(&container, branch, shim).await
            }
            Retired::Stopped(container) => {
                self.observer()
                    .notice("the old container is started again: its processes are new");
                if let Some(shim) = shim
                    && branch.is_attached()
                {
                    shim.listen(&[]).await?;
                }
                self.runtime.start(&container.id).await?;
                match self.runtime.inspect(&container.id).await? {
                    Some(container) => self.retarget(&container, branch, shim).await,
                    None => release(shim).await,
                }
            }
        }
    }

    /// Lets the branch's connections go to a container that runs.
    pub(super) async fn retarget(
        &self,
        container: &Container,
        branch: &Branch,
        shim: &mut Option<Shim>,
    ) -> Result<()> {
        let Some(shim) = shim else { return Ok(()) };
        if branch.is_attached() {
            return Ok(shim.release().await?);
        }
        let spec = match &branch.container {
            Some(live) => live.spec.clone(),
            None => ContainerSpec::default(),
        };
        shim.target(&targets(branch, container, &spec)?).await?;
        Ok(())
    }

    /// Removes the old container. The operation is done by then: what fails is told, and left to the
    /// next one.
    async fn remove_retired(
        &self,
        recorder: &mut Recorder<'_>,
        old: Option<(LiveContainer, Container)>,
    ) {
        let Some((live, container)) = old else { return };
        let removed = match live.attached {
            true => {
                recorder
                    .phases
                    .time(Phase::Stop, self.leave(&container))
                    .await
            }
            false => {
                let remove = self.runtime.remove(&container.id);
                recorder.phases.time(Phase::Remove, remove).await
            }
        };
        let forgotten = match removed {
            Ok(()) => self.store().forget_objects(&[&live.object]),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = forgotten {
            recorder.leave_rest();
            self.observer().notice(&format!(
                "the old container {} is left: failed to {error}",
                container.id.short()
            ));
        }
    }
}

async fn unguard(shim: &mut Option<Shim>) -> Result<()> {
    match shim {
        Some(shim) => Ok(shim.unguard().await?),
        None => Ok(()),
    }
}

async fn release(shim: &mut Option<Shim>) -> Result<()> {
    match shim {
        Some(shim) => Ok(shim.release().await?),
        None => Ok(()),
    }
}

/// Where each of the branch's ports leads.
fn targets(
    branch: &Branch,
    container: &Container,
    spec: &ContainerSpec,
) -> Result<BTreeMap<u16, SocketAddr>> {
    let ports = branch.ports.iter().map(|port| port.container);
    ports
        .map(|port| match address(container, &spec.network, port) {
            Some(address) => Ok((port, address)),
            None => Err(CoreError::InvalidSettings {
                what: format!("port {port} of container {}", container.name),
                reason: "the container has no address".to_owned(),
            }),
        })
        .collect()
}
