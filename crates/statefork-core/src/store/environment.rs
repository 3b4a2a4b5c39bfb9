//! Environments and branches in the store.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row};
use statefork_runtime::{Capabilities, PortMapping};

use super::{NewSnapshot, Store, damaged, from_json, time, to_json};
use crate::error::Result;
use crate::model::{Branch, LiveContainer, MAIN, Settings, SnapshotId};

/// An environment as the store holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnvironmentRecord {
    /// Its number in the home.
    pub(crate) number: i64,
    /// Its application's settings.
    pub(crate) settings: Settings,
    /// What its runtime can do, as found when it was last brought up.
    pub(crate) capabilities: Capabilities,
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
                "SELECT number, settings, capabilities FROM environments
                 WHERE name = ?1 AND runtime = ?2",
            )?
            .query_row((name, runtime), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        row.map(|(number, settings, capabilities): (i64, String, String)| {
            Ok(EnvironmentRecord {
                number,
                settings: from_json("settings of an environment", &settings)?,
                capabilities: from_json("capabilities of an environment", &capabilities)?,
            })
        })
        .transpose()
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
                "INSERT INTO environments (name, runtime, settings, capabilities, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (
                    name,
                    runtime,
                    to_json(settings)?,
                    to_json(capabilities)?,
                    now,
                ),
            )?;
            let number = transaction.last_insert_rowid();
            let base = super::snapshot::insert(transaction, number, base)?;
            transaction.execute(
                "INSERT INTO branches (environment, name, head, ports, created_at)
                 VALUES (?1, ?2, ?3, '[]', ?4)",
                (number, MAIN, base, now),
            )?;
            Ok(number)
        })?;
        Ok(EnvironmentRecord {
            number,
            settings: settings.clone(),
            capabilities: capabilities.clone(),
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

    /// Forgets an environment with its snapshots, branches and objects; its log stays.
    pub(crate) fn remove_environment(&self, number: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM objects WHERE (environment, runtime) IN
                 (SELECT name, runtime FROM environments WHERE number = ?1)",
                [number],
            )?;
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

    /// A branch by name.
    pub(crate) fn branch(&self, environment: i64, name: &str) -> Result<Branch> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT b.number, b.name, s.id, b.container, b.ports, b.created_at
             FROM branches b JOIN snapshots s ON s.position = b.head
             WHERE b.environment = ?1 AND b.name = ?2",
        )?;
        let row = statement
            .query_row((environment, name), BranchRow::read)
            .optional()?;
        row.ok_or_else(|| damaged(format!("branch {name}"), "it is missing"))?
            .into_branch()
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
        self.lock()
            .prepare_cached(
                "UPDATE branches SET container = ?2, head = (SELECT position FROM snapshots
                 WHERE snapshots.environment = branches.environment AND id = ?3)
                 WHERE number = ?1",
            )?
            .execute((branch, to_json(container)?, head.as_str()))?;
        Ok(())
    }

    /// Sets a branch's ports.
    pub(crate) fn set_ports(&self, branch: i64, ports: &[PortMapping]) -> Result<()> {
        self.lock().execute(
            "UPDATE branches SET ports = ?2 WHERE number = ?1",
            (branch, to_json(&ports)?),
        )?;
        Ok(())
    }
}

struct BranchRow {
    number: i64,
    name: String,
    head: String,
    container: Option<String>,
    ports: String,
    created_at: i64,
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
        })
    }
}
