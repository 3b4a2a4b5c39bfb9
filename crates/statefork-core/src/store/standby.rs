//! Containers prepared ahead of a restore, in the store.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction};
use statefork_runtime::{ObjectId, ObjectType};

use super::{NewOperation, Store, from_json, signed, to_json};
use crate::error::Result;
use crate::model::{LiveContainer, SnapshotId};

/// A container that is prepared for a branch, or is being prepared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standby {
    /// Its random value.
    pub(crate) object: ObjectId,
    /// The number of its branch.
    pub(crate) branch: i64,
    /// What it was launched from.
    pub(crate) snapshot: SnapshotId,
    /// It; `None` while it is being prepared.
    pub(crate) container: Option<LiveContainer>,
    /// What is set aside for it of the home's memory for such containers.
    pub(crate) memory_bytes: u64,
}

/// A container that is about to be prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewStandby<'a> {
    pub(crate) object: &'a ObjectId,
    pub(crate) environment: i64,
    pub(crate) branch: i64,
    pub(crate) snapshot: &'a SnapshotId,
    /// What is to be set aside for it.
    pub(crate) memory_bytes: u64,
    /// What the home may set aside in all.
    pub(crate) budget: u64,
}

/// Whether memory was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// It was, for the operation of this number.
    Yes {
        /// Its number in the log.
        seq: i64,
    },
    /// The snapshot or the branch's container is gone, or somebody else prepares it.
    Unwanted,
    /// There is not enough: so much is set aside already.
    Full {
        /// In bytes.
        taken: u64,
    },
}

/// Whose prepared container was given up for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) environment: String,
    pub(crate) runtime: String,
    pub(crate) branch: String,
}

const SELECT: &str = "SELECT y.object, y.branch, s.id, y.container, y.memory_bytes
    FROM standbys y JOIN snapshots s ON s.position = y.snapshot";

/// That the branch of a row of standbys has a container.
const HAS_CONTAINER: &str = "EXISTS (SELECT 1 FROM branches b
    WHERE b.number = standbys.branch AND b.container IS NOT NULL)";
/// Objects of an environment that nothing in the store names and whose operation has ended; to be followed
/// by a list of columns.
const UNREFERENCED: &str = "FROM objects j
    JOIN environments e ON e.name = j.environment AND e.runtime = j.runtime
    JOIN operations o ON o.seq = j.operation
    WHERE e.number = ?1 AND j.kind IN ('container', 'capture') AND o.outcome != 'running'
        AND NOT EXISTS (SELECT 1 FROM standbys y WHERE y.object = j.object)
        AND NOT EXISTS (SELECT 1 FROM branches b WHERE b.environment = e.number
            AND json_extract(b.container, '$.object') = j.object)
        AND NOT EXISTS (SELECT 1 FROM snapshots s
            WHERE s.environment = e.number AND s.object = j.object)
        AND NOT EXISTS (SELECT 1 FROM superseded u WHERE u.object = j.object)";

impl Store {
    /// The prepared containers of an environment, the oldest first.
    pub(crate) fn standbys(&self, environment: i64) -> Result<Vec<Standby>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE y.environment = ?1 ORDER BY y.ready_at, y.object"
        ))?;
        let mut rows = statement.query([environment])?;
        let mut standbys = Vec::new();
        while let Some(row) = rows.next()? {
            let container: Option<String> = row.get(3)?;
            standbys.push(Standby {
                object: ObjectId::new(row.get::<_, String>(0)?),
                branch: row.get(1)?,
                snapshot: SnapshotId::from_store(row.get(2)?),
                container: container
                    .map(|text| from_json("a prepared container", &text))
                    .transpose()?,
                memory_bytes: row.get::<_, i64>(4)?.unsigned_abs(),
            });
        }
        Ok(standbys)
    }

    /// Writes the intent to prepare a container, and sets memory aside for it, in one transaction, while
    /// its branch has a container and no other is prepared from the snapshot. Where it is not to be,
    /// nothing is written.
    pub(crate) fn begin_standby(
        &self,
        new: &NewStandby<'_>,
        operation: &NewOperation<'_>,
    ) -> Result<Reserved> {
        self.write(|transaction| {
            let position: Option<i64> = transaction
                .prepare_cached(
                    "SELECT s.position FROM snapshots s
                     JOIN environments e ON e.number = s.environment
                     JOIN branches b ON b.environment = e.number
                     WHERE e.number = ?1 AND e.purging = 0 AND s.id = ?2
                         AND b.number = ?3 AND b.container IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM standbys y
                             WHERE y.branch = b.number AND y.snapshot = s.position)",
                )?
                .query_row(
                    (new.environment, new.snapshot.as_str(), new.branch),
                    |row| row.get(0),
                )
                .optional()?;
            let Some(position) = position else {
                return Ok(Reserved::Unwanted);
            };
            let taken = taken_beside(transaction, new.object)?;
            if taken.saturating_add(new.memory_bytes) > new.budget {
                return Ok(Reserved::Full { taken });
            }
            let seq = super::operation::insert(transaction, operation)?;
            transaction.execute(
                "INSERT INTO standbys (object, environment, branch, snapshot, memory_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (
                    new.object.as_str(),
                    new.environment,
                    new.branch,
                    position,
                    signed(new.memory_bytes),
                ),
            )?;
            Ok(Reserved::Yes { seq })
        })
    }

    /// Gives up the prepared container of the home that was ready first, of those of branches on which
    /// nothing has been done for longer than on `branch`; whose it was.
    pub(crate) fn evict_standby(&self, branch: i64) -> Result<Option<Evicted>> {
        self.write(|transaction| {
            let found: Option<(String, String, String, String)> = transaction
                .prepare_cached(
                    "SELECT y.object, e.name, e.runtime, b.name FROM standbys y
                     JOIN branches b ON b.number = y.branch
                     JOIN environments e ON e.number = b.environment
                     WHERE y.container IS NOT NULL AND y.branch != ?1
                         AND (SELECT coalesce(max(h.seq), 0) FROM heads h WHERE h.branch = y.branch)
                             < (SELECT coalesce(max(h.seq), 0) FROM heads h WHERE h.branch = ?1)
                     ORDER BY y.ready_at LIMIT 1",
                )?
                .query_row([branch], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((object, environment, runtime, branch)) = found else {
                return Ok(None);
            };
            drop_standby(transaction, &object)?;
            Ok(Some(Evicted {
                environment,
                runtime,
                branch,
            }))
        })
    }

    /// A container that was being prepared is ready. Whether it is wanted still, and has its place in the
    /// budget with what it really takes: if not, it is nobody's.
    pub(crate) fn publish_standby(
        &self,
        container: &LiveContainer,
        memory_bytes: u64,
        budget: u64,
    ) -> Result<bool> {
        self.write(|transaction| {
            let taken = taken_beside(transaction, &container.object)?;
            if taken.saturating_add(memory_bytes) > budget {
                return Ok(false);
            }
            let changed = transaction.execute(
                &format!(
                    "UPDATE standbys SET container = ?2, memory_bytes = ?3, ready_at = ?4
                     WHERE object = ?1 AND {HAS_CONTAINER}"
                ),
                (
                    container.object.as_str(),
                    to_json(container)?,
                    signed(memory_bytes),
                    Timestamp::now().as_microsecond(),
                ),
            )?;
            Ok(changed > 0)
        })
    }

    /// Whether a container that is being prepared is wanted still.
    pub(crate) fn is_standby_wanted(&self, object: &ObjectId) -> Result<bool> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM standbys WHERE object = ?1 AND {HAS_CONTAINER})"
        ))?;
        Ok(statement.query_row([object.as_str()], |row| row.get(0))?)
    }

    /// Gives the container that is ready for a branch and a snapshot to the operation `seq`, as if
    /// that had made it: it is prepared no more. `None` if there is none.
    pub(crate) fn take_standby(
        &self,
        branch: i64,
        snapshot: &SnapshotId,
        seq: i64,
    ) -> Result<Option<LiveContainer>> {
        self.write(|transaction| {
            let found: Option<(String, String)> = transaction
                .prepare_cached(
                    "SELECT y.object, y.container FROM standbys y
                     JOIN snapshots s ON s.position = y.snapshot
                     WHERE y.branch = ?1 AND s.id = ?2 AND y.container IS NOT NULL",
                )?
                .query_row((branch, snapshot.as_str()), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let Some((object, container)) = found else {
                return Ok(None);
            };
            drop_standby(transaction, &object)?;
            transaction.execute(
                "UPDATE objects SET operation = ?2 WHERE object = ?1",
                (&object, seq),
            )?;
            from_json("a prepared container", &container).map(Some)
        })
    }

    /// Gives prepared containers up, also those that are being prepared: what there is of them in the
    /// runtime is nobody's from now on. Whether there was any.
    pub(crate) fn give_up_standbys<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a ObjectId>,
    ) -> Result<bool> {
        let mut objects = objects.into_iter().peekable();
        if objects.peek().is_none() {
            return Ok(false);
        }
        self.write(|transaction| {
            let mut any = false;
            for object in objects {
                any |= drop_standby(transaction, object.as_str())?;
            }
            Ok(any)
        })
    }

    /// What the runtime may have of an environment that nobody needs any more: containers that others
    /// have taken the place of, prepared ones that were given up, captures of snapshots that were removed.
    /// Of operations that run, nothing.
    pub(crate) fn unreferenced(&self, environment: i64) -> Result<Vec<(ObjectType, ObjectId)>> {
        // One statement, so that what moves from one owner to the next meanwhile is seen with one of them.
        let query = format!("SELECT j.kind, j.object {UNREFERENCED}");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&query)?;
        super::operation::read_objects(statement.query([environment])?)
    }

    /// Whether there may be any.
    pub(crate) fn has_unreferenced(&self, environment: i64) -> Result<bool> {
        let query = format!("SELECT EXISTS (SELECT 1 {UNREFERENCED})");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&query)?;
        Ok(statement.query_row([environment], |row| row.get(0))?)
    }
}

/// Bytes that are set aside in the home for others than this one.
fn taken_beside(transaction: &Transaction<'_>, object: &ObjectId) -> Result<u64> {
    let taken: i64 = transaction
        .prepare_cached("SELECT coalesce(sum(memory_bytes), 0) FROM standbys WHERE object != ?1")?
        .query_row([object.as_str()], |row| row.get(0))?;
    Ok(taken.unsigned_abs())
}

fn drop_standby(transaction: &Transaction<'_>, object: &str) -> Result<bool> {
    let mut delete = transaction.prepare_cached("DELETE FROM standbys WHERE object = ?1")?;
    Ok(delete.execute([object])? > 0)
}
