//! What can be wrong with launches.

use std::sync::Arc;
use std::time::Duration;

use statefork_runtime::{
    Capture, Captures, Container, ContainerId, ContainerState, Containers, ErrorKind,
    LaunchRequest, MountSource, Phases, Result,
};

use super::super::captures::Stored;
use super::{Defect, DefectiveRuntime};

/// Forgets a setting, where that is the defect.
fn forget(defect: Defect, request: &mut LaunchRequest) {
    let spec = &mut request.spec;
    match defect {
        Defect::LaunchIgnoresTheCommand => spec.command = None,
        Defect::LaunchIgnoresTheEntrypoint => spec.entrypoint = None,
        Defect::LaunchIgnoresTheImage => {
            spec.user.get_or_insert_with(|| "root".into());
            spec.workdir.get_or_insert_with(|| "/".into());
        }
        Defect::LaunchIgnoresVariables => spec.env.clear(),
        Defect::LaunchIgnoresTheUser => spec.user = None,
        Defect::LaunchIgnoresTheDirectory => spec.workdir = None,
        Defect::LaunchIgnoresTheHostname => spec.hostname = Some("localhost".into()),
        Defect::LaunchIgnoresLabels | Defect::LaunchLabelsLate => request.labels.clear(),
        Defect::LaunchPublishesNothing => request.publish.clear(),
        Defect::LaunchIgnoresMounts => spec.mounts.clear(),
        Defect::LaunchIgnoresReadOnly => {
            for mount in &mut spec.mounts {
                mount.read_only = false;
            }
        }
        Defect::LaunchMakesSources => {
            for mount in &spec.mounts {
                if let MountSource::Bind(path) = &mount.source {
                    // What cannot be made is refused by the fake.
                    let _ = std::fs::create_dir_all(path);
                }
            }
        }
        Defect::LaunchForgetsVolumes => {
            for mount in &mut spec.mounts {
                if let MountSource::Volume(name) = &mut mount.source {
                    name.push_str(&request.name);
                }
            }
        }
        _ => {}
    }
}

impl DefectiveRuntime {
    pub(super) async fn defective_launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let _turn = self.alone(Defect::LaunchesCollide, &request.name).await?;
        let mut own = request.clone();
        forget(self.defect, &mut own);
        let own_phases = Phases::new();
        let phases = if self.has(Defect::PhasesAreNotRecorded) {
            &own_phases
        } else {
            phases
        };
        if self.has(Defect::CaptureIsLive) {
            self.refresh(capture)?;
        }
        let mut container = match self.fake.launch(capture, &own, phases).await {
            Err(error) => self
                .after_refusal(capture, &mut own, error.kind(), phases)
                .await?
                .ok_or(error)?,
            Ok(container) => container,
        };
        match self.defect {
            Defect::LaunchLabelsLate => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.fake.shared.write(|state| {
                    if let Ok(stored) = state.container_mut(&container.id) {
                        stored.labels.extend(request.labels.clone());
                    }
                });
                container.labels.extend(request.labels.clone());
            }
            Defect::MountsAreNotSorted => container.mounts.reverse(),
            Defect::LogsAreInherited => self.inherit_logs(&container),
            Defect::ExitCodesAreLost => {
                if let ContainerState::Exited { code } = &mut container.state {
                    *code = Some(0);
                }
            }
            _ => {}
        }
        Ok(container)
    }

    /// What a defect does about a refused launch: a container, or nothing.
    async fn after_refusal(
        &self,
        capture: &Capture,
        request: &mut LaunchRequest,
        kind: ErrorKind,
        phases: &Phases,
    ) -> Result<Option<Container>> {
        match (self.defect, kind) {
            (Defect::LaunchTakesNames, ErrorKind::Conflict) => {
                let name = ContainerId::new(&request.name);
                self.fake.remove(&name).await?;
            }
            (Defect::LaunchMakesNames, ErrorKind::Conflict) => request.name.push_str("-2"),
            (Defect::LaunchLeavesFailed, ErrorKind::StartFailed | ErrorKind::Invalid) => {
                request.spec.command = Some(vec!["exit".into(), "127".into()]);
                request.spec.user = None;
                // A container that cannot be left either is the fake's own refusal.
                let _ = self.fake.launch(capture, request, phases).await;
                return Ok(None);
            }
            _ => return Ok(None),
        }
        self.fake.launch(capture, request, phases).await.map(Some)
    }

    /// Gives a capture what its container holds now.
    fn refresh(&self, capture: &Capture) -> Result<()> {
        let image = Stored::read(capture)?.image;
        let source = self.memory().sources.get(&image).map(|(of, _)| of.clone());
        self.fake.shared.write(|state| {
            let now = source
                .and_then(|of| state.containers.get(&of))
                .map(|container| container.tree.writable.clone());
            let top = state.images.get_mut(&image);
            let top = top.and_then(|image| image.layers.last_mut());
            if let (Some(now), Some(top)) = (now, top) {
                *top = Arc::new(now);
            }
        });
        Ok(())
    }

    /// Puts the output of the container that was captured before a container's own.
    fn inherit_logs(&self, container: &Container) {
        let memory = self.memory();
        let source = memory.sources.get(&container.image).map(|(of, _)| of);
        self.fake.shared.write(|state| {
            let log = source.and_then(|of| state.containers.get(of));
            let mut log = log.map(|of| of.log.clone()).unwrap_or_default();
            if let Ok(stored) = state.container_mut(&container.id) {
                log.append(&mut stored.log);
                stored.log = log;
            }
        });
    }
}
