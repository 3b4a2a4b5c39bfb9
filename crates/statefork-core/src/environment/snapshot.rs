//! `snapshot` and `step`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use statefork_runtime::{CaptureRequest, ContainerState, ObjectId, ObjectType, Phase};

use super::chain::Settled;
use super::handover::Successor;
use super::own_files::OwnFiles;
use super::{Begun, Environment, Live, new_object};
use crate::error::{CoreError, Result};
use crate::lock::LockMode;
use crate::model::{NotHeld, OperationKind, Snapshot, SnapshotId, SnapshotKind};
use crate::operation::{Recorder, Timing};
use crate::store::NewSnapshot;

/// How to snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// What the person says of it.
    pub message: Option<String>,
    /// A name for it, which nothing has yet.
    pub tag: Option<String>,
    /// What the person labels it with.
    pub labels: BTreeMap<String, String>,
    /// Whether processes are frozen meanwhile, so that the files are those of one instant.
    pub pause: bool,
}

impl Default for SnapshotRequest {
    fn default() -> Self {
        Self {
            message: None,
            tag: None,
            labels: BTreeMap::new(),
            pause: true,
        }
    }
}

/// A snapshot that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotReport {
    /// It.
    pub snapshot: Snapshot,
    /// Whose head it is.
    pub branch: String,
    /// How long it took.
    pub timing: Timing,
}

impl Environment {
    /// Captures the current container, which goes on as it was.
    pub async fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotReport> {
        let begun = Begun::now();
        let outcome = self.snapshot_inner(begun, request).await;
        outcome.map_err(|error| error.in_operation("take a snapshot"))
    }

    async fn snapshot_inner(
        &self,
        begun: Begun,
        request: &SnapshotRequest,
    ) -> Result<SnapshotReport> {
        let locked = self.lock_branch(OperationKind::Snapshot).await?;
        self.snapshot_locked(begun, &locked.branch, request).await
    }

    /// Takes a snapshot under locks that the caller holds.
    pub(super) async fn snapshot_locked(
        &self,
        begun: Begun,
        branch: &str,
        request: &SnapshotRequest,
    ) -> Result<SnapshotReport> {
        let live = self.live_on(branch).await?;
        self.check_tag(&live, request)?;
        let id = SnapshotId::random();
        let objects = [(ObjectType::Capture, new_object())];
        let mut intent = self.intent(OperationKind::Snapshot, begun, Some(branch), &objects);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(SnapshotKind::Filesystem);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = self
            .take(&mut recorder, &live, &id, &objects[0].1, request)
            .await;
        let (layers, timing) = recorder.finish(outcome)?;
        self.tend_behind(&live.branch.name, Some(layers)).await;
        self.snapshot_report(&live, &id, timing)
    }

    /// Snapshots, then goes on in a new container made from the snapshot.
    pub async fn step(&self, request: &SnapshotRequest) -> Result<SnapshotReport> {
        let begun = Begun::now();
        let outcome = self.step_inner(begun, request).await;
        outcome.map_err(|error| error.in_operation("step"))
    }

    async fn step_inner(&self, begun: Begun, request: &SnapshotRequest) -> Result<SnapshotReport> {
        let locked = self.lock_branch(OperationKind::Step).await?;
        let live = self.live_on(&locked.branch).await?;
        self.check_tag(&live, request)?;
        let id = SnapshotId::random();
        let objects = [
            (ObjectType::Capture, new_object()),
            (ObjectType::Container, new_object()),
        ];
        let mut intent = self.intent(OperationKind::Step, begun, Some(&locked.branch), &objects);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(SnapshotKind::Filesystem);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            let layers = self
                .take(&mut recorder, &live, &id, &objects[0].1, request)
                .await?;
            let successor = Successor {
                snapshot: self.store().snapshot(live.record.number, &id)?,
                spec: live.live.spec.clone(),
                object: objects[1].1.clone(),
                wait: false,
                is_new: false,
            };
            let old = Some((live.live.clone(), live.container.clone()));
            let handed_over = self
                .hand_over(&mut recorder, &live.record, &live.branch, old, &successor)
                .await;
            if handed_over.is_err() {
                self.observer()
                    .notice(&format!("snapshot {id} was taken before and stays"));
            }
            handed_over.map(|_| layers)
        };
        let outcome = outcome.await;
        let (layers, timing) = recorder.finish(outcome)?;
        self.tend_behind(&live.branch.name, Some(layers)).await;
        self.snapshot_report(&live, &id, timing)
    }

    /// Refuses a tag that cannot be given before anything is made.
    fn check_tag(&self, live: &Live, request: &SnapshotRequest) -> Result<()> {
        match &request.tag {
            Some(tag) => self.check_free(&live.record, tag),
            None => Ok(()),
        }
    }

    fn snapshot_report(
        &self,
        live: &Live,
        id: &SnapshotId,
        timing: Timing,
    ) -> Result<SnapshotReport> {
        Ok(SnapshotReport {
            snapshot: self.store().snapshot(live.record.number, id)?,
            branch: live.branch.name.clone(),
            timing,
        })
    }

    /// Captures and publishes: afterwards the branch's head is the new snapshot. How many layers
    /// its capture has.
    pub(super) async fn take(
        &self,
        recorder: &mut Recorder<'_>,
        live: &Live,
        id: &SnapshotId,
        object: &ObjectId,
        request: &SnapshotRequest,
    ) -> Result<u32> {
        self.options.cancel.check()?;
        let running = live.container.state == ContainerState::Running;
        let capture = CaptureRequest {
            name: self.image_name(id.as_str()),
            labels: self.owner(object).labels(ObjectType::Capture),
            pause: request.pause && running,
        };
        let captured = {
            let _no_command_starts = match capture.pause {
                true => Some(
                    self.lock_processes(&live.branch.name, LockMode::Exclusive)
                        .await?,
                ),
                false => None,
            };
            self.runtime
                .capture(&live.container.id, &capture, &recorder.phases)
                .await
        };
        let captured = match captured.map_err(CoreError::from) {
            Ok(captured) => captured,
            Err(error) if error.leaves_undone() => {
                let left = self.leave_to_shim(&live.branch, &live.live).await;
                return Err(error.and_then(left));
            }
            Err(error) => return Err(error),
        };
        recorder.usable();
        let settled = self.settle_chain(recorder, live, captured, &capture).await;
        let Settled {
            captured,
            stands_on,
        } = match settled {
            Ok(settled) => settled,
            Err((error, captured)) => {
                let undone = self.runtime.remove_capture(&captured.capture).await;
                return Err(error.and_then(undone.map_err(Into::into)));
            }
        };
        let snapshot = NewSnapshot {
            id: id.clone(),
            parent: Some(live.branch.head.clone()),
            kind: SnapshotKind::Filesystem,
            message: request.message.clone(),
            created_at: Timestamp::now(),
            size_bytes: captured.size_bytes,
            spec: live.live.spec.clone(),
            not_held: not_held(live),
            capture: captured.capture,
            labels: request.labels.clone(),
            object: Some(object.clone()),
            stands_on,
        };
        let published = match self.options.cancel.check() {
            Ok(()) => recorder.time(Phase::Persist, || {
                self.store().publish(
                    live.record.number,
                    live.branch.number,
                    &snapshot,
                    request.tag.as_deref(),
                )
            }),
            Err(interrupted) => Err(interrupted),
        };
        if let Err(error) = published {
            let undone = self.runtime.remove_capture(&snapshot.capture).await;
            return Err(error.and_then(undone.map_err(Into::into)));
        }
        for path in &snapshot.not_held {
            self.observer().notice(&format!(
                "{} is not in the snapshot: it is a {}",
                path.path.display(),
                match path.kind {
                    statefork_runtime::MountKind::Bind => "bind mount",
                    statefork_runtime::MountKind::Volume => "volume",
                    statefork_runtime::MountKind::Tmpfs => "tmpfs",
                }
            ));
        }
        Ok(captured.layers)
    }
}

fn not_held(live: &Live) -> Vec<NotHeld> {
    let own = OwnFiles::of(&live.container, &live.live.spec);
    let mounts = live.container.mounts.iter();
    mounts
        .filter(|mount| !own.has(&mount.path))
        .map(|mount| NotHeld {
            path: mount.path.clone(),
            kind: mount.kind,
            writable: mount.writable,
        })
        .collect()
}
