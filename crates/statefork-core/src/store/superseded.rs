//! Captures that flattened ones have taken the place of.

use rusqlite::{Connection, OptionalExtension};
use statefork_runtime::{Capture, ObjectId};

use super::{Store, from_json, signed, to_json};
use crate::error::Result;
use crate::model::{Snapshot, SnapshotId};

/// A capture that is flattened, in place of a snapshot's own.
#[derive(Clone, Debug)]
pub(crate) struct Flattened {
    pub(crate) capture: Capture,
    pub(crate) object: ObjectId,
    pub(crate) size_bytes: u64,
}

/// What a capture stands on and could stand on instead.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shorter {
    /// The superseded capture below it that is nearest to it.
    pub(crate) from: Capture,
    /// That which has taken its place.
    pub(crate) onto: Capture,
    /// The object of the latter.
    pub(crate) object: ObjectId,
}

/// Those that nothing stands on; to be followed by a list of columns.
const IDLE: &str = "FROM superseded u WHERE u.environment = ?1
    AND NOT EXISTS (SELECT 1 FROM snapshots s
        WHERE s.environment = u.environment AND s.stands_on = u.object)
    AND NOT EXISTS (SELECT 1 FROM superseded o
        WHERE o.environment = u.environment AND o.stands_on = u.object)
    AND NOT EXISTS (SELECT 1 FROM branches b
        WHERE b.environment = u.environment AND json_extract(b.container, '$.capture') = u.object)
    AND NOT EXISTS (SELECT 1 FROM standbys y
        WHERE y.environment = u.environment AND json_extract(y.container, '$.capture') = u.object)";
/// Nobody works on the environment who may have read what is idle now.
const ALONE: &str = " AND NOT EXISTS (SELECT 1 FROM operations o
    JOIN environments e ON e.name = o.environment AND e.runtime = o.runtime
    WHERE e.number = ?1 AND o.outcome = 'running' AND o.kind != 'flatten')";

/// No container is being prepared, of which it is not known on what it will stand.
const NOT_PREPARING: &str = " AND NOT EXISTS (SELECT 1 FROM operations o
    JOIN environments e ON e.name = o.environment AND e.runtime = o.runtime
    WHERE e.number = ?1 AND o.outcome = 'running' AND o.kind = 'standby')";

impl Store {
    /// Puts a flattened capture in the place of a snapshot's own, which is kept as superseded, in
    /// one transaction. Whether it did: not if the snapshot is gone or has another one by now, nor
    /// once its environment is being purged.
    pub(crate) fn supersede(
        &self,
        environment: i64,
        snapshot: &Snapshot,
        flattened: &Flattened,
    ) -> Result<bool> {
        self.write(|transaction| {
            let position: Option<i64> = transaction
                .prepare_cached(
                    "SELECT s.position FROM snapshots s
                     JOIN environments e ON e.number = s.environment
                     WHERE e.number = ?1 AND e.purging = 0 AND s.id = ?2 AND s.object = ?3",
                )?
                .query_row(
                    (
                        environment,
                        snapshot.id.as_str(),
                        snapshot.object.as_ref().map(ObjectId::as_str),
                    ),
                    |row| row.get(0),
                )
                .optional()?;
            let Some(position) = position else {
                return Ok(false);
            };
            transaction.execute(
                "INSERT INTO superseded (object, environment, snapshot, capture, stands_on)
                 SELECT object, environment, position, capture, stands_on FROM snapshots
                 WHERE position = ?1",
                [position],
            )?;
            transaction.execute(
                "UPDATE snapshots SET capture = ?2, object = ?3, size_bytes = ?4, stands_on = NULL
                 WHERE position = ?1",
                (
                    position,
                    to_json(&flattened.capture)?,
                    flattened.object.as_str(),
                    signed(flattened.size_bytes),
                ),
            )?;
            Ok(true)
        })
    }

    /// What a container launched from the capture with this object could stand on instead. `None`
    /// if its chain passes over nothing that was superseded.
    pub(crate) fn shorter(&self, environment: i64, object: &ObjectId) -> Result<Option<Shorter>> {
        let connection = self.lock();
        let any: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM superseded WHERE environment = ?1)")?
            .query_row([environment], |row| row.get(0))?;
        let mut next = Some(object.as_str().to_owned()).filter(|_| any);
        while let Some(object) = next {
            let found: Option<(String, String, String)> = connection
                .prepare_cached(
                    "SELECT u.capture, s.capture, s.object FROM superseded u
                     JOIN snapshots s ON s.position = u.snapshot WHERE u.object = ?1",
                )?
                .query_row([&object], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            if let Some((from, onto, object)) = found {
                return Ok(Some(Shorter {
                    from: from_json("a superseded capture", &from)?,
                    onto: from_json("capture of a snapshot", &onto)?,
                    object: ObjectId::new(object),
                }));
            }
            next = stands_on(&connection, environment, &object)?;
        }
        Ok(None)
    }

    /// All superseded captures of an environment, with their objects.
    pub(crate) fn superseded(&self, environment: i64) -> Result<Vec<(ObjectId, Capture)>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT object, capture FROM superseded WHERE environment = ?1")?;
        let mut rows = statement.query([environment])?;
        let mut superseded = Vec::new();
        while let Some(row) = rows.next()? {
            let capture = from_json("a superseded capture", &row.get::<_, String>(1)?)?;
            superseded.push((ObjectId::new(row.get::<_, String>(0)?), capture));
        }
        Ok(superseded)
    }

    /// Whether there is a superseded capture that nothing stands on.
    pub(crate) fn has_idle_superseded(&self, environment: i64) -> Result<bool> {
        let query = format!("SELECT EXISTS (SELECT 1 {IDLE})");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&query)?;
        Ok(statement.query_row([environment], |row| row.get(0))?)
    }

    /// Forgets a superseded capture that nothing stands on, if there is one; it is still in the
    /// runtime, and among the objects. Unless `locked`, none is idle while an operation runs; and none
    /// in any case while a container is being prepared.
    pub(crate) fn take_idle_superseded(
        &self,
        environment: i64,
        locked: bool,
    ) -> Result<Option<(ObjectId, Capture)>> {
        let alone = if locked { NOT_PREPARING } else { ALONE };
        self.write(|transaction| {
            let query = format!("SELECT u.object, u.capture {IDLE}{alone} LIMIT 1");
            let found: Option<(String, String)> = transaction
                .prepare_cached(&query)?
                .query_row([environment], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((object, capture)) = found else {
                return Ok(None);
            };
            transaction.execute("DELETE FROM superseded WHERE object = ?1", [&object])?;
            let capture = from_json("a superseded capture", &capture)?;
            Ok(Some((ObjectId::new(object), capture)))
        })
    }

    /// Whether a snapshot still has the capture that was read, and its environment stays.
    pub(crate) fn has_capture(&self, environment: i64, snapshot: &Snapshot) -> Result<bool> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM snapshots s
                 JOIN environments e ON e.number = s.environment
                 WHERE e.number = ?1 AND e.purging = 0 AND s.id = ?2 AND s.object IS ?3)",
        )?;
        let id: &SnapshotId = &snapshot.id;
        let object = snapshot.object.as_ref().map(ObjectId::as_str);
        Ok(statement.query_row((environment, id.as_str(), object), |row| row.get(0))?)
    }
}

/// What the capture with this object stands on.
fn stands_on(
    connection: &Connection,
    environment: i64,
    object: &str,
) -> rusqlite::Result<Option<String>> {
    let found: Option<Option<String>> = connection
        .prepare_cached(
            "SELECT stands_on FROM snapshots WHERE environment = ?1 AND object = ?2
             UNION ALL
             SELECT stands_on FROM superseded WHERE environment = ?1 AND object = ?2",
        )?
        .query_row((environment, object), |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}
