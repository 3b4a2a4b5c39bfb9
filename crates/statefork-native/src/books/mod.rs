//! The books: what layers, images and containers there are, in one SQLite database.
//!
//! Every change is one transaction. A layer is entered before its files are written and published
//! only when they are durable, so that what a killed process leaves is known and taken away by the
//! next one that makes a layer ([`Books::take_away`]).

mod containers;
mod images;
mod layers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::{Deserialize, Serialize};
use statefork_runtime::{Result, RuntimeError};

pub(crate) use self::containers::{ContainerRecord, NewContainer};
pub(crate) use self::images::{ImageRecord, NewImage, StoredConfig, full_name};
pub(crate) use self::layers::Draft;
use crate::NAME;

/// The version of the schema.
const VERSION: i64 = 1;
/// How long a transaction waits for another process's.
const BUSY: Duration = Duration::from_secs(10);

/// A layer, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LayerId(pub(crate) i64);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Books(Mutex<Connection>);

impl Books {
    /// Opens the database at `path`, and makes it where there is none.
    ///
    /// Errors: `Damaged` for one of another version, or none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let damaged = |reason: String| RuntimeError::Damaged {
            what: path.display().to_string(),
            reason,
        };
        let connection = Connection::open(path).map_err(|error| failed("open the books", error))?;
        let prepared = (|| {
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", "ON")?;
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        })();
        let version = prepared.map_err(|error| failed("open the books", error))?;
        let books = Self(Mutex::new(connection));
        match version {
            VERSION => {}
            0 => books.change("make the books", |books| {
                // Somebody else may have been first.
                let version: i64 =
                    books.pragma_query_value(None, "user_version", |row| row.get(0))?;
                if version == 0 {
                    books.execute_batch(include_str!("schema.sql"))?;
                    books.pragma_update(None, "user_version", VERSION)?;
                }
                Ok(())
            })?,
            other => {
                return Err(damaged(format!(
                    "it is of version {other}, and this program knows version {VERSION}"
                )));
            }
        }
        Ok(books)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads in one transaction.
    fn look<T>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        self.within(op, TransactionBehavior::Deferred, work)
    }

    /// Changes in one transaction, which an error undoes.
    fn change<T>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        self.within(op, TransactionBehavior::Immediate, work)
    }

    fn within<T>(
        &self,
        op: &'static str,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(behavior)
            .map_err(|error| failed(op, error))?;
        let result = work(&transaction).map_err(|failure| match failure {
            Failure::Said(error) => error,
            Failure::Books(error) => failed(op, error),
            Failure::Json(error) => RuntimeError::Damaged {
                what: "the books of the storage".into(),
                reason: error.to_string(),
            },
        })?;
        transaction.commit().map_err(|error| failed(op, error))?;
        Ok(result)
    }

    /// The value of a setting.
    pub(crate) fn setting(&self, name: &str) -> Result<Option<String>> {
        use rusqlite::OptionalExtension;

        self.look("read the books", |books| {
            let value = books
                .query_row("SELECT value FROM setting WHERE name = ?", [name], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(value)
        })
    }

    /// Gives a setting a value, unless it has one; returns the one that it has.
    pub(crate) fn settle(&self, name: &str, value: &str) -> Result<String> {
        self.change("write the books", |books| {
            books.execute(
                "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [name, value],
            )?;
            let value =
                books.query_row("SELECT value FROM setting WHERE name = ?", [name], |row| {
                    row.get(0)
                })?;
            Ok(value)
        })
    }
}

/// What goes wrong in a transaction.
enum Failure {
    /// What the caller is told as it is.
    Said(RuntimeError),
    Books(rusqlite::Error),
    Json(serde_json::Error),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Said(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Books(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

fn failed(op: &'static str, error: rusqlite::Error) -> RuntimeError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => RuntimeError::StorageFull { op, runtime: NAME },
        _ => RuntimeError::Daemon {
            op,
            status: None,
            message: "the books of the storage cannot be used".into(),
            source: Some(error.into()),
        },
    }
}
