//! Tags in the store.

use rusqlite::Transaction;

use super::Store;
use crate::error::Result;
use crate::model::SnapshotId;

impl Store {
    /// All tags of an environment but `base`, by name.
    pub(crate) fn tags(&self, environment: i64) -> Result<Vec<(String, SnapshotId)>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT t.name, s.id FROM tags t JOIN snapshots s ON s.position = t.snapshot
             WHERE t.environment = ?1 ORDER BY t.name",
        )?;
        let rows = statement.query_map([environment], |row| {
            Ok((row.get(0)?, SnapshotId::from_store(row.get(1)?)))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Names a snapshot; a tag that is there moves.
    pub(crate) fn set_tag(
        transaction: &Transaction<'_>,
        environment: i64,
        name: &str,
        id: &SnapshotId,
    ) -> Result<()> {
        transaction.execute(
            "INSERT OR REPLACE INTO tags
             SELECT environment, ?2, position FROM snapshots WHERE environment = ?1 AND id = ?3",
            (environment, name, id.as_str()),
        )?;
        Ok(())
    }

    /// Removes a name.
    pub(crate) fn remove_tag(
        transaction: &Transaction<'_>,
        environment: i64,
        name: &str,
    ) -> Result<()> {
        transaction.execute(
            "DELETE FROM tags WHERE environment = ?1 AND name = ?2",
            (environment, name),
        )?;
        Ok(())
    }
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    environment: i64,
    name: &str,
    position: i64,
) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO tags VALUES (?1, ?2, ?3)")?
        .execute((environment, name, position))?;
    Ok(())
}
