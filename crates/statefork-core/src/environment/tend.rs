//! What is done behind the operations, where nobody waits: containers go that others have taken the
//! place of, the next ones are prepared, long chains are flattened.
//!
//! A command asks the branch's shim for it, which runs a worker of the main binary at low priority. What
//! there is to do, the store says; so what a worker has not done, the next one does.

use std::time::Duration;

use jiff::Timestamp;
use statefork_shim::Shim;

use super::{Environment, Programs, TEND};
use crate::error::Result;
use crate::model::{Branch, OperationKind, SnapshotId};
use crate::store::{EnvironmentRecord, Evicted};

/// How long work in the background is not begun again after it failed.
const REST: Duration = Duration::from_secs(60);

impl Environment {
    /// Does what there is to do behind the operations on the branch.
    ///
    /// For the worker of a shim.
    pub async fn tend(&self) -> Result<()> {
        let outcome = self.tend_inner().await;
        outcome.map_err(|error| error.in_operation("tend the branch"))
    }

    async fn tend_inner(&self) -> Result<()> {
        let prepared = async {
            let Some(record) = self.tended()? else {
                return Ok(());
            };
            self.remove_retired(&record).await?;
            let branch = self.store().branch(record.number, &self.branch_name()?)?;
            match branch {
                Some(branch) => self.prepare(&record, &branch).await,
                None => Ok(()),
            }
        };
        let prepared: Result<()> = prepared.await;
        // An application that does not start is no reason to let chains grow.
        let flattened = self.flatten_again().await;
        match prepared {
            Ok(()) => flattened,
            Err(error) => Err(error.and_then(flattened)),
        }
    }

    async fn flatten_again(&self) -> Result<()> {
        match self.rests(OperationKind::Flatten, None)? {
            true => Ok(()),
            false => self.flatten().await.map(drop),
        }
    }

    /// Whether work of this kind failed a moment ago, from this snapshot if one is named: then it is not
    /// begun again.
    pub(super) fn rests(&self, kind: OperationKind, target: Option<&SnapshotId>) -> Result<bool> {
        let rested = Timestamp::now() - REST;
        let runtime = self.runtime.name();
        self.store()
            .failed_since(kind, &self.name, runtime, target, rested)
    }

    /// The environment, as long as somebody may go on with it.
    fn tended(&self) -> Result<Option<EnvironmentRecord>> {
        let record = self.store().environment(&self.name, self.runtime.name())?;
        Ok(record.filter(|record| !record.purging))
    }

    /// Removes containers of the environment that nobody needs any more.
    pub(super) async fn remove_retired(&self, record: &EnvironmentRecord) -> Result<()> {
        match self.store().has_unreferenced(record.number)? {
            true => self.forget_unreferenced(record).await,
            false => Ok(()),
        }
    }

    /// Has the shim of a branch of another environment begin it: something there was given up for others.
    pub(super) async fn tend_elsewhere(&self, evicted: &Evicted) -> Result<()> {
        let Some(programs) = &self.options.programs else {
            return Ok(());
        };
        let other = self
            .store()
            .environment(&evicted.environment, &evicted.runtime)?;
        let branch = match other {
            Some(record) => self.store().branch(record.number, &evicted.branch)?,
            None => None,
        };
        match branch {
            Some(branch) => {
                let worker = programs.command(
                    &evicted.environment,
                    &evicted.runtime,
                    &branch.name,
                    &[TEND],
                );
                self.work(programs, &branch, &worker).await
            }
            None => Ok(()),
        }
    }

    /// Has a branch's shim run a worker.
    async fn work(&self, programs: &Programs, branch: &Branch, worker: &[String]) -> Result<()> {
        let dir = self.home.shim_dir(branch.number);
        let mut shim = Shim::ensure(&programs.helper, &dir).await?;
        Ok(shim.work(worker).await?)
    }

    /// Has the branch's shim begin what nobody waits for, if there is anything to do. `layers`: how
    /// many the capture has that was published, if one was. The operation is done by then: what fails is
    /// told.
    pub(super) async fn tend_behind(&self, branch: &str, layers: Option<u32>) {
        if let Err(error) = self.ask_to_tend(branch, layers).await {
            self.observer().notice(&format!(
                "nothing is done in the background: failed to {error}"
            ));
        }
    }

    async fn ask_to_tend(&self, branch: &str, layers: Option<u32>) -> Result<()> {
        let Some(programs) = &self.options.programs else {
            return Ok(());
        };
        let record = self.record()?;
        let branch = self.branch(&record, branch)?;
        let is_long = match layers {
            Some(layers) => self.is_flattening_due(&record, layers).await?,
            None => false,
        };
        if !is_long
            && !self.store().has_unreferenced(record.number)?
            && !self.is_preparing_due(&record, &branch)?
        {
            return Ok(());
        }
        let worker = self.worker(programs, &branch.name, &[TEND]);
        self.work(programs, &branch, &worker).await
    }
}
