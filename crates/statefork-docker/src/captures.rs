//! Captures: images that the daemon commits from containers.
//!
//! The daemon does not remove an image that others stand on, and a name that is taken off it
//! leaves it for `docker image prune`, or for the removal of one that stands on it, which then
//! also takes an untagged base image of the user's. So a capture that cannot go yet waits under a
//! name of its own ([`WAITING`]), which, unlike labels, nothing inherits; each later removal looks
//! whether one that waits can go.

use std::time::Instant;

use async_trait::async_trait;
use bollard::models::{ContainerConfig, ContainerInspectResponse, ImageInspect};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, ListImagesOptions, StartContainerOptions,
    TagImageOptions,
};
use serde::{Deserialize, Serialize};
use statefork_runtime::{
    Capture, CaptureRequest, Captured, Captures, Container, ContainerId, ContainerState,
    Containers, FlattenRequest, ImageId, Images, LaunchRequest, Network, ObjectKind, Phase, Phases,
    RebaseRequest, Result, RuntimeError,
};

use crate::commit::{self, Plan};
use crate::failure::Failure;
use crate::message::{self, Refusal};
use crate::runtime::LAYER_LIMIT;
use crate::{DockerRuntime, NAME, containers, describe, freeze, images, names, spec};

/// Version of [`Stored`].
const FORMAT: u32 = 1;

/// What the daemon says of a program of its own that it could not ask for its version.
const NO_VERSION: &str = "N/A";

/// The repository of captures that were removed and that others still stand on. No environment has
/// a slash in its name, so that none stores its captures there.
const WAITING: &str = "statefork.local/docker/removed";

/// Whether it is the name of an image that waits until nothing stands on it.
pub(crate) fn is_waiting(name: &str) -> bool {
    name.strip_prefix(WAITING)
        .is_some_and(|tag| tag.starts_with(':'))
}

/// What a capture says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The image that holds it.
    pub(crate) image: ImageId,
    /// The name that was made for it; absent for an image as it stood, which is not ours.
    pub(crate) name: Option<String>,
}

impl Stored {
    pub(crate) fn write(&self) -> Capture {
        Capture {
            format: FORMAT,
            data: serde_json::json!(self),
        }
    }

    pub(crate) fn read(capture: &Capture) -> Result<Self> {
        let damaged = |reason: String| RuntimeError::Damaged {
            what: "capture".into(),
            reason,
        };
        if capture.format > FORMAT {
            return Err(damaged(format!(
                "format {} is newer than {FORMAT}",
                capture.format
            )));
        }
        let stored =
            Self::deserialize(&capture.data).map_err(|error| damaged(error.to_string()))?;
        if names::is_id(stored.image.as_str()) {
            Ok(stored)
        } else {
            Err(damaged(format!("{} is no image id", stored.image)))
        }
    }
}

#[async_trait]
impl Captures for DockerRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        Stored {
            image: image.clone(),
            name: None,
        }
        .write()
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        names::new_image_name(&request.name)?;
        let (found, free) = tokio::join!(
            self.look_to_freeze(container),
            self.expect_free_name(&request.name)
        );
        let found = found?.ok_or_else(|| containers::not_found(container))?;
        free?;
        let base = found.image.as_deref().unwrap_or_default();
        let base = self
            .base_image(base)
            .await?
            .ok_or_else(|| RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: base.to_owned(),
            })?;
        let layers = describe::layers(&base).len();
        if layers >= LAYER_LIMIT as usize {
            return Err(RuntimeError::Unsupported {
                op: "add a layer to the image",
                reason: format!(
                    "it has {layers} layers, and Docker's storage takes {LAYER_LIMIT} in all"
                ),
            });
        }
        let settings = found.config.clone().unwrap_or_default();
        let config = base.config.clone().unwrap_or_default();
        let plan = commit::plan(&config, &settings, &request.labels);
        let made = phases
            .time(Phase::Capture, self.commit(&found, &plan, request, phases))
            .await?;
        let bytes = |image: &ImageInspect| image.size.unwrap_or_default();
        let id = ImageId::new(made.id.clone().unwrap_or_default());
        Ok(Captured {
            capture: Stored {
                image: id,
                name: Some(request.name.clone()),
            }
            .write(),
            size_bytes: u64::try_from(bytes(&made) - bytes(&base)).unwrap_or_default(),
            layers: describe::layer_count(&made),
        })
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let stored = Stored::read(capture)?;
        let id = phases
            .time(Phase::Create, self.create(&stored.image, request))
            .await?;
        let started = phases
            .time(Phase::Start, self.start_new(&id, request))
            .await;
        let error = match started {
            Ok(()) => match self.inspect(&id).await {
                Ok(Some(container)) => return Ok(container),
                Ok(None) => containers::not_found(&id),
                Err(error) => error,
            },
            Err(error) => error,
        };
        Err(error.and_then(self.remove(&id).await))
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        let image = self.image_of(&Stored::read(capture)?).await?;
        Ok(describe::layer_count(&image))
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        self.flatten_chain(capture, request).await
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        self.rebase_chain(capture, request).await
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let stored = Stored::read(capture)?;
        // The daemon counts an image's layers to describe it, and removes none that one needs.
        Ok(self.look_at_image(stored.image.as_str()).await?.is_some())
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let stored = Stored::read(capture)?;
        let Some(name) = &stored.name else {
            return Ok(());
        };
        let Some(image) = self.inspect_image(stored.image.as_str()).await? else {
            return Ok(());
        };
        let ours = names::image_reference(name);
        if image.names.iter().any(|name| Some(name) != ours.as_ref()) {
            // Somebody gave it a name, too, or it already waits: it stays, without ours.
            if let Some(ours) = ours.filter(|ours| image.names.contains(ours)) {
                self.delete_image(&ours, true).await?;
            }
            return Ok(());
        }
        match self.delete_image(stored.image.as_str(), true).await {
            Ok(()) => self.remove_waiting().await,
            Err(failure) if failure.status() == Some(409) => {
                if let Some(user) = self.user_of_image(&stored.image).await? {
                    return Err(images::in_use(name, &user));
                }
                self.let_wait(&stored.image).await?;
                match ours.filter(|ours| image.names.contains(ours)) {
                    Some(ours) => Ok(self.delete_image(&ours, true).await?),
                    None => Ok(()),
                }
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl DockerRuntime {
    /// Commits, and gives the image its configuration where a commit cannot. After an error there
    /// is no image.
    async fn commit(
        &self,
        container: &ContainerInspectResponse,
        plan: &Plan,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<ImageInspect> {
        let pause = request.pause && describe::state(container) == ContainerState::Running;
        let (repository, tag) = names::new_image_name(&request.name)?;
        let named = plan.is_exact;
        let options = CommitContainerOptions {
            container: container.id.clone(),
            repo: named.then_some(repository),
            tag: named.then(|| tag.to_owned()),
            pause,
            ..CommitContainerOptions::default()
        };
        let id = ContainerId::new(container.id.clone().unwrap_or_default());
        let call = self.request_commit(&id, options, &plan.config);
        let committed = if pause {
            phases.time(Phase::Pause, call).await
        } else {
            call.await
        };
        let thawed = match &committed {
            Err(failure) if !failure.is_refusal() => Ok(()),
            _ if pause => self.thaw_what_stayed(container).await,
            _ => Ok(()),
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(failure) if failure.status() == Some(404) => {
                return Err(containers::not_found(&id));
            }
            Err(failure) => {
                return Err(RuntimeError::from(failure).and_then(thawed));
            }
        };
        let finished = match thawed {
            Ok(()) => self.finish(&committed, plan, request).await,
            Err(error) => Err(error),
        };
        let (made, leftover) = match finished {
            Ok(made) if named => return Ok(made),
            Ok(made) => (Ok(made), committed),
            Err(error) => (Err(error), committed),
        };
        // Its layers stay with the image that took its place, if there is one.
        let removed = self.delete_image(&leftover, true).await;
        let removed = removed.map_err(RuntimeError::from);
        match made {
            Ok(made) => removed.map(|()| made),
            Err(first) => Err(first.and_then(removed)),
        }
    }

    /// Asks for a commit, again where the OCI runtime gave its freeze up, or where containerd's shim
    /// wrongly takes the container for frozen, until the daemon can be brought to agree with it.
    async fn request_commit(
        &self,
        container: &ContainerId,
        options: CommitContainerOptions,
        config: &ContainerConfig,
    ) -> Result<String, Failure> {
        let docker = self.client.docker()?;
        let begun = Instant::now();
        let mut attempt = 1;
        loop {
            let call = docker.commit_container(options.clone(), config.clone());
            let failure = match self.client.bounded("commit the container", call).await {
                Ok(committed) => return Ok(committed.id),
                Err(failure) => failure,
            };
            let said = |words: fn(&str) -> bool| failure.said().is_some_and(words);
            if said(message::is_freeze_given_up) && attempt < freeze::ATTEMPTS {
                attempt += 1;
                tokio::time::sleep(freeze::BETWEEN).await;
            } else if said(message::is_frozen_already) && begun.elapsed() < freeze::NEWS {
                tokio::time::sleep(freeze::BETWEEN_LOOKS).await;
                // A daemon that cannot be asked any more will not commit either.
                if self.agree(container).await.is_err() {
                    return Err(failure);
                }
            } else {
                return Err(failure);
            }
        }
    }

    async fn finish(
        &self,
        committed: &str,
        plan: &Plan,
        request: &CaptureRequest,
    ) -> Result<ImageInspect> {
        let lost = || RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: committed.to_owned(),
        };
        let image = self.look_at_image(committed).await?.ok_or_else(lost)?;
        if plan.is_exact {
            return Ok(image);
        }
        let id = self
            .reconfigure(&image, &plan.wanted, &request.name)
            .await?;
        self.look_at_image(id.as_str()).await?.ok_or_else(lost)
    }

    async fn create(&self, image: &ImageId, request: &LaunchRequest) -> Result<ContainerId> {
        let mut body = spec::create_body(image.as_str(), request)?;
        let lost = || RuntimeError::NotFound {
            object: ObjectKind::Capture,
            name: image.to_string(),
        };
        if request.spec.command.as_ref().is_some_and(Vec::is_empty) && body.entrypoint.is_none() {
            // "No arguments", which the daemon would take for "those of the image": it takes them
            // over only together with the entry point.
            let base = self.base_image(image.as_str()).await?.ok_or_else(lost)?;
            body.entrypoint = base.config.as_ref().and_then(|c| c.entrypoint.clone());
        }
        let options = CreateContainerOptions {
            name: Some(request.name.clone()),
            ..CreateContainerOptions::default()
        };
        let docker = self.client.docker()?;
        let call = docker.create_container(Some(options), body);
        match self.client.bounded("create the container", call).await {
            Ok(created) => Ok(ContainerId::new(created.id)),
            Err(failure) => Err(match failure.status() {
                Some(404) if matches!(request.spec.network, Network::Named(_)) => {
                    // Either may be what is not there.
                    match self.look_at_image(image.as_str()).await? {
                        Some(_) => no_network(request, &failure),
                        None => lost(),
                    }
                }
                Some(404) => lost(),
                Some(409) => RuntimeError::Conflict {
                    object: ObjectKind::Container,
                    name: request.name.clone(),
                    reason: "the name is taken".into(),
                },
                Some(400) => RuntimeError::Invalid {
                    what: format!("the settings of container {}", request.name),
                    reason: failure.said().unwrap_or_default().to_owned(),
                },
                _ => failure.into(),
            }),
        }
    }

    async fn start_new(&self, id: &ContainerId, request: &LaunchRequest) -> Result<()> {
        let docker = self.client.docker()?;
        let call = docker.start_container(id.as_str(), None::<StartContainerOptions>);
        let Err(failure) = self.client.bounded("start the container", call).await else {
            return Ok(());
        };
        if !failure.is_refusal() {
            return Err(failure.into());
        }
        let reason = failure.said().unwrap_or_default().to_owned();
        if failure.status() == Some(404) && matches!(request.spec.network, Network::Named(_)) {
            return Err(no_network(request, &failure));
        }
        if message::refusal(&reason) == Refusal::User {
            let user = request.spec.user.as_deref();
            return Err(RuntimeError::Invalid {
                what: format!("user {}", user.unwrap_or("of the image")),
                reason,
            });
        }
        if request.spec.init && self.lacks_init().await? {
            return Err(RuntimeError::ProgramMissing {
                op: "start a container with an init process",
                runtime: NAME,
                program: "docker-init",
                package: "tini",
            });
        }
        let found = self.look(id).await?;
        let found = found.ok_or_else(|| containers::not_found(id))?;
        Err(RuntimeError::StartFailed {
            command: describe::command(&found),
            reason,
        })
    }

    /// Whether the daemon could not run the program that is process 1 where one is asked for.
    async fn lacks_init(&self) -> Result<bool> {
        let docker = self.client.docker()?;
        let info = self
            .client
            .bounded("ask the daemon for its init program", docker.info());
        let version = info.await?.init_commit.and_then(|commit| commit.id);
        Ok(version.as_deref() == Some(NO_VERSION))
    }

    /// Gives an image that others stand on the name under which it waits.
    pub(crate) async fn let_wait(&self, image: &ImageId) -> Result<()> {
        let options = TagImageOptions {
            repo: Some(WAITING.to_owned()),
            tag: Some(image.short().to_owned()),
        };
        let docker = self.client.docker()?;
        let call = docker.tag_image(image.as_str(), Some(options));
        Ok(self.client.bounded("name the image", call).await?)
    }

    /// Removes what waited for nothing else than what has just gone.
    pub(crate) async fn remove_waiting(&self) -> Result<()> {
        loop {
            let options = ListImagesOptions {
                filters: Some([("reference".to_owned(), vec![WAITING.to_owned()])].into()),
                ..ListImagesOptions::default()
            };
            let docker = self.client.docker()?;
            let call = docker.list_images(Some(options));
            let waiting = self.client.bounded("list images", call).await?;
            let mut removed = false;
            for image in waiting {
                match self.delete_image(&image.id, true).await {
                    Ok(()) => removed = true,
                    // Something still stands on it.
                    Err(failure) if failure.status() == Some(409) => {}
                    Err(failure) => return Err(failure.into()),
                }
            }
            if !removed {
                return Ok(());
            }
        }
    }
}

/// The error for a network that is not there.
fn no_network(request: &LaunchRequest, failure: &Failure) -> RuntimeError {
    RuntimeError::Invalid {
        what: match &request.spec.network {
            Network::Named(name) => format!("network {name}"),
            _ => "the network".to_owned(),
        },
        reason: failure.said().unwrap_or_default().to_owned(),
    }
}
