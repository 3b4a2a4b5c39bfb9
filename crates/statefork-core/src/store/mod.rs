//! The store: one SQLite database per home, which every command opens anew.
//!
//! Write-ahead log and `synchronous=FULL`: what a transaction has committed survives the loss of
//! power, but for the end of an operation, which is not waited for. Calls block for a fraction of a
//! millisecond; they are made directly from async code.

mod branch;
mod environment;
mod fork;
mod operation;
mod snapshot;
mod standby;
mod superseded;
mod tag;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;
use statefork_runtime::{Capabilities, HomeId, ObjectId};

use crate::error::{CoreError, Result};
use crate::process::ProcessIdentity;

pub(crate) use environment::EnvironmentRecord;
pub(crate) use operation::{Background, Dead, Finished, NewOperation, Untold};
pub(crate) use snapshot::NewSnapshot;
pub(crate) use standby::{Evicted, NewStandby, Reserved, Standby};
pub(crate) use superseded::Flattened;

/// What each version of the schema adds to the one before, the first one's first.
const SCHEMA: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
];
/// Version of the schema that this program reads and writes.
const SCHEMA_VERSION: i64 = SCHEMA.len() as i64;
/// How long a transaction waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The database of a home.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
    home: HomeId,
}

impl Store {
    /// Opens the database, and makes it where there is none; one of a former version is upgraded.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let home = match version(&connection)? {
            SCHEMA_VERSION => read_home(&connection)?,
            0..SCHEMA_VERSION => upgrade(&mut connection)?,
            found => {
                return Err(CoreError::Damaged {
                    what: format!("schema version {found}"),
                    reason: format!("this program knows version {SCHEMA_VERSION}"),
                });
            }
        };
        Ok(Self {
            connection: Mutex::new(connection),
            home,
        })
    }

    /// The home's random id.
    pub(crate) fn home(&self) -> &HomeId {
        &self.home
    }

    /// What probing found for this daemon, if it was probed before.
    pub(crate) fn probe(&self, runtime: &str, fingerprint: &str) -> Result<Option<Capabilities>> {
        self.lock()
            .query_row(
                "SELECT capabilities FROM probes WHERE runtime = ?1 AND fingerprint = ?2",
                (runtime, fingerprint),
                |row| row.get::<_, String>(0),
            )
            .optional()?
            .map(|text| from_json("capabilities", &text))
            .transpose()
    }

    /// Keeps what probing found.
    pub(crate) fn keep_probe(
        &self,
        runtime: &str,
        fingerprint: &str,
        capabilities: &Capabilities,
    ) -> Result<()> {
        self.lock().execute(
            "INSERT OR REPLACE INTO probes VALUES (?1, ?2, ?3)",
            (runtime, fingerprint, to_json(capabilities)?),
        )?;
        Ok(())
    }

    /// Logs a probe before it makes anything.
    pub(crate) fn begin_probe(
        &self,
        runtime: &str,
        object: &ObjectId,
        process: &ProcessIdentity,
    ) -> Result<()> {
        self.lock().execute(
            "INSERT INTO begun_probes VALUES (?1, ?2, ?3)",
            (object.as_str(), runtime, to_json(process)?),
        )?;
        Ok(())
    }

    /// The probes of a runtime that have begun and of which something may be left.
    pub(crate) fn begun_probes(&self, runtime: &str) -> Result<Vec<(ObjectId, ProcessIdentity)>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT object, process FROM begun_probes WHERE runtime = ?1")?;
        let mut rows = statement.query([runtime])?;
        let mut begun = Vec::new();
        while let Some(row) = rows.next()? {
            let process = from_json("process of a probe", &row.get::<_, String>(1)?)?;
            begun.push((ObjectId::new(row.get::<_, String>(0)?), process));
        }
        Ok(begun)
    }

    /// Nothing is left of a probe.
    pub(crate) fn end_probe(&self, object: &ObjectId) -> Result<()> {
        self.lock().execute(
            "DELETE FROM begun_probes WHERE object = ?1",
            [object.as_str()],
        )?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction that takes the write lock at its begin.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        transact(&mut self.lock(), work)
    }

    /// The same without waiting for the disk: what it commits survives the end of the process, and
    /// the loss of power once a later transaction has been waited for. Their order is kept.
    fn write_without_sync<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        // Held throughout, so that nobody else's transaction is not waited for.
        let mut connection = self.lock();
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let output = transact(&mut connection, work);
        connection.pragma_update(None, "synchronous", "FULL")?;
        output
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let output = work(&transaction)?;
    transaction.commit()?;
    Ok(output)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn read_home(connection: &Connection) -> Result<HomeId> {
    let id: String = connection.query_row("SELECT id FROM home", (), |row| row.get(0))?;
    Ok(HomeId::new(id))
}

/// Brings an empty database, or one of a former version, to this one.
fn upgrade(connection: &mut Connection) -> Result<HomeId> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&transaction)?;
    for (sql, version) in SCHEMA.iter().zip(1..) {
        if version > found {
            transaction.execute_batch(sql)?;
        }
    }
    if found == 0 {
        transaction.execute("INSERT INTO home VALUES (?1)", [random_id()])?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    let home = read_home(&transaction)?;
    transaction.commit()?;
    Ok(home)
}

/// 16 random hexadecimal digits.
pub(crate) fn random_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| CoreError::Damaged {
        what: "a record to be written".to_owned(),
        reason: error.to_string(),
    })
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(what, error.to_string()))
}

fn damaged(what: impl Into<String>, reason: impl Into<String>) -> CoreError {
    CoreError::Damaged {
        what: what.into(),
        reason: reason.into(),
    }
}

fn time(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|error| damaged("a time", error.to_string()))
}

/// Whole microseconds; a duration of 292 000 years is cut.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}

/// A size as SQLite holds it; 8 EiB are cut.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
