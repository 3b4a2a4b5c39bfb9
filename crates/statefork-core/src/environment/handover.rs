//! From one container of a branch to the next: the old one is never lost before the new one can be
//! used.
//!
//! 1. The shim holds new connections.
//! 2. The old container is paused; or stopped, where two cannot run at once, which is said.
//! 3. The new one is launched and waited for; or one that was prepared ahead is thawed at the same time,
//!    and asked once.
//! 4. The shim's target moves; held connections go to the new container.
//! 5. The store's branch moves: from here on there is no way back.
//! 6. The old container is removed: behind, by a worker, unless somebody waits for that.
//!
//! Whatever fails before 5 is undone: the new container is removed, the old one unpaused (or, where
//! it was stopped, started), the shim released.

use std::time::Duration;

use jiff::Timestamp;
use statefork_runtime::{
    Container, ContainerPort, ContainerSpec, LaunchRequest, ObjectId, ObjectType, Phase,
};
use statefork_shim::Shim;

use super::address::{release, targets, unguard};
use super::{Environment, identity};
use crate::config::Readiness;
use crate::error::{CoreError, Result};
use crate::lock::LockMode;
use crate::model::{Branch, LiveContainer, Snapshot};
use crate::operation::Recorder;
use crate::readiness::Wait;
use crate::store::EnvironmentRecord;

/// Beyond the limits of readiness and hook, how long connections are held: for all the calls besides.
const HOLD_MARGIN: Duration = Duration::from_secs(60);
/// How long a new application without a readiness check is watched, whether it ends at once.
const FIRST_SETTLE: Duration = Duration::from_millis(300);
/// How long a container that was prepared ahead may take to be usable once it is thawed.
const WARM_TIMEOUT: Duration = Duration::from_millis(250);

/// The container to come.
pub(super) struct Successor {
    /// What it is launched from.
    pub(super) snapshot: Snapshot,
    /// Its settings.
    pub(super) spec: ContainerSpec,
    /// Its random value, logged.
    pub(super) object: ObjectId,
    /// Whether the operation ends only once the old container is gone.
    pub(super) wait: bool,
    /// Whether its settings may never have run: without a readiness check it is then watched a while
    /// before it counts as usable.
    pub(super) is_new: bool,
}

/// A container that runs and is to be the branch's.
struct Coming<'a> {
    container: &'a Container,
    /// As the branch has it.
    live: LiveContainer,
    /// What is waited for.
    wait: Wait<'a>,
}

/// A container that was prepared ahead.
struct Thawed {
    prepared: LiveContainer,
    /// As it is after the thaw; `None` where it is gone.
    container: Result<Option<Container>>,
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
            let settings = &record.settings;
            shim.hold(settings.readiness.timeout + settings.hooks.timeout + HOLD_MARGIN)
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
        if let Err(error) = self.guard(shim, &branch.name, frozen).await {
            return Err(error.and_then(release(shim).await));
        }
        let prepared = self.take_prepared(recorder, branch, &successor.snapshot, &successor.spec);
        let (retired, thawed) = match prepared {
            Ok(None) => {
                let retiring = self.retire(recorder, record, branch, &old, successor);
                (retiring.await, None)
            }
            Ok(Some(prepared)) => {
                let (retired, thawed) = tokio::join!(
                    self.retire(recorder, record, branch, &old, successor),
                    recorder
                        .phases
                        .time(Phase::Thaw, self.thaw_prepared(&prepared)),
                );
                let thawed = Thawed {
                    prepared,
                    container: thawed,
                };
                (retired, Some(thawed))
            }
            Err(error) => (Err(error), None),
        };
        let retired = match retired {
            Ok(retired) => retired,
            Err(error) => {
                let discarded = match thawed {
                    Some(thawed) => self.discard(&thawed.prepared).await,
                    None => Ok(()),
                };
                return Err(error.and_then(discarded).and_then(release(shim).await));
            }
        };
        let mut warm = None;
        if let Some(thawed) = thawed {
            let prepared = thawed.prepared.clone();
            let used = self
                .use_prepared(recorder, record, branch, successor, thawed, shim)
                .await;
            warm = match used {
                Ok(live) => Some(live),
                Err(error) => {
                    self.observer().notice(&format!(
                        "another container is launched, since the prepared one cannot be used: \
                         failed to {error}"
                    ));
                    if let Err(error) = self.discard(&prepared).await {
                        return Err(error.and_then(self.bring_back(retired, branch, shim).await));
                    }
                    None
                }
            };
        }
        let succeeded = match warm {
            Some(live) => {
                // None was launched. The branch has gone on by now, so this cannot fail any more: an
                // object that stays is forgotten by a worker.
                if let Err(error) = self.forget_objects(&[&successor.object]) {
                    self.observer().notice(&format!("failed to {error}"));
                }
                Ok(live)
            }
            None => {
                self.succeed(recorder, record, branch, successor, shim)
                    .await
            }
        };
        match succeeded {
            Ok(live) => {
                self.end_retired(recorder, old, successor.wait).await;
                Ok(live)
            }
            Err(error) => Err(error.and_then(self.bring_back(retired, branch, shim).await)),
        }
    }

    /// Waits for a prepared container, switches and publishes it.
    async fn use_prepared(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
        thawed: Thawed,
        shim: &mut Option<Shim>,
    ) -> Result<LiveContainer> {
        self.options.cancel.check()?;
        let Thawed {
            prepared,
            container,
        } = thawed;
        let container = container?.ok_or_else(|| CoreError::Lost {
            container: prepared.id.short().to_owned(),
        })?;
        // It may have been prepared while the branch was being renamed.
        self.refresh_own_files(&branch.name, &prepared).await?;
        let readiness = Readiness {
            timeout: WARM_TIMEOUT.min(record.settings.readiness.timeout),
            ..record.settings.readiness.clone()
        };
        let live = LiveContainer {
            since: Timestamp::now(),
            ..prepared
        };
        let coming = Coming {
            container: &container,
            live,
            wait: self.wait(&container, &readiness, Duration::ZERO),
        };
        self.publish(recorder, record, branch, successor, coming, shim)
            .await
            .inspect(|_| recorder.goes_on(true))
    }

    /// Launches, waits, switches, publishes. After an error the new container is gone.
    async fn succeed(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
        shim: &mut Option<Shim>,
    ) -> Result<LiveContainer> {
        self.options.cancel.check()?;
        recorder.goes_on(false);
        let Successor {
            snapshot,
            spec,
            object,
            is_new,
            ..
        } = successor;
        let request = self.launch_request(record, branch, spec, object);
        let container = self
            .launch(recorder, record, &branch.name, successor, &request)
            .await?;
        let live = LiveContainer {
            id: container.id.clone(),
            object: object.clone(),
            origin: snapshot.id.clone(),
            spec: spec.clone(),
            since: Timestamp::now(),
            attached: false,
            capture: snapshot.object.clone(),
        };
        let settle = match is_new {
            true => FIRST_SETTLE,
            false => Duration::ZERO,
        };
        let coming = Coming {
            container: &container,
            live,
            wait: self.wait(&container, &record.settings.readiness, settle),
        };
        let published = self
            .publish(recorder, record, branch, successor, coming, shim)
            .await;
        match published {
            Ok(live) => Ok(live),
            Err(error) => {
                let removed = match self.runtime.remove(&container.id).await {
                    Ok(()) => self.home.remove_identity(&successor.object),
                    Err(error) => Err(error.into()),
                };
                Err(CoreError::and_then(error, removed))
            }
        }
    }

    /// How a container of ours is launched from a snapshot for a branch.
    pub(super) fn launch_request(
        &self,
        record: &EnvironmentRecord,
        branch: &Branch,
        spec: &ContainerSpec,
        object: &ObjectId,
    ) -> LaunchRequest {
        let publish = match record.capabilities.reachable.is_yes() {
            true => Vec::new(),
            false => branch.ports.iter().map(|port| port.container).collect(),
        };
        LaunchRequest {
            name: self.container_name(&branch.name, object),
            spec: identity::settings(&branch.name, spec),
            labels: self.owner(object).labels(ObjectType::Container),
            publish: publish.into_iter().map(ContainerPort::tcp).collect(),
        }
    }

    /// Waits for a container that runs, leads the branch's ports to it, and makes it the branch's.
    async fn publish(
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

    fn wait<'a>(
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

    /// Removes a container that was prepared and cannot be used.
    async fn discard(&self, prepared: &LiveContainer) -> Result<()> {
        self.runtime.remove(&prepared.id).await?;
        self.forget_objects(&[&prepared.object])
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
