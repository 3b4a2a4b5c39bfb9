//! `try`: run a command, and go back if it fails.

use statefork_runtime::{Exec, ExecRequest, ObjectType};

use super::handover::Successor;
use super::snapshot::SnapshotRequest;
use super::{Begun, Cancel, Environment, new_object};
use crate::error::Result;
use crate::model::{OperationKind, SnapshotId, SnapshotKind};
use crate::operation::{Recorder, Timing};

/// What came of a command that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct TryReport {
    /// The snapshot taken before.
    pub snapshot: SnapshotId,
    /// How the command ended.
    pub exit_code: i32,
    /// Whether the branch was brought back to the snapshot.
    pub restored: bool,
    /// How long all of it took.
    pub timing: Timing,
}

impl Environment {
    /// Takes a snapshot, runs a command in the container, keeps what it did if it ends with 0, and
    /// restores the snapshot otherwise. `attend` is given the running command and returns its exit
    /// code; if it fails, the snapshot is restored too.
    pub async fn attempt(
        &self,
        request: &ExecRequest,
        attend: impl AsyncFnOnce(Exec) -> Result<i32>,
    ) -> Result<TryReport> {
        let begun = Begun::now();
        let outcome = self.attempt_inner(begun, request, attend).await;
        outcome.map_err(|error| {
            let program = request.argv.first().map_or("", String::as_str);
            error.in_operation(format!("try {program:?}"))
        })
    }

    async fn attempt_inner(
        &self,
        begun: Begun,
        request: &ExecRequest,
        attend: impl AsyncFnOnce(Exec) -> Result<i32>,
    ) -> Result<TryReport> {
        let locked = self.lock_branch(OperationKind::Try).await?;
        let live = self.live_on(&locked.branch).await?;
        let id = SnapshotId::random();
        let objects = [
            (ObjectType::Capture, new_object()),
            (ObjectType::Container, new_object()),
        ];
        let mut intent = self.intent(OperationKind::Try, begun, Some(&locked.branch), &objects);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(SnapshotKind::Filesystem);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            let snapshot = SnapshotRequest::default();
            let layers = self
                .take(&mut recorder, &live, &id, &objects[0].1, &snapshot)
                .await?;
            let attended = async {
                let exec = self.runtime.exec(&live.container.id, request).await?;
                attend(exec).await
            };
            let attended = attended.await;
            if matches!(attended, Ok(0)) {
                return Ok((0, false, layers));
            }
            // As it is now: the command may have ended the application.
            let container = self.runtime.inspect(&live.live.id).await?;
            let old = container.map(|container| (live.live.clone(), container));
            let successor = Successor {
                snapshot: self.store().snapshot(live.record.number, &id)?,
                spec: live.live.spec.clone(),
                object: objects[1].1.clone(),
                wait: false,
                is_new: old.is_none(),
            };
            // Whoever interrupts the command wants its changes undone, not the undoing.
            let mut undoing = self.clone();
            undoing.options.cancel = Cancel::new();
            let restored = undoing
                .hand_over(&mut recorder, &live.record, &live.branch, old, &successor)
                .await;
            match (attended, restored) {
                (Ok(code), Ok(_)) => Ok((code, true, layers)),
                (Ok(_), Err(error)) => Err(error),
                (Err(error), restored) => Err(error.and_then(restored.map(drop))),
            }
        };
        let outcome = outcome.await;
        let ((exit_code, restored, layers), timing) = recorder.finish(outcome)?;
        self.tend_behind(&locked.branch, Some(layers)).await;
        Ok(TryReport {
            snapshot: id,
            exit_code,
            restored,
            timing,
        })
    }
}
