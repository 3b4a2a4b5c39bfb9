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
use statefork_runtime::{Container, ContainerSpec, ObjectId, Phase};
use statefork_shim::Shim;

use super::Environment;
use super::address::{release, unguard};
use super::successor::Coming;
use crate::config::Readiness;
use crate::error::{CoreError, Result};
use crate::lock::LockMode;
use crate::model::{Branch, LiveContainer, Snapshot};
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// Beyond the limits of readiness and hook, how long connections are held: for all the calls besides.
const HOLD_MARGIN: Duration = Duration::from_secs(60);
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
            // The hook may run twice: in a prepared container that cannot be used, and in the next.
            let hooks = settings.hooks.timeout * 2;
            shim.hold(settings.readiness.timeout + hooks + HOLD_MARGIN)
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
                Err(CoreError::Interrupted) => {
                    let discarded = self.discard(&prepared).await;
                    let back = self.bring_back(retired, branch, shim).await;
                    return Err(CoreError::Interrupted.and_then(discarded).and_then(back));
                }
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
        let container = self
            .launch_successor(recorder, record, branch, successor)
            .await?;
        self.go_on_in(recorder, record, branch, successor, &container, shim)
            .await
    }

    /// Removes a container that was prepared and cannot be used.
    async fn discard(&self, prepared: &LiveContainer) -> Result<()> {
        self.runtime.remove(&prepared.id).await?;
        self.forget_objects(&[&prepared.object])
    }
}
