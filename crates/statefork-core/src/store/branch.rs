//! Branches in the store.

use rusqlite::{OptionalExtension, Row, Transaction};

use super::{Store, from_json, time};
use crate::error::Result;
use crate::model::{Branch, SnapshotId};

const SELECT: &str = "SELECT b.number, b.name, s.id, b.container, b.ports, b.created_at,
        b.expires_at
    FROM branches b JOIN snapshots s ON s.position = b.head";

impl Store {
    /// A branch by name.
    pub(crate) fn branch(&self, environment: i64, name: &str) -> Result<Option<Branch>> {
        let connection = self.lock();
        let row = connection
            .prepare_cached(&format!(
                "{SELECT} WHERE b.environment = ?1 AND b.name = ?2"
            ))?
            .query_row((environment, name), BranchRow::read)
            .optional()?;
        row.map(BranchRow::into_branch).transpose()
    }

    /// All branches of an environment, by name.
    pub(crate) fn branches(&self, environment: i64) -> Result<Vec<Branch>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE b.environment = ?1 ORDER BY b.name"
        ))?;
        let rows = statement.query_map([environment], BranchRow::read)?;
        rows.map(|row| row?.into_branch()).collect()
    }

    /// Where a branch's head has been, the current place first.
    pub(crate) fn former_heads(&self, branch: i64) -> Result<Vec<SnapshotId>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT s.id FROM heads h JOIN snapshots s ON s.position = h.snapshot
             WHERE h.branch = ?1 ORDER BY h.seq DESC",
        )?;
        let rows = statement.query_map([branch], |row| row.get::<_, String>(0))?;
        Ok(rows
            .map(|id| id.map(SnapshotId::from_store))
            .collect::<rusqlite::Result<_>>()?)
    }

    /// Gives a branch another name; an environment's current branch stays the current one.
    pub(crate) fn rename_branch(
        transaction: &Transaction<'_>,
        environment: i64,
        from: &str,
        to: &str,
    ) -> Result<()> {
        transaction.execute(
            "UPDATE branches SET name = ?3 WHERE environment = ?1 AND name = ?2",
            (environment, from, to),
        )?;
        transaction.execute(
            "UPDATE environments SET current = ?3 WHERE number = ?1 AND current = ?2",
            (environment, from, to),
        )?;
        Ok(())
    }

    /// Forgets a branch; where it was the current one, `instead` is.
    pub(crate) fn remove_branch(
        &self,
        branch: &Branch,
        environment: i64,
        instead: &str,
    ) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM branches WHERE number = ?1", [branch.number])?;
            transaction.execute(
                "UPDATE environments SET current = ?3 WHERE number = ?1 AND current = ?2",
                (environment, &branch.name, instead),
            )?;
            Ok(())
        })
    }

    /// Chooses the current branch.
    pub(crate) fn set_current(
        transaction: &Transaction<'_>,
        environment: i64,
        name: &str,
    ) -> Result<()> {
        transaction.execute(
            "UPDATE environments SET current = ?2 WHERE number = ?1",
            (environment, name),
        )?;
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Makes a branch without a container, whose head is that of another.
    pub(crate) fn copy_branch(&self, environment: i64, from: &str, to: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO branches (environment, name, head, ports, created_at)
                 SELECT environment, ?3, head, '[]', created_at FROM branches
                 WHERE environment = ?1 AND name = ?2",
                (environment, from, to),
            )?;
            Ok(())
        })
    }
}

struct BranchRow {
    number: i64,
    name: String,
    head: String,
    container: Option<String>,
    ports: String,
    created_at: i64,
    expires_at: Option<i64>,
}

impl BranchRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            name: row.get(1)?,
            head: row.get(2)?,
            container: row.get(3)?,
            ports: row.get(4)?,
            created_at: row.get(5)?,
            expires_at: row.get(6)?,
        })
    }

    fn into_branch(self) -> Result<Branch> {
        let container = self
            .container
            .map(|text| from_json("container of a branch", &text))
            .transpose()?;
        Ok(Branch {
            number: self.number,
            name: self.name,
            head: SnapshotId::from_store(self.head),
            container,
            ports: from_json("ports of a branch", &self.ports)?,
            created_at: time(self.created_at)?,
            expires_at: self.expires_at.map(time).transpose()?,
        })
    }
}
