//! Captures of the fake: images that share their layers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Value, json};
use statefork_runtime::{
    Capture, CaptureRequest, Captured, Captures, Container, ContainerId, ContainerState,
    FlattenRequest, Image, ImageId, LaunchRequest, ObjectKind, Phase, Phases, RebaseRequest,
    Result, RuntimeError,
};

use super::exec::{self, Run, Sink};
use super::files::Tree;
use super::flatten::{flatten, rebase};
use super::program::{self, Lookup, Process, Progress};
use super::state::{Shared, State, StoredContainer, StoredImage};
use super::{FakeRuntime, images, names, settings};

/// Version of [`Stored`] in [`Capture::data`].
const FORMAT: u32 = 1;

/// What a capture of the fake says.
pub(super) struct Stored {
    /// The image that holds it.
    pub(super) image: ImageId,
    /// Whether the image was made for the capture, and goes with it.
    pub(super) owned: bool,
}

impl Stored {
    pub(super) fn write(self) -> Capture {
        Capture {
            format: FORMAT,
            data: json!({"image": self.image, "owned": self.owned}),
        }
    }

    pub(super) fn read(capture: &Capture) -> Result<Self> {
        let damaged = |reason: &str| RuntimeError::Damaged {
            what: "capture".into(),
            reason: reason.into(),
        };
        if capture.format > FORMAT {
            return Err(damaged("made by a newer version"));
        }
        let field = |name: &str| capture.data.get(name);
        match (
            field("image").and_then(Value::as_str),
            field("owned").and_then(Value::as_bool),
        ) {
            (Some(image), Some(owned)) => Ok(Self {
                image: ImageId::new(image),
                owned,
            }),
            _ => Err(damaged("a field is missing")),
        }
    }
}

#[async_trait]
impl Captures for FakeRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        Stored {
            image: image.clone(),
            owned: false,
        }
        .write()
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        let name = names::new_image_name(&request.name)?;
        let begun = Instant::now();
        let (captured, paused) = self
            .shared
            .write(|state| capture(state, container, name, request))?;
        if paused {
            phases.add(Phase::Pause, begun.elapsed());
        }
        phases.add(Phase::Capture, begun.elapsed());
        Ok(captured)
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let stored = Stored::read(capture)?;
        settings::check(request)?;
        let begun = Instant::now();
        let id = self
            .shared
            .write(|state| create(state, &stored.image, request))?;
        phases.add(Phase::Create, begun.elapsed());
        let begun = Instant::now();
        let started = start(&self.shared, &id);
        phases.add(Phase::Start, begun.elapsed());
        if let Err(error) = started {
            self.shared.write(|state| state.containers.remove(&id));
            return Err(error);
        }
        self.shared
            .read(|state| state.containers.get(&id).map(StoredContainer::describe))
            .ok_or(RuntimeError::NotFound {
                object: ObjectKind::Container,
                name: request.name.clone(),
            })
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        let stored = Stored::read(capture)?;
        self.shared
            .read(|state| Ok(describe(state, &stored.image)?.layers))
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        let name = names::new_image_name(&request.name)?;
        let (stored, base) = (Stored::read(capture)?, Stored::read(&request.base)?);
        self.shared
            .write(|state| flatten(state, &stored.image, &base.image, name, request))
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        let name = names::new_image_name(&request.name)?;
        let (from, onto) = (Stored::read(&request.from)?, Stored::read(&request.onto)?);
        let images = [&Stored::read(capture)?.image, &from.image, &onto.image];
        self.shared
            .write(|state| rebase(state, images, name, request))
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let stored = Stored::read(capture)?;
        Ok(self
            .shared
            .read(|state| state.images.contains_key(&stored.image)))
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let stored = Stored::read(capture)?;
        if !stored.owned {
            return Ok(());
        }
        self.shared
            .write(|state| images::remove(state, &stored.image))
    }
}

fn capture(
    state: &mut State,
    container: &ContainerId,
    name: String,
    request: &CaptureRequest,
) -> Result<(Captured, bool)> {
    if state.image_id(&name).is_some() {
        return Err(name_taken(name));
    }
    let pause = state.pause.clone();
    let limit = state.layer_limit;
    let container = state.container_mut(container)?;
    let paused = request.pause && container.state == ContainerState::Running;
    if paused && let statefork_runtime::Support::No { reason, .. } = pause {
        return Err(RuntimeError::Unsupported {
            op: "pause a container",
            reason,
        });
    }
    let size_bytes = container.tree.writable_bytes();
    let mut layers = container.tree.base.clone();
    layers.push(Arc::new(container.tree.writable.clone()));
    if let Some(limit) = limit
        && layers.len() > limit as usize
    {
        return Err(RuntimeError::Unsupported {
            op: "add a layer to an image",
            reason: format!("an image has at most {limit} layers here"),
        });
    }
    let image = container.image.clone();
    let mut config = state
        .images
        .get(&image)
        .map(|image| image.config.clone())
        .ok_or_else(|| images::not_found(&image))?;
    config.labels.extend(request.labels.clone());
    let count = u32::try_from(layers.len()).unwrap_or(u32::MAX);
    let number = state.issue();
    let id = images::image_id(&[b"capture", &number.to_le_bytes()]);
    state.images.insert(
        id.clone(),
        StoredImage {
            names: BTreeSet::from([name]),
            config,
            layers,
        },
    );
    let capture = Stored {
        image: id,
        owned: true,
    }
    .write();
    Ok((
        Captured {
            capture,
            size_bytes,
            layers: count,
        },
        paused,
    ))
}

pub(super) fn lost(image: &ImageId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Capture,
        name: image.to_string(),
    }
}

fn describe(state: &State, image: &ImageId) -> Result<Image> {
    let stored = state.images.get(image).ok_or_else(|| lost(image))?;
    Ok(stored.describe(image))
}

pub(super) fn name_taken(name: String) -> RuntimeError {
    RuntimeError::Conflict {
        object: ObjectKind::Image,
        name,
        reason: "the name is taken".into(),
    }
}

fn create(state: &mut State, image: &ImageId, request: &LaunchRequest) -> Result<ContainerId> {
    if state
        .container(&ContainerId::new(request.name.as_str()))
        .is_some()
    {
        return Err(RuntimeError::Conflict {
            object: ObjectKind::Container,
            name: request.name.clone(),
            reason: "the name is taken".into(),
        });
    }
    let number = state.issue();
    let Some(stored) = state.images.get(image) else {
        return Err(lost(image));
    };
    let id = ContainerId::new(State::digest(&[b"container", &number.to_le_bytes()]));
    let mut tree = Tree {
        base: stored.layers.clone(),
        ..Tree::default()
    };
    let argv = settings::argv(&request.spec, &stored.config)?;
    // Volumes are made last: a refused request leaves none behind.
    let mut volumes = state.volumes.clone();
    settings::mount(
        &mut tree,
        &mut volumes,
        &request.spec.mounts,
        &stored.config.volumes,
    )?;
    let circumstances = settings::circumstances(&request.spec, &stored.config, id.short(), &tree)?;
    if program::look_up(&argv, &tree, &volumes) != Lookup::Found {
        return Err(RuntimeError::StartFailed {
            command: argv.join(" "),
            reason: "no such program in the fake's vocabulary".into(),
        });
    }
    let mut labels = stored.config.labels.clone();
    labels.extend(request.labels.clone());
    state.volumes = volumes;
    state.containers.insert(
        id.clone(),
        StoredContainer {
            id: id.clone(),
            name: request.name.clone(),
            image: image.clone(),
            labels,
            spec: request.spec.clone(),
            argv,
            circumstances,
            tree,
            publish: request.publish.clone(),
            listeners: Vec::new(),
            state: ContainerState::Created,
            run: 0,
            pid: None,
            polite: false,
            log: Vec::new(),
        },
    );
    Ok(id)
}

/// Starts a container that does not run, and drives its first process from then on.
pub(super) fn start(shared: &Arc<Shared>, id: &ContainerId) -> Result<()> {
    let begun = shared.write(|state| {
        let pid = 1000 + state.issue();
        let container = state.container_mut(id)?;
        match container.state {
            ContainerState::Running => return Ok(None),
            ContainerState::Paused => return Err(container.wrong_state("start")),
            ContainerState::Created | ContainerState::Exited { .. } => {}
        }
        container.listeners = images::listen(&container.publish)?;
        container.state = ContainerState::Running;
        container.run += 1;
        container.tree.lose_memory();
        container.pid = Some(pid);
        let run = Run {
            container: container.id.clone(),
            number: container.run,
        };
        let mut process = Process::new(&container.argv, container.circumstances.clone());
        let progress = exec::advance(state, &run.container, &mut process, &Sink::Log);
        if let Progress::Ended(code) = progress {
            state.container_mut(id)?.end(code);
            return Ok(None);
        }
        Ok(Some((run, process, progress)))
    })?;
    if let Some((run, process, progress)) = begun {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let process = Arc::new(Mutex::new(process));
            let code = exec::drive(
                Arc::clone(&shared),
                run.clone(),
                process,
                Sink::Log,
                None,
                progress,
            )
            .await;
            shared.write(|state| {
                if let Some(container) = state.containers.get_mut(&run.container)
                    && container.run == run.number
                    && container.is_up()
                {
                    container.end(code);
                }
            });
        });
    }
    Ok(())
}
