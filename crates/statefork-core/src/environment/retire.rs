//! The old container of a handover: frozen or stopped while the new one comes, brought back where that
//! fails, and removed in the end.

use statefork_runtime::{Container, ContainerState, Phase};
use statefork_shim::Shim;

use super::Environment;
use super::address::release;
use super::handover::Successor;
use crate::error::Result;
use crate::model::{Branch, LiveContainer};
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// What became of the old container while the new one comes.
pub(super) enum Retired {
    /// There was none that ran.
    Nothing,
    /// It is frozen, with its memory.
    Paused(Container),
    /// Its processes have ended.
    Stopped(Container),
}

impl Environment {
    /// Freezes the old container, or stops it where it cannot run beside the new one.
    pub(super) async fn retire(
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

    /// Undoes `retire`: the old container goes on.
    pub(super) async fn bring_back(
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

    /// Leaves the old container to a worker, or removes it where somebody waits for that or there is no
    /// worker. The operation is done by then: what fails is told, and left to the next one.
    pub(super) async fn end_retired(
        &self,
        recorder: &mut Recorder<'_>,
        old: Option<(LiveContainer, Container)>,
        wait: bool,
    ) {
        let Some((live, container)) = old else { return };
        if !wait && !live.attached && self.options.programs.is_some() {
            return;
        }
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
            Ok(()) => self.forget_objects(&[&live.object]),
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
