//! Snapshots in the store.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};
use statefork_runtime::{Capture, ContainerSpec, ObjectId};

use super::{Store, damaged, from_json, signed, time, to_json};
use crate::error::Result;
use crate::model::{BASE, Node, NotHeld, Snapshot, SnapshotId, SnapshotKind};

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
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) object: Option<ObjectId>,
    /// The object of the capture that its own stands on; `None`: none but the base's.
    pub(crate) stands_on: Option<ObjectId>,
}

/// The names that lead to each snapshot, by its id.
struct Names {
    branches: HashMap<String, Vec<String>>,
    tags: HashMap<String, Vec<String>>,
}

/// What [`read_node`] reads, with more behind it.
macro_rules! select {
    ($more:literal) => {
        concat!(
            "SELECT s.id, p.id, s.kind, s.message, s.created_at, s.size_bytes,
                EXISTS (SELECT 1 FROM snapshots c WHERE c.parent = s.position), s.labels, s.verified",
            $more,
            " FROM snapshots s LEFT JOIN snapshots p ON p.position = s.parent"
        )
    };
}
const SELECT_NODE: &str = select!("");
const SELECT: &str = select!(", s.spec, s.not_held, s.capture, s.object");

impl Store {
    /// Publishes a snapshot, gives it a tag, and moves the branch's head to it, in one transaction.
    pub(crate) fn publish(
        &self,
        environment: i64,
        branch: i64,
        snapshot: &NewSnapshot,
        tag: Option<&str>,
    ) -> Result<()> {
        self.write(|transaction| {
            let position = insert(transaction, environment, snapshot)?;
            if let Some(tag) = tag {
                super::tag::insert(transaction, environment, tag, position)?;
            }
            super::environment::move_head(transaction, branch, position)
        })
    }

    /// Removes a snapshot; its children become those of its parent, and what stood on its capture
    /// stands on what that stood on. Where heads have been there, they have not been any more.
    pub(crate) fn remove_snapshot(&self, environment: i64, id: &SnapshotId) -> Result<()> {
        self.write(|transaction| {
            let found: Option<(i64, Option<i64>)> = transaction
                .prepare_cached(
                    "SELECT position, parent FROM snapshots WHERE environment = ?1 AND id = ?2",
                )?
                .query_row((environment, id.as_str()), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let Some((position, parent)) = found else {
                return Ok(());
            };
            transaction.execute(
                "UPDATE snapshots SET parent = ?2 WHERE parent = ?1",
                (position, parent),
            )?;
            for table in ["snapshots", "superseded"] {
                transaction.execute(
                    &format!(
                        "UPDATE {table} SET stands_on =
                             (SELECT stands_on FROM snapshots WHERE position = ?1)
                         WHERE environment = ?2 AND stands_on =
                             (SELECT object FROM snapshots WHERE position = ?1)"
                    ),
                    (position, environment),
                )?;
            }
            transaction.execute("DELETE FROM snapshots WHERE position = ?1", [position])?;
            Ok(())
        })
    }

    /// The root of an environment's graph.
    pub(crate) fn base(&self, environment: i64) -> Result<Snapshot> {
        let id: String = self.lock().query_row(
            "SELECT id FROM snapshots WHERE environment = ?1 AND parent IS NULL",
            [environment],
            |row| row.get(0),
        )?;
        self.snapshot(environment, &SnapshotId::from_store(id))
    }

    /// Keeps what was found when a snapshot was looked at.
    pub(crate) fn set_verified(
        &self,
        environment: i64,
        id: &SnapshotId,
        intact: bool,
    ) -> Result<()> {
        self.lock().execute(
            "UPDATE snapshots SET verified = ?3 WHERE environment = ?1 AND id = ?2",
            (environment, id.as_str(), intact),
        )?;
        Ok(())
    }

    /// The capture objects of an environment's snapshots, those of superseded captures among them.
    pub(crate) fn capture_objects(&self, environment: i64) -> Result<Vec<ObjectId>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT object FROM snapshots WHERE environment = ?1 AND object IS NOT NULL
             UNION ALL SELECT object FROM superseded WHERE environment = ?1",
        )?;
        let rows = statement.query_map([environment], |row| row.get::<_, String>(0))?;
        Ok(rows
            .map(|object| object.map(ObjectId::new))
            .collect::<rusqlite::Result<_>>()?)
    }

    /// All snapshots of an environment, oldest first.
    pub(crate) fn snapshots(&self, environment: i64) -> Result<Vec<Snapshot>> {
        let mut names = self.names(environment)?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE s.environment = ?1 ORDER BY s.position"
        ))?;
        let mut rows = statement.query([environment])?;
        let mut snapshots = Vec::new();
        while let Some(row) = rows.next()? {
            snapshots.push(read(row, &mut names)?);
        }
        Ok(snapshots)
    }

    /// The nodes of an environment's graph, oldest first: what a list of ten thousand needs, without
    /// what would have to be parsed.
    pub(crate) fn nodes(&self, environment: i64) -> Result<Vec<Node>> {
        let mut names = self.names(environment)?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT_NODE} WHERE s.environment = ?1 ORDER BY s.position"
        ))?;
        let mut rows = statement.query([environment])?;
        let mut nodes = Vec::new();
        while let Some(row) = rows.next()? {
            nodes.push(read_node(row, &mut names)?);
        }
        Ok(nodes)
    }

    /// One snapshot by its whole id.
    pub(crate) fn snapshot(&self, environment: i64, id: &SnapshotId) -> Result<Snapshot> {
        let mut names = self.names(environment)?;
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(&format!("{SELECT} WHERE s.environment = ?1 AND s.id = ?2"))?;
        let mut rows = statement.query((environment, id.as_str()))?;
        match rows.next()? {
            Some(row) => read(row, &mut names),
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

    fn names(&self, environment: i64) -> Result<Names> {
        let connection = self.lock();
        let list = |query: &str| {
            let mut names: HashMap<String, Vec<String>> = HashMap::new();
            let mut statement = connection.prepare_cached(query)?;
            let mut rows = statement.query([environment])?;
            while let Some(row) = rows.next()? {
                names.entry(row.get(0)?).or_default().push(row.get(1)?);
            }
            Ok::<_, rusqlite::Error>(names)
        };
        Ok(Names {
            branches: list(
                "SELECT s.id, b.name FROM branches b JOIN snapshots s ON s.position = b.head
                 WHERE b.environment = ?1 ORDER BY b.name",
            )?,
            tags: list(
                "SELECT s.id, t.name FROM tags t JOIN snapshots s ON s.position = t.snapshot
                 WHERE t.environment = ?1 ORDER BY t.name",
            )?,
        })
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
             (environment, id, parent, kind, message, created_at, size_bytes, spec, not_held,
              capture, labels, object, stands_on)
             VALUES (?1, ?2, (SELECT position FROM snapshots WHERE environment = ?1 AND id = ?3),
                     ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            to_json(&snapshot.labels)?,
            snapshot.object.as_ref().map(ObjectId::as_str),
            snapshot.stands_on.as_ref().map(ObjectId::as_str),
        ))?;
    Ok(transaction.last_insert_rowid())
}

fn read_node(row: &Row<'_>, names: &mut Names) -> Result<Node> {
    let id: String = row.get(0)?;
    let parent: Option<String> = row.get(1)?;
    let kind = row.get_ref(2)?.as_str().map_err(text)?;
    let size_bytes = row.get::<_, i64>(5)?.unsigned_abs();
    let has_children: bool = row.get(6)?;
    let mut tags = names.tags.remove(&id).unwrap_or_default();
    if parent.is_none() {
        tags.insert(0, BASE.to_owned());
    }
    Ok(Node {
        branches: names.branches.remove(&id).unwrap_or_default(),
        kind: SnapshotKind::parse(kind)
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
        intact: row.get(8)?,
        labels: from_json(
            "labels of a snapshot",
            row.get_ref(7)?.as_str().map_err(text)?,
        )?,
        parent: parent.map(SnapshotId::from_store),
        id: SnapshotId::from_store(id),
    })
}

fn read(row: &Row<'_>, names: &mut Names) -> Result<Snapshot> {
    Ok(Snapshot {
        node: read_node(row, names)?,
        spec: from_json(
            "spec of a snapshot",
            row.get_ref(9)?.as_str().map_err(text)?,
        )?,
        not_held: from_json(
            "paths of a snapshot",
            row.get_ref(10)?.as_str().map_err(text)?,
        )?,
        capture: from_json(
            "capture of a snapshot",
            row.get_ref(11)?.as_str().map_err(text)?,
        )?,
        object: row.get::<_, Option<String>>(12)?.map(ObjectId::new),
    })
}

fn text(error: rusqlite::types::FromSqlError) -> crate::error::CoreError {
    damaged("a snapshot", error.to_string())
}
