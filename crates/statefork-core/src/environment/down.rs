//! `down`: stop and remove what we made.

use statefork_runtime::{Found, ObjectId, ObjectType, Phase, RuntimeError};
use statefork_shim::Shim;

use super::snapshot::SnapshotRequest;
use super::{Begun, Environment};
use crate::error::{CoreError, Result};
use crate::model::{Branch, MAIN, OperationKind, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::store::EnvironmentRecord;

/// How to bring down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownRequest {
    /// Take a snapshot first.
    pub save: bool,
    /// Remove the snapshots and the images that we made too, and forget the environment.
    pub purge: bool,
}

/// An environment that is down.
#[derive(Clone, Debug, PartialEq)]
pub struct DownReport {
    /// The snapshot taken first.
    pub saved: Option<SnapshotId>,
    /// How many containers were removed.
    pub containers: usize,
    /// How many snapshots were removed.
    pub snapshots: usize,
    /// How long it took; `None` if there was nothing to do.
    pub timing: Option<Timing>,
}

impl Environment {
    /// Stops and removes the environment's containers; changes since the last snapshot are lost
    /// unless saved. With `purge`, everything that we made for it goes; an image that was there
    /// before stays.
    pub async fn down(&self, request: DownRequest) -> Result<DownReport> {
        let begun = Begun::now();
        let outcome = self.down_inner(begun, request).await;
        outcome
            .map_err(|error| error.in_operation(format!("bring environment {:?} down", self.name)))
    }

    async fn down_inner(&self, begun: Begun, request: DownRequest) -> Result<DownReport> {
        let _locks = self.lock_whole(OperationKind::Down).await?;
        let mut report = DownReport {
            saved: None,
            containers: 0,
            snapshots: 0,
            timing: None,
        };
        let record = self.record()?;
        let branch = self.store().branch(record.number, MAIN)?;
        if branch.container.is_none() && !request.purge {
            self.end_shim(&branch).await?;
            return Ok(report);
        }
        if request.save && branch.container.is_some() {
            let save = SnapshotRequest::default();
            let saved = self.snapshot_locked(Begun::now(), &save).await?;
            report.saved = Some(saved.snapshot.id);
        }
        let intent = self.intent(OperationKind::Down, begun, &[]);
        let recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            self.end_shim(&branch).await?;
            report.containers = self.remove_container(&recorder, &branch).await?;
            if request.purge {
                report.snapshots = self.purge(&recorder, &record, &branch).await?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        let ((), timing) = recorder.finish(outcome)?;
        report.timing = Some(timing);
        Ok(report)
    }

    async fn remove_container(&self, recorder: &Recorder<'_>, branch: &Branch) -> Result<usize> {
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
        let remove = self.runtime.remove(&live.id);
        recorder.phases.time(Phase::Remove, remove).await?;
        self.store().set_container(branch.number, None)?;
        self.store().forget_objects(&[&live.object])?;
        Ok(found)
    }

    async fn purge(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
    ) -> Result<usize> {
        let snapshots = self.store().snapshots(record.number)?;
        let removed = snapshots.len();
        let removing = async {
            // What stands on others goes first.
            for snapshot in snapshots.iter().rev() {
                self.runtime.remove_capture(&snapshot.capture).await?;
            }
            let objects = self.store().objects(&self.name, self.runtime.name())?;
            self.remove_objects(&objects).await
        };
        recorder.phases.time(Phase::Remove, removing).await?;
        self.store().remove_environment(record.number)?;
        self.remove_shim_dir(branch)?;
        Ok(removed)
    }

    /// Removes what the runtime still has of these objects: containers first, then images. An
    /// object is ours only with the random value *and* the type that were logged.
    pub(super) async fn remove_objects(&self, objects: &[(ObjectType, ObjectId)]) -> Result<()> {
        let ours = |kind: &Option<ObjectType>, object: &Option<ObjectId>| match (kind, object) {
            (Some(kind), Some(object)) => objects.iter().any(|(k, o)| k == kind && o == object),
            _ => false,
        };
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
            {
                self.runtime.remove_image(name).await?;
            }
        }
        let gone: Vec<_> = objects.iter().map(|(_, object)| object).collect();
        self.store().forget_objects(&gone)
    }

    /// Ends the branch's shim, if it runs.
    pub(super) async fn end_shim(&self, branch: &Branch) -> Result<()> {
        let dir = self.home.shim_dir(branch.number);
        if let Some(shim) = Shim::connect(&dir).await? {
            shim.shutdown().await?;
        }
        Ok(())
    }

    fn remove_shim_dir(&self, branch: &Branch) -> Result<()> {
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
