//! `rm`: remove a snapshot.

use statefork_runtime::Phase;

use super::{Begun, Environment};
use crate::error::{CoreError, Result};
use crate::model::{OperationKind, Snapshot, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::store::Background;

/// A snapshot that was removed.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoveReport {
    /// It was this one.
    pub id: SnapshotId,
    /// How long it took.
    pub timing: Timing,
}

impl Environment {
    /// Removes a snapshot; its children become those of its parent. One that a branch's head or
    /// container stands on, and `base`, stay.
    pub async fn remove_snapshot(&self, revision: &str) -> Result<RemoveReport> {
        let begun = Begun::now();
        let outcome = self.remove_snapshot_inner(begun, revision).await;
        outcome.map_err(|error| error.in_operation(format!("remove {revision}")))
    }

    async fn remove_snapshot_inner(&self, begun: Begun, revision: &str) -> Result<RemoveReport> {
        let _lock = self.lock_whole(OperationKind::Remove).await?;
        let record = self.record()?;
        let id = self.resolve(&record, &self.branch_name()?, revision)?;
        let snapshot = self.store().snapshot(record.number, &id)?;
        self.check_unused(record.number, &snapshot)?;
        let mut intent = self.intent(OperationKind::Remove, begun, None, &[]);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(snapshot.kind);
        let recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            self.end_standbys(&record, |standby| standby.snapshot == id)
                .await?;
            // Forgotten first: a snapshot in the store must never lack its capture. What is left
            // in the runtime if we die in between is found by its object.
            recorder.time(Phase::Persist, || {
                self.store().remove_snapshot(record.number, &id)
            })?;
            // One that was begun again before the snapshot was forgotten.
            let is_of_it = |operation: &Background| operation.target.as_ref() == Some(&id);
            self.end_background(OperationKind::Standby, is_of_it)
                .await?;
            self.remove_retired(&record).await?;
            let removing = self.runtime.remove_capture(&snapshot.capture);
            recorder.phases.time(Phase::Remove, removing).await?;
            self.forget_superseded(&record, true).await?;
            self.forget_unreferenced(&record).await
        };
        let outcome = outcome.await;
        let ((), timing) = recorder.finish(outcome)?;
        Ok(RemoveReport { id, timing })
    }

    fn check_unused(&self, environment: i64, snapshot: &Snapshot) -> Result<()> {
        let in_use = |reason: String| {
            Err(CoreError::SnapshotInUse {
                id: snapshot.id.clone(),
                reason,
            })
        };
        if snapshot.parent.is_none() {
            return in_use("it is the base of the graph".to_owned());
        }
        for branch in self.store().branches(environment)? {
            if branch.head == snapshot.id {
                return in_use(format!("it is the head of branch {:?}", branch.name));
            }
            if let Some(live) = &branch.container
                && live.origin == snapshot.id
            {
                return in_use(format!(
                    "the container of branch {:?} runs from it",
                    branch.name
                ));
            }
        }
        Ok(())
    }
}
