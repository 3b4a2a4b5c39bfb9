//! Environments and branches in the store.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};
use statefork_runtime::{Capabilities, ObjectType, PortMapping};

use super::{NewSnapshot, Store, from_json, to_json};
use crate::error::Result;
use crate::model::{LiveContainer, MAIN, Settings, SnapshotId};

/// An environment as the store holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnvironmentRecord {
    /// Its number in the home.
    pub(crate) number: i64,
    /// Its application's settings.
    pub(crate) settings: Settings,
    /// What its runtime can do, as found when it was last brought up.
    pub(crate) capabilities: Capabilities,
    /// The name of its current branch.
    pub(crate) current: String,
    /// Whether a purge has begun.
    pub(crate) purging: bool,
}

impl Store {
    /// The environment of this name on this runtime.
    pub(crate) fn environment(
        &self,
        name: &str,
        runtime: &str,
    ) -> Result<Option<EnvironmentRecord>> {
        let connection = self.lock();
        let row = connection
            .prepare_cached(
                "SELECT number, settings, capabilities, current, purging FROM environments
                 WHERE name = ?1 AND runtime = ?2",
            )?
            .query_row((name, runtime), EnvironmentRow::read)
            .optional()?;
        row.map(EnvironmentRow::into_record).transpose()
    }

    /// All environments, as name and runtime.
    pub(crate) fn environment_names(&self) -> Result<Vec<(String, String)>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT name, runtime FROM environments ORDER BY name, runtime")?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Makes an environment with its base snapshot and its first branch, in one transaction.
    pub(crate) fn create_environment(
        &self,
        name: &str,
        runtime: &str,
        settings: &Settings,
        capabilities: &Capabilities,
        base: &NewSnapshot,
    ) -> Result<EnvironmentRecord> {
        let now = Timestamp::now().as_microsecond();
        let number = self.write(|transaction| {
            transaction.execute(
                "INSERT INTO environments (name, runtime, settings, capabilities, created_at, current)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    name,
                    runtime,
                    to_json(settings)?,
                    to_json(capabilities)?,
                    now,
                    MAIN,
                ),
            )?;
            let number = transaction.last_insert_rowid();
            let base = super::snapshot::insert(transaction, number, base)?;
            transaction.execute(
                "INSERT INTO branches (environment, name, head, ports, created_at)
                 VALUES (?1, ?2, ?3, '[]', ?4)",
                (number, MAIN, base, now),
            )?;
            let branch = transaction.last_insert_rowid();
            move_head(transaction, branch, base)?;
            Ok(number)
        })?;
        Ok(EnvironmentRecord {
            number,
            settings: settings.clone(),
            capabilities: capabilities.clone(),
            current: MAIN.to_owned(),
            purging: false,
        })
    }

    /// Replaces the settings and capabilities of an environment.
    pub(crate) fn update_environment(
        &self,
        number: i64,
        settings: &Settings,
        capabilities: &Capabilities,
    ) -> Result<()> {
        self.lock().execute(
            "UPDATE environments SET settings = ?2, capabilities = ?3 WHERE number = ?1",
            (number, to_json(settings)?, to_json(capabilities)?),
        )?;
        Ok(())
    }

    /// Forgets an environment with its snapshots, branches and objects; its log stays, and so do
    /// builds of operations that were not done, on which a builder may be at work still.
    pub(crate) fn remove_environment(&self, number: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM objects WHERE (environment, runtime) IN
                 (SELECT name, runtime FROM environments WHERE number = ?1)
                 AND NOT (kind = ?2 AND operation IN
                 (SELECT seq FROM operations WHERE outcome NOT IN ('done', 'recovered')))",
                (number, ObjectType::Build.as_str()),
            )?;
            transaction.execute("DELETE FROM tags WHERE environment = ?1", [number])?;
            transaction.execute("DELETE FROM branches WHERE environment = ?1", [number])?;
            // Children before parents, one level a pass, would be slow: cut the edges first.
            transaction.execute(
                "UPDATE snapshots SET parent = NULL WHERE environment = ?1",
                [number],
            )?;
            transaction.execute("DELETE FROM environments WHERE number = ?1", [number])?;
            Ok(())
        })
    }

    /// Notes that a purge has begun.
    pub(crate) fn begin_purge(&self, number: i64) -> Result<()> {
        self.lock().execute(
            "UPDATE environments SET purging = 1 WHERE number = ?1",
            [number],
        )?;
        Ok(())
    }

    /// Sets or clears a branch's container.
    pub(crate) fn set_container(
        &self,
        branch: i64,
        container: Option<&LiveContainer>,
    ) -> Result<()> {
        let container = container.map(to_json).transpose()?;
        self.lock()
            .prepare_cached("UPDATE branches SET container = ?2 WHERE number = ?1")?
            .execute((branch, container))?;
        Ok(())
    }

    /// Moves a branch's head and its container together.
    pub(crate) fn move_branch(
        &self,
        branch: i64,
        head: &SnapshotId,
        container: &LiveContainer,
    ) -> Result<()> {
        self.write(|transaction| {
            let position = transaction
                .prepare_cached(
                    "SELECT s.position FROM snapshots s JOIN branches b
                     ON b.environment = s.environment WHERE b.number = ?1 AND s.id = ?2",
                )?
                .query_row((branch, head.as_str()), |row| row.get(0))?;
            transaction
                .prepare_cached("UPDATE branches SET container = ?2 WHERE number = ?1")?
                .execute((branch, to_json(container)?))?;
            move_head(transaction, branch, position)
        })
    }

    /// Sets a branch's ports. It is not waited for on the disk: they are of use to nobody before a
    /// later transaction makes a container the branch's, which is, or once the machine has lost power.
    pub(crate) fn set_ports(&self, branch: i64, ports: &[PortMapping]) -> Result<()> {
        let ports = to_json(&ports)?;
        self.write_without_sync(|transaction| {
            transaction
                .prepare_cached("UPDATE branches SET ports = ?2 WHERE number = ?1")?
                .execute((branch, &ports))?;
            Ok(())
        })
    }
}

/// Moves a branch's head and remembers where it is.
pub(super) fn move_head(transaction: &Transaction<'_>, branch: i64, position: i64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE branches SET head = ?2 WHERE number = ?1")?
        .execute((branch, position))?;
    transaction
        .prepare_cached("INSERT INTO heads (branch, snapshot) VALUES (?1, ?2)")?
        .execute((branch, position))?;
    Ok(())
}

struct EnvironmentRow {
    number: i64,
    settings: String,
    capabilities: String,
    current: String,
    purging: bool,
}

impl EnvironmentRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            settings: row.get(1)?,
            capabilities: row.get(2)?,
            current: row.get(3)?,
            purging: row.get(4)?,
        })
    }

    fn into_record(self) -> Result<EnvironmentRecord> {
        Ok(EnvironmentRecord {
            number: self.number,
            settings: from_json("settings of an environment", &self.settings)?,
            capabilities: from_json("capabilities of an environment", &self.capabilities)?,
            current: self.current,
            purging: self.purging,
        })
    }
}
