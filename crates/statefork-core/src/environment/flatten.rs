//! Flattening in the background: a worker makes a short capture of a snapshot with a long chain,
//! and swaps the two in the store.
//!
//! It takes no lock, so that nobody waits for it, and gives way: where the snapshot is gone in the
//! meantime, or its environment is being purged, what was made is removed. The long capture stays
//! (*superseded*) while the branch's container or a later snapshot's capture stands on it.

use std::time::Duration;

use statefork_runtime::{FlattenRequest, ObjectId, ObjectType, Phase};
use tokio::time::Instant;

use super::{Begun, Environment, new_object, short};
use crate::error::{CoreError, Result};
use crate::model::{OperationKind, Outcome, Snapshot, SnapshotId};
use crate::operation::Recorder;
use crate::store::{Background, EnvironmentRecord, Flattened};

/// How long work in the background may take to give way before its process is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at them.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a daemon may go on with what it was asked for by a process that was killed.
const AFTERWARDS: Duration = Duration::from_secs(2);

impl Environment {
    /// Flattens what the branch's container stands on, or else its head, if its layers take half of
    /// the room that there is; and removes superseded captures that nothing stands on any more. The
    /// snapshot that was flattened, if one was.
    ///
    /// For the worker of a shim.
    pub async fn flatten(&self) -> Result<Option<SnapshotId>> {
        let begun = Begun::now();
        let outcome = self.flatten_inner(begun).await;
        outcome.map_err(|error| error.in_operation("flatten a chain"))
    }

    async fn flatten_inner(&self, begun: Begun) -> Result<Option<SnapshotId>> {
        let record = self.store().environment(&self.name, self.runtime.name())?;
        let Some(record) = record.filter(|record| !record.purging) else {
            return Ok(None);
        };
        self.forget_superseded(&record, false).await?;
        let branch = self.branch_name()?;
        let Some(snapshot) = self.long_chain(&record, &branch).await? else {
            return Ok(None);
        };
        let objects = [(ObjectType::Capture, new_object())];
        let mut intent = self.intent(OperationKind::Flatten, begun, Some(&branch), &objects);
        intent.target = Some(&snapshot.id);
        intent.snapshot_kind = Some(snapshot.kind);
        let recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = self
            .swap(&recorder, &record, &snapshot, &objects[0].1)
            .await;
        let outcome = match outcome {
            Ok(true) => Ok(Some(snapshot.id.clone())),
            Ok(false) => Ok(None),
            Err(error) if error.leaves_undone() => Err(error),
            Err(error) => Err(error.and_then(self.remove_objects(&objects).await)),
        };
        let (flattened, _) = recorder.finish(outcome)?;
        self.forget_superseded(&record, false).await?;
        Ok(flattened)
    }

    /// The snapshot that is to be flattened, if one is and nobody else does it.
    async fn long_chain(
        &self,
        record: &EnvironmentRecord,
        branch: &str,
    ) -> Result<Option<Snapshot>> {
        let branch = self.branch(record, branch)?;
        let origin = branch.container.as_ref().map(|live| &live.origin);
        let running = self.background(OperationKind::Flatten)?;
        for id in origin.into_iter().chain([&branch.head]) {
            let snapshot = self.store().snapshot(record.number, id)?;
            let is_begun = running
                .iter()
                .any(|other| other.target.as_ref() == Some(id));
            let Some(object) = &snapshot.object else {
                // The base is not ours to change.
                continue;
            };
            // What stands on one that was flattened is put on the short one by the next capture.
            if is_begun || self.store().shorter(record.number, object)?.is_some() {
                continue;
            }
            let layers = self.runtime.layers(&snapshot.capture).await?;
            let room = self.room(record, layers).await?;
            if room.is_some_and(|room| room.is_half_taken(layers)) {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    /// Makes the short capture and has it take the place of the long one; whether it did. After an
    /// error, what was made may be there.
    async fn swap(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        snapshot: &Snapshot,
        object: &ObjectId,
    ) -> Result<bool> {
        // A purge that begins from here on finds this operation in the log and waits for it.
        if !self.store().has_capture(record.number, snapshot)? {
            self.store().forget_objects(&[object])?;
            return Ok(false);
        }
        let base = self.store().base(record.number)?;
        let request = FlattenRequest {
            name: self.image_name(&format!("{}-flat-{}", snapshot.id, short(object))),
            labels: self.owner(object).labels(ObjectType::Capture),
            base: base.capture,
        };
        let flattening = self.runtime.flatten(&snapshot.capture, &request);
        let flattening = self.options.cancel.or(flattening);
        let captured = match recorder.phases.time(Phase::Flatten, flattening).await {
            Ok(captured) => captured,
            Err(error) => {
                // Whoever removed the snapshot removed its capture too.
                let gone = !error.leaves_undone()
                    && !matches!(error, CoreError::Interrupted)
                    && !self.store().has_capture(record.number, snapshot)?;
                return if gone { Ok(false) } else { Err(error) };
            }
        };
        let flattened = Flattened {
            capture: captured.capture,
            object: object.clone(),
            size_bytes: captured.size_bytes,
        };
        let swapped = recorder.time(Phase::Persist, || {
            self.store().supersede(record.number, snapshot, &flattened)
        });
        if !matches!(swapped, Ok(true)) {
            let removing = self.runtime.remove_capture(&flattened.capture);
            let removed = recorder.phases.time(Phase::Remove, removing).await;
            return match (swapped, removed) {
                (swapped, Ok(())) => {
                    self.store().forget_objects(&[object])?;
                    swapped
                }
                (Ok(_), Err(error)) => Err(error.into()),
                (Err(error), Err(cleanup)) => Err(error.and_then(Err(cleanup.into()))),
            };
        }
        Ok(true)
    }

    /// Removes superseded captures that nothing stands on any more. Unless the caller has `locked`
    /// the environment as a whole, none while an operation runs that may have read one.
    pub(super) async fn forget_superseded(
        &self,
        record: &EnvironmentRecord,
        locked: bool,
    ) -> Result<()> {
        // Forgotten first, as a snapshot is that is removed.
        while let Some((object, capture)) =
            self.store().take_idle_superseded(record.number, locked)?
        {
            self.runtime.remove_capture(&capture).await?;
            self.store().forget_objects(&[&object])?;
        }
        Ok(())
    }

    /// The operations of a kind that run in the background.
    pub(super) fn background(&self, kind: OperationKind) -> Result<Vec<Background>> {
        self.store()
            .background(kind, &self.name, self.runtime.name())
    }

    /// Waits until no operation of a kind that `which` chooses runs in the background, which each gives
    /// way once what it works on is gone; the process of one that takes too long is killed.
    pub(super) async fn end_background(
        &self,
        kind: OperationKind,
        which: impl Fn(&Background) -> bool,
    ) -> Result<()> {
        let chosen = || -> Result<Vec<Background>> {
            let mut running = self.background(kind)?;
            running.retain(|operation| which(operation));
            Ok(running)
        };
        let begun = Instant::now();
        while !chosen()?.is_empty() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(PAUSE).await;
        }
        let late = chosen()?;
        for operation in &late {
            let killed = operation.process.kill().await;
            killed.map_err(|source| CoreError::Io {
                op: "end the process that has",
                path: format!("/proc/{}", operation.process.pid).into(),
                source,
            })?;
            self.store()
                .close_operation(operation.seq, Outcome::Undone)?;
        }
        if !late.is_empty() {
            tokio::time::sleep(AFTERWARDS).await;
        }
        Ok(())
    }
}
