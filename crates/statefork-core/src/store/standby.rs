//! Containers prepared ahead of a restore, in the store.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction};
use statefork_runtime::ObjectId;

use super::{Store, from_json, signed, time, to_json};
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
    /// When it was ready.
    pub(crate) ready_at: Option<Timestamp>,
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
    /// It was.
    Yes,
    /// The snapshot or the branch's container is gone, or somebody else prepares it.
    Unwanted,
    /// There is not enough: so much is set aside already.
    Full {
        /// In bytes.
        taken: u64,
    },
}

const SELECT: &str = "SELECT y.object, y.branch, s.id, y.container, y.memory_bytes, y.ready_at
    FROM standbys y JOIN snapshots s ON s.position = y.snapshot";

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
                ready_at: row.get::<_, Option<i64>>(5)?.map(time).transpose()?,
            });
        }
        Ok(standbys)
    }

    /// Enters a container that is about to be prepared and sets memory aside for it, in one
    /// transaction, while its branch has a container and no other is prepared from the snapshot.
    pub(crate) fn reserve_standby(&self, new: &NewStandby<'_>) -> Result<Reserved> {
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
            let taken: i64 = transaction.query_row(
                "SELECT coalesce(sum(memory_bytes), 0) FROM standbys",
                (),
                |row| row.get(0),
            )?;
            let taken = taken.unsigned_abs();
            if taken.saturating_add(new.memory_bytes) > new.budget {
                return Ok(Reserved::Full { taken });
            }
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
            Ok(Reserved::Yes)
        })
    }

    /// A container that was being prepared is ready. Whether it is still wanted: if not, it is
    /// nobody's.
    pub(crate) fn publish_standby(
        &self,
        container: &LiveContainer,
        memory_bytes: u64,
    ) -> Result<bool> {
        self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE standbys SET container = ?2, memory_bytes = ?3, ready_at = ?4
                 WHERE object = ?1",
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
        let mut statement = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM standbys WHERE object = ?1)")?;
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

    /// Whether the runtime may have containers of an environment that nobody needs any more: those
    /// that others have taken the place of, and prepared ones that were given up.
    pub(crate) fn has_retired(&self, environment: i64) -> Result<bool> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM objects j
                 JOIN environments e ON e.name = j.environment AND e.runtime = j.runtime
                 JOIN operations o ON o.seq = j.operation
                 WHERE e.number = ?1 AND j.kind = 'container' AND o.outcome != 'running'
                     AND NOT EXISTS (SELECT 1 FROM standbys y WHERE y.object = j.object)
                     AND NOT EXISTS (SELECT 1 FROM branches b WHERE b.environment = e.number
                         AND json_extract(b.container, '$.object') = j.object))",
        )?;
        Ok(statement.query_row([environment], |row| row.get(0))?)
    }
}

fn drop_standby(transaction: &Transaction<'_>, object: &str) -> Result<bool> {
    let mut delete = transaction.prepare_cached("DELETE FROM standbys WHERE object = ?1")?;
    Ok(delete.execute([object])? > 0)
}
