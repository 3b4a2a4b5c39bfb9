//! What is done behind the operations, where nobody waits: containers go that others have taken the
//! place of, the next ones are prepared, long chains are flattened.
//!
//! A command asks the branch's shim for it, which runs a worker of the main binary at low priority. What
//! there is to do, the store says; so whatever a worker that died has left, the next one does.

use jiff::Timestamp;
use statefork_shim::Shim;

use super::chain::REST;
use super::{Environment, TEND};
use crate::error::Result;
use crate::model::Branch;
use crate::store::EnvironmentRecord;

impl Environment {
    /// Does what there is to do behind the operations on the branch.
    ///
    /// For the worker of a shim.
    pub async fn tend(&self) -> Result<()> {
        let outcome = self.tend_inner().await;
        outcome.map_err(|error| error.in_operation("tend the branch"))
    }

    async fn tend_inner(&self) -> Result<()> {
        if let Some((record, branch)) = self.tended()? {
            self.remove_retired(&record).await?;
            self.prepare(&record, &branch).await?;
        }
        let rested = Timestamp::now() - REST;
        let runtime = self.runtime.name();
        if !self
            .store()
            .flattening_failed_since(&self.name, runtime, rested)?
        {
            self.flatten().await?;
        }
        Ok(())
    }

    /// The environment and the branch, as long as somebody may go on with them.
    fn tended(&self) -> Result<Option<(EnvironmentRecord, Branch)>> {
        let record = self.store().environment(&self.name, self.runtime.name())?;
        let Some(record) = record.filter(|record| !record.purging) else {
            return Ok(None);
        };
        let branch = self.store().branch(record.number, &self.branch_name()?)?;
        Ok(branch.map(|branch| (record, branch)))
    }

    /// Removes containers of the environment that nobody needs any more.
    pub(super) async fn remove_retired(&self, record: &EnvironmentRecord) -> Result<()> {
        match self.store().has_retired(record.number)? {
            true => self.forget_unreferenced(record).await,
            false => Ok(()),
        }
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
            && !self.store().has_retired(record.number)?
            && !self.is_preparing_due(&record, &branch)?
        {
            return Ok(());
        }
        let dir = self.home.shim_dir(branch.number);
        let mut shim = Shim::ensure(&programs.helper, &dir).await?;
        let worker = programs.command(&branch.name, &[TEND]);
        Ok(shim.work(&worker).await?)
    }
}
