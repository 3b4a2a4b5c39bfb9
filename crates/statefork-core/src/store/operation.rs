//! The operation log in the store.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Rows, Transaction};
use statefork_runtime::{ObjectId, ObjectType, Phase};

use super::{Store, damaged, duration, from_json, micros, time, to_json};
use crate::error::Result;
use crate::model::{Operation, OperationKind, Outcome, SnapshotId, SnapshotKind};
use crate::process::ProcessIdentity;

/// The intent of an operation.
#[derive(Clone, Debug)]
pub(crate) struct NewOperation<'a> {
    pub(crate) kind: OperationKind,
    pub(crate) environment: &'a str,
    pub(crate) runtime: &'a str,
    pub(crate) branch: Option<&'a str>,
    pub(crate) target: Option<&'a SnapshotId>,
    pub(crate) snapshot_kind: Option<SnapshotKind>,
    pub(crate) process: &'a ProcessIdentity,
    pub(crate) started_at: Timestamp,
    pub(crate) objects: &'a [(ObjectType, ObjectId)],
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<&'a str>,
    pub(crate) duration: Duration,
    pub(crate) usable: Option<Duration>,
    pub(crate) warm: Option<bool>,
    pub(crate) phases: &'a [(Phase, Duration)],
}

/// An operation whose process ended before it did.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) seq: i64,
    pub(crate) kind: OperationKind,
    pub(crate) branch: Option<String>,
    pub(crate) target: Option<SnapshotId>,
    pub(crate) objects: Vec<(ObjectType, ObjectId)>,
}

/// An operation that another process finished or undid.
#[derive(Clone, Debug)]
pub(crate) struct Untold {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) outcome: Outcome,
    pub(crate) branch: Option<String>,
    pub(crate) target: Option<String>,
}

/// An operation in the background that runs.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    pub(crate) seq: i64,
    pub(crate) process: ProcessIdentity,
    pub(crate) target: Option<SnapshotId>,
    /// What it is about to make.
    pub(crate) objects: Vec<ObjectId>,
}

impl Store {
    /// Writes an intent, with the objects that the operation is about to make.
    pub(crate) fn begin_operation(&self, new: &NewOperation<'_>) -> Result<i64> {
        self.write(|transaction| insert(transaction, new))
    }

    /// Records how an operation ended. With the outcome `running` it did not end: it has no process
    /// any more, and is one of the [`dead`](Self::dead).
    ///
    /// The end is not waited for on the disk: until the next transaction that is, a loss of power
    /// takes it away, and the operation is recovered like one whose process died before its end.
    pub(crate) fn finish_operation(&self, seq: i64, end: &Finished<'_>) -> Result<()> {
        self.write_without_sync(|transaction| record_end(transaction, seq, end))
    }

    /// Records how an operation ended in one transaction with the change that it makes.
    pub(crate) fn finish_with(
        &self,
        seq: i64,
        end: &Finished<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<()>,
    ) -> Result<()> {
        self.write(|transaction| {
            change(transaction)?;
            record_end(transaction, seq, end)
        })
    }

    /// The log of an environment, oldest first.
    pub(crate) fn operations(&self, environment: &str, runtime: &str) -> Result<Vec<Operation>> {
        let connection = self.lock();
        let mut phases: HashMap<i64, Vec<(Phase, Duration)>> = HashMap::new();
        let mut statement = connection.prepare(
            "SELECT p.operation, p.phase, p.duration FROM phases p
             JOIN operations o ON o.seq = p.operation
             WHERE o.environment = ?1 AND o.runtime = ?2 ORDER BY p.operation, p.position",
        )?;
        let mut rows = statement.query((environment, runtime))?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            let phase = Phase::parse(&name)
                .ok_or_else(|| damaged("a phase", format!("unknown name {name}")))?;
            phases
                .entry(row.get(0)?)
                .or_default()
                .push((phase, duration(row.get(2)?)));
        }
        let mut statement = connection.prepare(
            "SELECT seq, kind, branch, target, snapshot_kind, started_at, duration, usable,
                    outcome, error, warm
             FROM operations WHERE environment = ?1 AND runtime = ?2 ORDER BY seq",
        )?;
        let mut rows = statement.query((environment, runtime))?;
        let mut operations = Vec::new();
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            let unknown =
                |what: &str| damaged(format!("operation {seq}"), format!("unknown {what}"));
            let kind: String = row.get(1)?;
            let outcome: String = row.get(8)?;
            let target: Option<String> = row.get(3)?;
            let snapshot_kind: Option<String> = row.get(4)?;
            operations.push(Operation {
                seq,
                kind: OperationKind::parse(&kind).ok_or_else(|| unknown("kind"))?,
                environment: environment.to_owned(),
                branch: row.get(2)?,
                target: target.map(SnapshotId::from_store),
                snapshot_kind: snapshot_kind
                    .map(|kind| SnapshotKind::parse(&kind).ok_or_else(|| unknown("snapshot kind")))
                    .transpose()?,
                runtime: runtime.to_owned(),
                started_at: time(row.get(5)?)?,
                duration: row.get::<_, Option<i64>>(6)?.map(duration),
                usable: row.get::<_, Option<i64>>(7)?.map(duration),
                phases: phases.remove(&seq).unwrap_or_default(),
                outcome: Outcome::parse(&outcome).ok_or_else(|| unknown("outcome"))?,
                error: row.get(9)?,
                warm: row.get(10)?,
            });
        }
        Ok(operations)
    }

    /// Operations of an environment that did not end and whose process no longer runs, the oldest
    /// first.
    pub(crate) fn dead(&self, environment: &str, runtime: &str) -> Result<Vec<Dead>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT seq, kind, process, branch, target FROM operations
             WHERE outcome = 'running' AND environment = ?1 AND runtime = ?2 ORDER BY seq",
        )?;
        let mut objects =
            connection.prepare_cached("SELECT kind, object FROM objects WHERE operation = ?1")?;
        let mut rows = statement.query((environment, runtime))?;
        let mut dead = Vec::new();
        while let Some(row) = rows.next()? {
            let (seq, kind): (i64, String) = (row.get(0)?, row.get(1)?);
            let process: ProcessIdentity =
                from_json("process of an operation", &row.get::<_, String>(2)?)?;
            if !process.is_alive() {
                dead.push(Dead {
                    seq,
                    kind: OperationKind::parse(&kind)
                        .ok_or_else(|| damaged(format!("operation {seq}"), "unknown kind"))?,
                    branch: row.get(3)?,
                    target: row.get::<_, Option<String>>(4)?.map(SnapshotId::from_store),
                    objects: read_objects(objects.query([seq])?)?,
                });
            }
        }
        Ok(dead)
    }

    /// Operations of an environment that run in the background, of a kind that does, each with its
    /// snapshot and its process.
    pub(crate) fn background(
        &self,
        kind: OperationKind,
        environment: &str,
        runtime: &str,
    ) -> Result<Vec<Background>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT seq, process, target FROM operations WHERE outcome = 'running'
                 AND kind = ?3 AND environment = ?1 AND runtime = ?2",
        )?;
        let mut objects =
            connection.prepare_cached("SELECT kind, object FROM objects WHERE operation = ?1")?;
        let mut rows = statement.query((environment, runtime, kind.as_str()))?;
        let mut running = Vec::new();
        while let Some(row) = rows.next()? {
            let process: ProcessIdentity =
                from_json("process of an operation", &row.get::<_, String>(1)?)?;
            if process.is_alive() {
                let seq: i64 = row.get(0)?;
                let objects = read_objects(objects.query([seq])?)?;
                running.push(Background {
                    seq,
                    objects: objects.into_iter().map(|(_, object)| object).collect(),
                    process,
                    target: row.get::<_, Option<String>>(2)?.map(SnapshotId::from_store),
                });
            }
        }
        Ok(running)
    }

    /// Whether the last operation of a kind in an environment, or the last with this target, failed, and
    /// began after a time.
    pub(crate) fn failed_since(
        &self,
        kind: OperationKind,
        environment: &str,
        runtime: &str,
        target: Option<&SnapshotId>,
        since: Timestamp,
    ) -> Result<bool> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT outcome = 'failed' AND started_at > ?5 FROM operations
             WHERE kind = ?1 AND environment = ?2 AND runtime = ?3
                 AND (?4 IS NULL OR target = ?4)
             ORDER BY seq DESC LIMIT 1",
        )?;
        let values = (
            kind.as_str(),
            environment,
            runtime,
            target.map(SnapshotId::as_str),
            since.as_microsecond(),
        );
        let failed = statement.query_row(values, |row| row.get(0)).optional()?;
        Ok(failed.unwrap_or(false))
    }

    /// Records that an operation whose process ended was finished or undone by another.
    pub(crate) fn close_operation(&self, seq: i64, outcome: Outcome) -> Result<()> {
        self.lock().execute(
            "UPDATE operations SET outcome = ?2, untold = 1 WHERE seq = ?1",
            (seq, outcome.as_str()),
        )?;
        Ok(())
    }

    /// Operations that another process finished or undid and of which nobody has been told, the
    /// oldest first.
    pub(crate) fn untold(&self, environment: &str, runtime: &str) -> Result<Vec<Untold>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT seq, kind, outcome, branch, target FROM operations
             WHERE untold = 1 AND environment = ?1 AND runtime = ?2 ORDER BY seq",
        )?;
        let mut rows = statement.query((environment, runtime))?;
        let mut untold = Vec::new();
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let outcome: String = row.get(2)?;
            let outcome = Outcome::parse(&outcome)
                .ok_or_else(|| damaged(format!("operation {seq}"), "unknown outcome"))?;
            untold.push(Untold {
                seq,
                kind: row.get(1)?,
                outcome,
                branch: row.get(3)?,
                target: row.get(4)?,
            });
        }
        Ok(untold)
    }

    /// Records that somebody has been told of an operation; whether nobody had been before.
    pub(crate) fn set_told(&self, seq: i64) -> Result<bool> {
        let changed = self.lock().execute(
            "UPDATE operations SET untold = 0 WHERE seq = ?1 AND untold = 1",
            [seq],
        )?;
        Ok(changed > 0)
    }

    /// The objects of an environment that may exist in its runtime.
    pub(crate) fn objects(
        &self,
        environment: &str,
        runtime: &str,
    ) -> Result<Vec<(ObjectType, ObjectId)>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("SELECT kind, object FROM objects WHERE environment = ?1 AND runtime = ?2")?;
        read_objects(statement.query((environment, runtime))?)
    }

    /// Those of them whose operation no longer runs.
    pub(crate) fn settled_objects(
        &self,
        environment: &str,
        runtime: &str,
    ) -> Result<Vec<(ObjectType, ObjectId)>> {
        self.objects_by_outcome(environment, runtime, "!= 'running'")
    }

    /// Those of them whose operation was done, or finished after its process ended.
    pub(crate) fn published_objects(
        &self,
        environment: &str,
        runtime: &str,
    ) -> Result<Vec<(ObjectType, ObjectId)>> {
        self.objects_by_outcome(environment, runtime, "IN ('done', 'recovered')")
    }

    /// Those of them whose operation has such an outcome, a condition in SQL.
    fn objects_by_outcome(
        &self,
        environment: &str,
        runtime: &str,
        outcome: &'static str,
    ) -> Result<Vec<(ObjectType, ObjectId)>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "SELECT b.kind, b.object FROM objects b JOIN operations o ON o.seq = b.operation
             WHERE b.environment = ?1 AND b.runtime = ?2 AND o.outcome {outcome}"
        ))?;
        read_objects(statement.query((environment, runtime))?)
    }

    /// Forgets objects that are gone, or were never made.
    pub(crate) fn forget_objects(&self, objects: &[&ObjectId]) -> Result<()> {
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM objects WHERE object = ?1")?;
            for object in objects {
                delete.execute([object.as_str()])?;
            }
            Ok(())
        })
    }

    /// The same for those alone whose operation began before a time.
    pub(crate) fn forget_objects_of_old(
        &self,
        objects: &[&ObjectId],
        before: Timestamp,
    ) -> Result<()> {
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached(
                "DELETE FROM objects WHERE object = ?1
                     AND operation IN (SELECT seq FROM operations WHERE started_at < ?2)",
            )?;
            for object in objects {
                delete.execute((object.as_str(), before.as_microsecond()))?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
impl Store {
    /// Makes `process` that of every operation that did not end.
    pub(crate) fn pretend_process(&self, process: &ProcessIdentity) -> Result<()> {
        self.lock().execute(
            "UPDATE operations SET process = ?1 WHERE outcome = 'running'",
            [to_json(process)?],
        )?;
        Ok(())
    }
}

/// Writes an intent, and returns its sequence number.
pub(super) fn insert(transaction: &Transaction<'_>, new: &NewOperation<'_>) -> Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO operations (kind, environment, runtime, branch, target,
                 snapshot_kind, process, started_at, outcome)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            new.kind.as_str(),
            new.environment,
            new.runtime,
            new.branch,
            new.target.map(SnapshotId::as_str),
            new.snapshot_kind.map(SnapshotKind::as_str),
            to_json(new.process)?,
            new.started_at.as_microsecond(),
            Outcome::Running.as_str(),
        ))?;
    let seq = transaction.last_insert_rowid();
    for (kind, object) in new.objects {
        transaction
            .prepare_cached("INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((
                object.as_str(),
                new.environment,
                new.runtime,
                kind.as_str(),
                seq,
            ))?;
    }
    Ok(seq)
}

/// Writes how an operation ended.
fn record_end(transaction: &Transaction<'_>, seq: i64, end: &Finished<'_>) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE operations SET outcome = ?2, error = ?3, duration = ?4, usable = ?5,
                 warm = ?7, process = iif(?2 = 'running', ?6, process)
             WHERE seq = ?1",
        )?
        .execute((
            seq,
            end.outcome.as_str(),
            end.error,
            micros(end.duration),
            end.usable.map(micros),
            to_json(&ProcessIdentity::nobody())?,
            end.warm,
        ))?;
    let mut insert = transaction.prepare_cached("INSERT INTO phases VALUES (?1, ?2, ?3, ?4)")?;
    for (position, (phase, took)) in end.phases.iter().enumerate() {
        insert.execute((seq, position as i64, phase.as_str(), micros(*took)))?;
    }
    Ok(())
}

pub(super) fn read_objects(mut rows: Rows<'_>) -> Result<Vec<(ObjectType, ObjectId)>> {
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        let kind = ObjectType::parse(&kind)
            .ok_or_else(|| damaged("an object", format!("unknown type {kind}")))?;
        objects.push((kind, ObjectId::new(row.get::<_, String>(1)?)));
    }
    Ok(objects)
}
