//! `down`: stop and remove what we made.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use statefork_runtime::{Found, ObjectId, ObjectType, Phase, RuntimeError};
use statefork_shim::Shim;

use super::snapshot::SnapshotRequest;
use super::{Begun, Environment};
use crate::error::{CoreError, Result};
use crate::model::{Branch, OperationKind, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::probing::remove_remains;
use crate::store::EnvironmentRecord;

/// A daemon does not go on for longer with what its caller asked for before it died.
const LATEST: Duration = Duration::from_secs(120);

/// How many branches are ended at once: most of it is waiting for applications that may not hear a
/// polite stop, which costs nothing.
pub(super) const ENDED_AT_ONCE: usize = 64;

/// How to bring down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownRequest {
    /// Take a snapshot of each branch first.
    pub save: bool,
    /// Remove the snapshots and the images that we made too, and forget the environment.
    pub purge: bool,
}

/// An environment that is down.
#[derive(Clone, Debug, PartialEq)]
pub struct DownReport {
    /// The snapshots taken first.
    pub saved: Vec<SnapshotId>,
    /// How many containers were removed.
    pub containers: usize,
    /// How many snapshots were removed.
    pub snapshots: usize,
    /// How long it took; `None` if there was nothing to do.
    pub timing: Option<Timing>,
}

impl Environment {
    /// Stops and removes the containers of all branches; changes since the last snapshot are lost
    /// unless saved. With `purge`, everything that we made for the environment goes; an image that
    /// was there before stays.
    pub async fn down(&self, request: DownRequest) -> Result<DownReport> {
        let begun = Begun::now();
        let outcome = self.down_inner(begun, request).await;
        outcome
            .map_err(|error| error.in_operation(format!("bring environment {:?} down", self.name)))
    }

    async fn down_inner(&self, begun: Begun, request: DownRequest) -> Result<DownReport> {
        let _lock = self.lock_whole(OperationKind::Down).await?;
        let mut report = DownReport {
            saved: Vec::new(),
            containers: 0,
            snapshots: 0,
            timing: None,
        };
        let record = self.record()?;
        let branches = self.store().branches(record.number)?;
        if branches.iter().all(|branch| branch.container.is_none()) && !request.purge {
            for branch in &branches {
                self.end_shim(branch).await?;
            }
            self.end_standbys(&record, |_| true).await?;
            self.remove_retired(&record).await?;
            return Ok(report);
        }
        if request.save {
            for branch in branches.iter().filter(|branch| branch.container.is_some()) {
                let save = SnapshotRequest::default();
                let saved = self
                    .snapshot_locked(Begun::now(), &branch.name, &save)
                    .await?;
                report.saved.push(saved.snapshot.node.id);
            }
        }
        let intent = self.intent(OperationKind::Down, begun, None, &[]);
        let recorder = Recorder::begin(self.store(), &intent)?;
        if request.purge {
            self.store().begin_purge(record.number)?;
        }
        let outcome = async {
            self.end_standbys(&record, |_| true).await?;
            let mut work = Vec::with_capacity(branches.len());
            for branch in &branches {
                work.push(self.retire_branch(&recorder, branch));
            }
            let work = futures_util::stream::iter(work).buffer_unordered(ENDED_AT_ONCE);
            let outcomes: Vec<Result<usize>> = work.collect().await;
            for containers in outcomes {
                report.containers += containers?;
            }
            // None can be begun any more.
            self.end_standbys(&record, |_| true).await?;
            if request.purge {
                let purging = self.purge(&record);
                report.snapshots = recorder.phases.time(Phase::Remove, purging).await?;
                return Ok(());
            }
            self.remove_retired(&record).await?;
            self.forget_superseded(&record, true).await?;
            self.forget_unreferenced(&record).await
        };
        let outcome = outcome.await;
        let ((), timing) = recorder.finish(outcome)?;
        report.timing = Some(timing);
        Ok(report)
    }

    /// Ends a branch's shim and removes its container; how many that were.
    pub(super) async fn retire_branch(
        &self,
        recorder: &Recorder<'_>,
        branch: &Branch,
    ) -> Result<usize> {
        self.end_shim(branch).await?;
        let Some(live) = &branch.container else {
            return Ok(0);
        };
        let stop = self.runtime.stop(&live.id, self.options.stop_timeout);
        let found = match recorder.phases.time(Phase::Stop, stop).await {
            Ok(()) => 1,
            // Removed behind our back: then there is nothing to stop.
            Err(RuntimeError::NotFound { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        if live.attached {
            self.observer().notice(&format!(
                "container {} is not ours: it is left stopped",
                live.id.short()
            ));
        } else {
            let remove = self.runtime.remove(&live.id);
            recorder.phases.time(Phase::Remove, remove).await?;
        }
        self.store().set_container(branch.number, None)?;
        self.forget_objects(&[&live.object])?;
        Ok(found)
    }

    /// Removes an environment's snapshots, images and objects, and forgets it; how many snapshots
    /// that were. What is gone already is no error, so it can be taken up again.
    pub(super) async fn purge(&self, record: &EnvironmentRecord) -> Result<usize> {
        for kind in [OperationKind::Flatten, OperationKind::Standby] {
            self.end_background(kind, |_| true).await?;
        }
        let snapshots = self.store().snapshots(record.number)?;
        let objects = self.store().objects(&self.name, self.runtime.name())?;
        // A container that was left behind holds the image that it runs from.
        let (containers, others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|(kind, _)| *kind == ObjectType::Container);
        self.remove_objects(&containers).await?;
        // What stands on others goes first.
        for snapshot in snapshots.iter().rev() {
            self.runtime.remove_capture(&snapshot.capture).await?;
        }
        for (_, capture) in self.store().superseded(record.number)? {
            self.runtime.remove_capture(&capture).await?;
        }
        self.remove_objects(&others).await?;
        let left = self.left_builds()?;
        self.remove_left_builds(&left).await?;
        let others = others.iter().map(|(_, object)| object);
        let others: Vec<_> = others.filter(|object| !left.contains(object)).collect();
        self.store().forget_objects(&others)?;
        for branch in self.store().branches(record.number)? {
            self.forget_shim(&branch).await?;
        }
        remove_remains(self.store(), self.runtime.as_ref()).await?;
        self.store().remove_environment(record.number)?;
        Ok(snapshots.len())
    }

    /// Removes what the runtime still has of these objects: containers first, then images. An
    /// object is ours only with the random value *and* the type that were logged. An image that
    /// somebody built from one of ours has inherited both, but has no name of ours; and where
    /// nothing was published, nobody had an image to build from.
    pub(super) async fn remove_objects(&self, objects: &[(ObjectType, ObjectId)]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let ours = |kind: &Option<ObjectType>, object: &Option<ObjectId>| match (kind, object) {
            (Some(kind), Some(object)) => objects.iter().any(|(k, o)| k == kind && o == object),
            _ => false,
        };
        let published = self
            .store()
            .published_objects(&self.name, self.runtime.name())?;
        let named = self.image_name("");
        let found = self.runtime.find(self.home.id()).await?;
        for found in &found {
            if let Found::Container { id, kind, object } = found
                && *kind == Some(ObjectType::Container)
                && ours(kind, object)
            {
                self.runtime.remove(id).await?;
            }
        }
        for found in &found {
            if let Found::Image { name, kind, object } = found
                && *kind != Some(ObjectType::Container)
                && ours(kind, object)
                && (name.starts_with(&named)
                    || !published
                        .iter()
                        .any(|(_, known)| Some(known) == object.as_ref()))
            {
                self.runtime.remove_image(name).await?;
            }
        }
        // What a daemon was still making when its caller died may come yet.
        let was_found = |wanted: &ObjectId| {
            found.iter().any(|found| match found {
                Found::Container { object, .. } | Found::Image { object, .. } => {
                    object.as_ref() == Some(wanted)
                }
            })
        };
        let (mut gone, mut awaited) = (Vec::new(), Vec::new());
        for (kind, object) in objects {
            // Of these another runtime may have something: see `left_builds.rs`.
            if *kind == ObjectType::Build && !self.options.builders.is_empty() {
                continue;
            }
            let is_made = matches!(kind, ObjectType::Capture | ObjectType::Container);
            match is_made && !was_found(object) {
                true => awaited.push(object),
                false => gone.push(object),
            }
        }
        self.forget_objects(&gone)?;
        for object in &awaited {
            self.home.remove_identity(object)?;
        }
        self.store()
            .forget_objects_of_old(&awaited, Timestamp::now() - LATEST)
    }

    /// Ends the branch's shim, if it runs.
    pub(super) async fn end_shim(&self, branch: &Branch) -> Result<()> {
        let dir = self.home.shim_dir(branch.number);
        if let Some(shim) = Shim::connect(&dir).await? {
            shim.shutdown().await?;
        }
        Ok(())
    }

    /// Ends the branch's shim and removes its folder.
    pub(super) async fn forget_shim(&self, branch: &Branch) -> Result<()> {
        self.end_shim(branch).await?;
        let dir = self.home.shim_dir(branch.number);
        match std::fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(CoreError::Io {
                op: "remove",
                path: dir,
                source,
            }),
            _ => Ok(()),
        }
    }
}
