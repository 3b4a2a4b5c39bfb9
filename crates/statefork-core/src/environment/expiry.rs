//! Branches that end by themselves.
//!
//! Each one's moment is in the store, and decides. Its shim is told to run a worker then, which removes
//! whatever has expired. A shim that was killed keeps no time: so does every changing command what is
//! due, and tells the shim of its own branch when the next branch ends.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use statefork_shim::Shim;

use super::down::ENDED_AT_ONCE;
use super::{Begun, Environment, REAP};
use crate::error::{CoreError, Result};
use crate::model::{Branch, MAIN, OperationKind};
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

impl Environment {
    /// Removes the branches whose time is over, with their containers; their snapshots stay. Returns
    /// their names. `Locked` if one of them is worked on: it is still there.
    ///
    /// For the worker of a shim.
    pub async fn reap(&self) -> Result<Vec<String>> {
        let reaped = async {
            let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
                return Ok(Vec::new());
            };
            let _environment = self.share_and_recover(REAP).await?;
            let timeout = self.options.lock_timeout;
            let reaped = self.reap_expired(&record, timeout, None).await?;
            // The branch of the shim that kept time may be gone.
            for branch in [self.branch_name()?, MAIN.to_owned()] {
                self.tell_next_end(&record, &branch).await?;
            }
            Ok(reaped)
        };
        let outcome: Result<_> = reaped.await;
        outcome.map_err(|error| error.in_operation("remove the branches whose time is over"))
    }

    /// Does what is due before an operation begins, whose own branch is locked: where it fails, the
    /// operation goes on.
    pub(super) async fn keep_time(&self, own: Option<&str>) {
        let kept = async {
            let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
                return Ok(());
            };
            if self.store().next_end(record.number)?.is_none() {
                return Ok(());
            }
            match self.reap_expired(&record, Duration::ZERO, own).await {
                // Whoever works on it has it removed afterwards, or the next one has.
                Ok(_) | Err(CoreError::Locked { .. }) => {}
                Err(error) => return Err(error),
            }
            match own {
                Some(own) => self.tell_next_end(&record, own).await,
                None => Ok(()),
            }
        };
        let outcome: Result<_> = kept.await;
        if let Err(error) = outcome {
            self.observer().notice(&format!(
                "a branch whose time is over may be left: failed to {error}"
            ));
        }
    }

    /// Tells the shim of a branch, if it runs, when the next branch ends.
    async fn tell_next_end(&self, record: &EnvironmentRecord, branch: &str) -> Result<()> {
        let Some(end) = self.store().next_end(record.number)? else {
            return Ok(());
        };
        let Some(branch) = self.store().branch(record.number, branch)? else {
            return Ok(());
        };
        match Shim::connect(&self.home.shim_dir(branch.number)).await? {
            Some(mut shim) => self.tell_end(&mut shim, &branch.name, end).await,
            None => Ok(()),
        }
    }

    /// Has a shim remove at a moment whatever has expired then.
    pub(super) async fn tell_end(
        &self,
        shim: &mut Shim,
        branch: &str,
        end: Timestamp,
    ) -> Result<()> {
        let Some(programs) = &self.options.programs else {
            return Ok(());
        };
        let command = self.worker(programs, branch, &[REAP]);
        // Not before it: the worker would find nothing to do.
        let at_ms = u64::try_from(end.as_millisecond()).unwrap_or(0) + 1;
        Ok(shim.expire(at_ms, &command).await?)
    }

    /// Removes what has expired, but for branches whose locks others hold for longer than `timeout`;
    /// then the error of the first such one. The lock of `own` is held.
    async fn reap_expired(
        &self,
        record: &EnvironmentRecord,
        timeout: Duration,
        own: Option<&str>,
    ) -> Result<Vec<String>> {
        let expired = self.store().expired(record.number, Timestamp::now())?;
        let work = expired.into_iter().map(|branch| async move {
            let name = branch.name.clone();
            let reaped = self.reap_one(record, branch, timeout, own).await;
            reaped.map(|removed| removed.then_some(name))
        });
        let work = futures_util::stream::iter(work).buffer_unordered(ENDED_AT_ONCE);
        let outcomes: Vec<Result<_>> = work.collect().await;
        let reaped: Result<Vec<_>> = outcomes.into_iter().collect();
        Ok(reaped?.into_iter().flatten().collect())
    }

    /// Whether the branch was removed; else somebody else has done so, or given it other time.
    async fn reap_one(
        &self,
        record: &EnvironmentRecord,
        branch: Branch,
        timeout: Duration,
        own: Option<&str>,
    ) -> Result<bool> {
        let _lock = match own == Some(branch.name.as_str()) {
            true => None,
            false => Some(self.branch_lock(REAP, &branch.name, timeout).await?),
        };
        // As it is now that nobody else changes it.
        let branch = self.store().branch(record.number, &branch.name)?;
        let has_expired =
            |branch: &Branch| branch.expires_at.is_some_and(|end| end <= Timestamp::now());
        match branch.filter(has_expired) {
            Some(branch) => {
                self.remove_branch(Begun::now(), record, &branch).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Removes a branch with its container, as an operation of its own.
    pub(super) async fn remove_branch(
        &self,
        begun: Begun,
        record: &EnvironmentRecord,
        branch: &Branch,
    ) -> Result<()> {
        let intent = self.intent(OperationKind::BranchRemove, begun, Some(&branch.name), &[]);
        let recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            self.end_standbys(record, |standby| standby.branch == branch.number)
                .await?;
            self.retire_branch(&recorder, branch).await?;
            self.forget_shim(branch).await?;
            self.store().remove_branch(branch, record.number, MAIN)?;
            // What a restore on it left to a worker: there may be none that comes to it any more. The
            // branch is gone by now, and the next worker of another one does what fails.
            if let Err(error) = self.remove_retired(record).await {
                self.observer().notice(&format!(
                    "an old container of branch {:?} may be left: failed to {error}",
                    branch.name
                ));
            }
            Ok(())
        };
        let outcome = outcome.await;
        recorder.finish(outcome).map(drop)
    }
}
