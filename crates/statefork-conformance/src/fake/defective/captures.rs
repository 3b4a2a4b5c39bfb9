//! What can be wrong with captures.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use statefork_runtime::{
    Capture, CaptureRequest, Captured, Captures, Container, ContainerId, ContainerState,
    Containers, EnvVar, ErrorKind, FlattenRequest, ImageId, LaunchRequest, ObjectKind, Phases,
    RebaseRequest, Result, RuntimeError,
};

use super::super::captures::Stored;
use super::super::files::{Layer, Source};
use super::super::state::{StoredContainer, StoredImage};
use super::containers::files_of;
use super::{Defect, DefectiveRuntime};

impl DefectiveRuntime {
    /// Removes what captures of a container need.
    pub(super) fn lose_captures_of(&self, container: &ContainerId) {
        let memory = self.memory();
        let lost = memory.sources.iter().filter(|(_, (of, _))| of == container);
        self.fake.shared.write(|state| {
            for (image, _) in lost {
                state.images.remove(image);
            }
        });
    }

    /// Changes a container and the image of its capture.
    fn edit(&self, image: &ImageId, container: &ContainerId) {
        self.fake.shared.write(|state| {
            let found = state.container(container).map(|found| found.id.clone());
            let found = found.and_then(|id| state.containers.get(&id));
            if let (Some(container), Some(image)) = (found, state.images.get_mut(image)) {
                edit_image(self.defect, image, container);
            }
        });
    }

    async fn capture_as_asked(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        let found = self.fake.inspect(container).await?;
        let state = found.as_ref().map(|found| found.state);
        match (self.defect, state) {
            (Defect::CaptureWantsRunning, Some(state @ ContainerState::Exited { .. })) => {
                return Err(RuntimeError::WrongState {
                    op: "capture",
                    container: container.to_string(),
                    state,
                });
            }
            (Defect::CaptureFreezesWhenDropped, Some(ContainerState::Running)) => {
                self.fake.pause(container).await?;
                tokio::time::sleep(Duration::from_millis(3)).await;
                self.fake.unpause(container).await?;
            }
            _ => {}
        }
        let own = Phases::new();
        let phases = if self.has(Defect::PhasesAreNotRecorded) {
            &own
        } else {
            phases
        };
        let changes = match found {
            Some(_) => self.fake.changes(container).await?,
            None => Vec::new(),
        };
        let mut captured = match self.fake.capture(container, request, phases).await {
            Err(error)
                if self.has(Defect::CaptureTakesNames) && error.kind() == ErrorKind::Conflict =>
            {
                self.fake.shared.write(|state| {
                    if let Some(id) = state.image_id(&request.name) {
                        state.images.remove(&id);
                    }
                });
                self.fake.capture(container, request, phases).await?
            }
            captured => captured?,
        };
        let image = Stored::read(&captured.capture)?.image;
        self.edit(&image, container);
        if let Some(found) = found {
            let source = (found.id, changes);
            self.memory().sources.insert(image.clone(), source);
        }
        match (self.defect, state) {
            (Defect::CaptureCountsTheImage, _) => captured.size_bytes += 2_000_000,
            (Defect::CaptureKills, Some(ContainerState::Running)) => {
                self.fake.kill(container).await?;
            }
            (Defect::CaptureLeavesFrozen, Some(ContainerState::Running)) => {
                self.fake.pause(container).await?;
            }
            (Defect::CaptureThaws, Some(ContainerState::Paused)) => {
                self.fake.unpause(container).await?;
            }
            _ => {}
        }
        Ok(captured)
    }
}

fn edit_image(defect: Defect, image: &mut StoredImage, container: &StoredContainer) {
    let Some(top) = image.layers.last_mut() else {
        return;
    };
    match defect {
        Defect::CaptureIsEmpty => *top = Arc::new(Layer::new()),
        Defect::CaptureForgetsDeletions => {
            Arc::make_mut(top).retain(|_, content| content.is_some());
        }
        Defect::CaptureHoldsMounts => {
            let top = Arc::make_mut(top);
            for mount in &container.tree.mounts {
                if let Source::Bind(host) = &mount.source {
                    for file in files_of(host) {
                        let content = std::fs::read(&file).map(Bytes::from).ok();
                        let name = file.file_name().unwrap_or_default();
                        top.insert(mount.path.join(name), content);
                    }
                }
            }
        }
        Defect::CaptureForgetsTheChain => {
            let top = Arc::clone(top);
            image.layers.truncate(1);
            image.layers.push(top);
        }
        Defect::CaptureInheritsLabels => {
            let own = image.config.labels.clone();
            image.config.labels.clone_from(&container.labels);
            image.config.labels.extend(own);
        }
        Defect::CaptureInheritsSettings => {
            image.config.command.clone_from(&container.argv);
            let circumstances = &container.circumstances;
            let variables = circumstances.env.iter().map(|(name, value)| EnvVar {
                name: name.clone(),
                value: value.clone(),
            });
            image.config.env = variables.collect();
            image.config.user = Some(circumstances.uid.to_string());
            image.config.workdir = Some(circumstances.workdir.clone());
        }
        _ => {}
    }
}

#[async_trait]
impl Captures for DefectiveRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        self.fake.of_image(image)
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        let _turn = self
            .alone(Defect::CapturesCollide, container.as_str())
            .await?;
        let captured = self.capture_as_asked(container, request, phases).await;
        self.spoiled(captured)
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        self.spoiled(self.defective_launch(capture, request, phases).await)
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        self.spoiled(self.defective_layers(capture).await)
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        self.spoiled(self.defective_flatten(capture, request).await)
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        self.spoiled(self.defective_rebase(capture, request).await)
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let is_there = self.fake.verify_capture(capture).await;
        let is_there = self.spoiled(is_there)?;
        let image = Stored::read(capture)?.image;
        match self.defect {
            Defect::VerifyBelieves => Ok(true),
            Defect::VerifyKnowsNoImages => {
                Ok(is_there && self.memory().sources.contains_key(&image))
            }
            Defect::VerifyNeedsOne if !is_there => Err(RuntimeError::NotFound {
                object: ObjectKind::Capture,
                name: image.to_string(),
            }),
            _ => Ok(is_there),
        }
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let stored = match Stored::read(capture) {
            Ok(stored) => stored,
            Err(error) => return self.spoiled(Err(error)),
        };
        let image = &stored.image;
        let is_there = self
            .fake
            .shared
            .read(|state| state.images.contains_key(image));
        match self.defect {
            Defect::RemoveCaptureDoesNothing => return Ok(()),
            Defect::RemoveCaptureForces => {
                self.fake.lose_capture(capture);
                return Ok(());
            }
            Defect::RemoveCaptureNeedsOne if !is_there => {
                return Err(RuntimeError::NotFound {
                    object: ObjectKind::Capture,
                    name: image.to_string(),
                });
            }
            Defect::RemoveCaptureTakesImages => {
                self.fake
                    .shared
                    .write(|state| super::super::images::remove(state, image))?;
                return Ok(());
            }
            Defect::RemoveCaptureTakesChildren => self.fake.shared.write(|state| {
                let own = state.images.get(image).map(|image| image.layers.clone());
                if let Some(own) = own.filter(|own| own.len() > 1) {
                    let below = &own[own.len() - 1];
                    state
                        .images
                        .retain(|_, other| !other.layers.iter().any(|l| Arc::ptr_eq(l, below)));
                }
            }),
            _ => {}
        }
        self.spoiled(self.fake.remove_capture(capture).await)
    }
}
