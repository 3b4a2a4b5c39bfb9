//! Snapshots in the store.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Row, Transaction};
use statefork_runtime::{Capture, ContainerSpec};

use super::{Store, damaged, from_json, signed, time, to_json};
use crate::error::Result;
use crate::model::{BASE, NotHeld, Snapshot, SnapshotId, SnapshotKind};

/// A snapshot to be published.
#[derive(Clone, Debug)]
pub(crate) struct NewSnapshot {
    pub(crate) id: SnapshotId,
    pub(crate) parent: Option<SnapshotId>,
    pub(crate) kind: SnapshotKind,
    pub(crate) message: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) size_bytes: u64,
    pub(crate) spec: ContainerSpec,
    pub(crate) not_held: Vec<NotHeld>,
    pub(crate) capture: Capture,
}

const SELECT: &str = "SELECT s.id, p.id, s.kind, s.message, s.created_at, s.size_bytes, s.spec,
        s.not_held, s.capture, EXISTS (SELECT 1 FROM snapshots c WHERE c.parent = s.position)
    FROM snapshots s LEFT JOIN snapshots p ON p.position = s.parent";

impl Store {
    /// Publishes a snapshot and moves the branch's head to it, in one transaction.
    pub(crate) fn publish(
        &self,
        environment: i64,
        branch: i64,
        snapshot: &NewSnapshot,
    ) -> Result<()> {
        self.write(|transaction| {
            let position = insert(transaction, environment, snapshot)?;
            transaction.execute(
                "UPDATE branches SET head = ?2 WHERE number = ?1",
                (branch, position),
            )?;
            Ok(())
        })
    }

    /// All snapshots of an environment, oldest first.
    pub(crate) fn snapshots(&self, environment: i64) -> Result<Vec<Snapshot>> {
        let heads = self.heads(environment)?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE s.environment = ?1 ORDER BY s.position"
        ))?;
        let mut rows = statement.query([environment])?;
        let mut snapshots = Vec::new();
        while let Some(row) = rows.next()? {
            snapshots.push(read(row, &heads)?);
        }
        Ok(snapshots)
    }

    /// One snapshot by its whole id.
    pub(crate) fn snapshot(&self, environment: i64, id: &SnapshotId) -> Result<Snapshot> {
        let heads = self.heads(environment)?;
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(&format!("{SELECT} WHERE s.environment = ?1 AND s.id = ?2"))?;
        let mut rows = statement.query((environment, id.as_str()))?;
        match rows.next()? {
            Some(row) => read(row, &heads),
            None => Err(damaged(format!("snapshot {id}"), "it is missing")),
        }
    }

    /// Ids of an environment's snapshots with their parents, oldest first: `base` leads.
    pub(crate) fn graph(&self, environment: i64) -> Result<Vec<(SnapshotId, Option<SnapshotId>)>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT s.id, p.id FROM snapshots s LEFT JOIN snapshots p ON p.position = s.parent
             WHERE s.environment = ?1 ORDER BY s.position",
        )?;
        let rows = statement.query_map([environment], |row| {
            let parent: Option<String> = row.get(1)?;
            Ok((
                SnapshotId::from_store(row.get(0)?),
                parent.map(SnapshotId::from_store),
            ))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn heads(&self, environment: i64) -> Result<HashMap<String, Vec<String>>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT s.id, b.name FROM branches b JOIN snapshots s ON s.position = b.head
             WHERE b.environment = ?1 ORDER BY b.name",
        )?;
        let mut heads: HashMap<String, Vec<String>> = HashMap::new();
        let mut rows = statement.query([environment])?;
        while let Some(row) = rows.next()? {
            heads.entry(row.get(0)?).or_default().push(row.get(1)?);
        }
        Ok(heads)
    }
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    environment: i64,
    snapshot: &NewSnapshot,
) -> Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO snapshots
             (environment, id, parent, kind, message, created_at, size_bytes, spec, not_held, capture)
             VALUES (?1, ?2, (SELECT position FROM snapshots WHERE environment = ?1 AND id = ?3),
                     ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            environment,
            snapshot.id.as_str(),
            snapshot.parent.as_ref().map(SnapshotId::as_str),
            snapshot.kind.as_str(),
            &snapshot.message,
            snapshot.created_at.as_microsecond(),
            signed(snapshot.size_bytes),
            to_json(&snapshot.spec)?,
            to_json(&snapshot.not_held)?,
            to_json(&snapshot.capture)?,
        ))?;
    Ok(transaction.last_insert_rowid())
}

fn read(row: &Row<'_>, heads: &HashMap<String, Vec<String>>) -> Result<Snapshot> {
    let id: String = row.get(0)?;
    let parent: Option<String> = row.get(1)?;
    let kind: String = row.get(2)?;
    let size_bytes = row.get::<_, i64>(5)?.unsigned_abs();
    let has_children: bool = row.get(9)?;
    let tags = match parent {
        None => vec![BASE.to_owned()],
        Some(_) => Vec::new(),
    };
    Ok(Snapshot {
        branches: heads.get(&id).cloned().unwrap_or_default(),
        kind: SnapshotKind::parse(&kind)
            .ok_or_else(|| damaged(format!("snapshot {id}"), format!("unknown kind {kind}")))?,
        message: row.get(3)?,
        tags,
        created_at: time(row.get(4)?)?,
        size_bytes,
        // The base image is not ours: removing the node frees nothing.
        unique_bytes: if has_children || parent.is_none() {
            0
        } else {
            size_bytes
        },
        spec: from_json(
            "spec of a snapshot",
            row.get_ref(6)?.as_str().map_err(text)?,
        )?,
        not_held: from_json(
            "paths of a snapshot",
            row.get_ref(7)?.as_str().map_err(text)?,
        )?,
        capture: from_json(
            "capture of a snapshot",
            row.get_ref(8)?.as_str().map_err(text)?,
        )?,
        parent: parent.map(SnapshotId::from_store),
        id: SnapshotId::from_store(id),
    })
}

fn text(error: rusqlite::types::FromSqlError) -> crate::error::CoreError {
    damaged("a snapshot", error.to_string())
}
