//! What the store says of an environment; no runtime is contacted.

use super::Environment;
use crate::error::Result;
use crate::model::{Node, Operation, OperationKind, Snapshot, SnapshotId};
use crate::stats::{StatRow, statistics};

/// An operation whose process ended before it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its sequence number.
    pub operation: i64,
    /// What it was.
    pub kind: OperationKind,
}

impl Environment {
    /// Whether it has ever been brought up.
    pub fn exists(&self) -> Result<bool> {
        let record = self.store().environment(&self.name, self.runtime.name())?;
        Ok(record.is_some())
    }

    /// Its snapshots, oldest first; none if it does not exist.
    pub fn list(&self) -> Result<Vec<Node>> {
        match self.store().environment(&self.name, self.runtime.name())? {
            Some(record) => self.store().nodes(record.number),
            None => Ok(Vec::new()),
        }
    }

    /// The id of the snapshot that a revision names.
    pub fn find(&self, revision: &str) -> Result<SnapshotId> {
        let record = self.record()?;
        self.resolve(&record, &self.branch_name()?, revision)
    }

    /// One snapshot.
    pub fn show(&self, revision: &str) -> Result<Snapshot> {
        let show = || {
            let record = self.record()?;
            let id = self.resolve(&record, &self.branch_name()?, revision)?;
            self.store().snapshot(record.number, &id)
        };
        show().map_err(|error| error.in_operation(format!("show {revision}")))
    }

    /// The branches for which a container is prepared from a snapshot, by name.
    pub fn prepared_for(&self, snapshot: &SnapshotId) -> Result<Vec<String>> {
        let record = self.record()?;
        let standbys = self.store().standbys(record.number)?;
        let is_prepared = |branch: i64| {
            standbys.iter().any(|standby| {
                standby.branch == branch
                    && standby.snapshot == *snapshot
                    && standby.container.is_some()
            })
        };
        let branches = self.store().branches(record.number)?.into_iter();
        Ok(branches
            .filter(|branch| is_prepared(branch.number))
            .map(|branch| branch.name)
            .collect())
    }

    /// Its operation log, oldest first.
    pub fn history(&self) -> Result<Vec<Operation>> {
        self.store().operations(&self.name, self.runtime.name())
    }

    /// The figures of its operations.
    pub fn stats(&self) -> Result<Vec<StatRow>> {
        Ok(statistics(&self.history()?))
    }

    /// Operations that did not end and whose process is gone.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let rows = self.store().dead(&self.name, self.runtime.name())?;
        Ok(rows
            .into_iter()
            .map(|dead| Unfinished {
                operation: dead.seq,
                kind: dead.kind,
            })
            .collect())
    }

    /// The other runtimes on which an environment of this name has snapshots.
    pub fn elsewhere(&self) -> Result<Vec<String>> {
        let all = self.home.environments()?;
        Ok(all
            .into_iter()
            .filter(|(name, runtime)| *name == self.name && runtime != self.runtime.name())
            .map(|(_, runtime)| runtime)
            .collect())
    }
}
