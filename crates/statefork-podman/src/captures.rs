//! Captures: images that the service commits.

use async_trait::async_trait;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use statefork_runtime::{
    Capture, CaptureRequest, Captured, Captures, Container, ContainerId, ContainerState,
    Containers, FlattenRequest, ImageId, Images, LaunchRequest, Network, ObjectKind, Phase, Phases,
    RebaseRequest, Result, RuntimeError,
};

use crate::cause::Cause;
use crate::client::no_container;
use crate::fault::Fault;
use crate::launch::create_request;
use crate::name::ImageName;
use crate::plan::Plan;
use crate::raw::{Payload, encode, query};
use crate::rewrite::{self, Draft};
use crate::{LAYER_LIMIT, NAME, PodmanRuntime, rlimits};

/// Version of [`Stored`] in [`Capture::data`].
const FORMAT: u32 = 1;
const CAPTURE: &str = "capture a container";
const LAUNCH: &str = "create a container";

/// What a capture says.
pub(crate) struct Stored {
    /// The image that holds it.
    pub(crate) image: ImageId,
    /// Whether the image was made for the capture, and goes with it.
    pub(crate) owned: bool,
}

impl Stored {
    pub(crate) fn write(self) -> Capture {
        Capture {
            format: FORMAT,
            data: json!({"image": self.image, "owned": self.owned}),
        }
    }

    pub(crate) fn read(capture: &Capture) -> Result<Self> {
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

/// The answer to a commit, and to a create request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

#[async_trait]
impl Captures for PodmanRuntime {
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
        let name = ImageName::parse(&request.name)?;
        let (found, free) = tokio::join!(self.look(container), self.expect_free_name(&name));
        let found = found?.ok_or_else(|| no_container(container))?;
        free?;
        let base = self.inspect_image(found.image()).await?;
        let base = base.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: found.image().into(),
        })?;
        // A commit beyond the limit succeeds, and nothing can be launched from it.
        if base.layers >= LAYER_LIMIT {
            return Err(RuntimeError::Unsupported {
                op: "add a layer to an image",
                reason: format!("an image has at most {LAYER_LIMIT} layers here"),
            });
        }
        let pauses = request.pause && found.state() == ContainerState::Running;
        let id = found.id.clone();
        let plan = Plan::new(&found.settings(), &base.config, &request.labels);

        let commit = || self.commit(&id, &name, pauses, &plan);
        let committing = async {
            match self.freezing(container, &commit).await {
                // An image with a layer of the same content was removed meanwhile, and took it along.
                Err(fault) if fault.cause() == Cause::NoLayer => commit().await,
                committed => committed,
            }
        };
        let storing = async {
            let committed = match pauses {
                true => phases.time(Phase::Pause, committing).await,
                false => committing.await,
            };
            match committed {
                Ok(id) if plan.by_commit => Ok(id),
                Ok(id) => self.replace(id, &base.id, &plan, &name).await,
                Err(fault) => Err(self.client.container_error(CAPTURE, container, fault)),
            }
        };
        let image = phases.time(Phase::Capture, storing).await?;
        let size_bytes = match self.upper_layer_bytes(&image, 1).await {
            Ok(size) => size,
            Err(error) => return Err(self.undo_image(&image, error).await),
        };
        let image = ImageId::new(image);
        let capture = Stored { image, owned: true }.write();
        Ok(Captured {
            capture,
            size_bytes,
            // A commit always adds one.
            layers: base.layers + 1,
        })
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let stored = Stored::read(capture)?;
        let rlimits = rlimits::to_ask_for(self.client.raw.socket()).await;
        let request = &self.without_arguments(&stored.image, request).await?;
        let body = create_request(stored.image.as_str(), request, rlimits)?;
        let raw = &self.client.raw;
        let path = "/containers/create";
        let call = raw.json::<Made>(Method::POST, path, Payload::Json(body));
        let call = self.client.call(call);
        let created = phases.time(Phase::Create, call).await;
        let created = created.map_err(|fault| self.create_error(&stored.image, request, fault))?;
        let id = ContainerId::new(created.id);
        let call = self.request_start(&id);
        let started = match phases.time(Phase::Start, call).await {
            Ok(()) => {
                let announced = self.announce_bridge(&request.spec.network);
                tokio::join!(self.must_look(&id), announced).0
            }
            Err(fault) => match self.start_failure(&id, &fault).await {
                Ok(Some(error)) | Err(error) => Err(error),
                Ok(None) => Err(self.client.container_error("start a container", &id, fault)),
            },
        };
        match started {
            Ok(container) => Ok(container),
            Err(first) => {
                // It would also keep its published ports bound in the service.
                Err(first.and_then(self.remove(&id).await))
            }
        }
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        let image = Stored::read(capture)?.image;
        let found = self.inspect_image(image.as_str()).await?;
        let found = found.ok_or_else(|| lost(&image))?;
        Ok(found.layers)
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        self.flatten_chain(capture, request).await
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        self.rebase_chain(capture, request).await
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let stored = Stored::read(capture)?;
        let handle = self.client.image(stored.image.as_str());
        // The service counts the bytes of an image's layers to describe it.
        match self.client.read(|| handle.inspect()).await {
            Ok(_) => Ok(true),
            Err(fault) if matches!(fault.cause(), Cause::NoImage | Cause::NoLayer) => Ok(false),
            Err(fault) => Err(self.client.error("inspect an image", fault)),
        }
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let stored = Stored::read(capture)?;
        if !stored.owned {
            return Ok(());
        }
        self.delete_image(stored.image.as_str(), ObjectKind::Capture)
            .await
    }
}

impl PodmanRuntime {
    /// Commits a container; the id of the image. It gets the name only if it stays.
    async fn commit(
        &self,
        container: &str,
        name: &ImageName<'_>,
        pause: bool,
        plan: &Plan,
    ) -> Result<String, Fault> {
        let pause = pause.to_string();
        let mut pairs = vec![
            ("container", container),
            ("pause", &pause),
            ("format", "docker"),
        ];
        if plan.by_commit {
            pairs.extend([("repo", name.repository), ("tag", name.tag)]);
        }
        // One that is only to be rewritten has its labels all the same: if we end in between, it
        // is found by them.
        let changes = plan
            .changes
            .iter()
            .filter(|change| plan.by_commit || change.starts_with("LABEL "));
        pairs.extend(changes.map(|change| ("changes", &**change)));
        let path = format!("/commit{}", query(&pairs));
        let raw = &self.client.raw;
        let call = raw.json::<Made>(Method::POST, &path, Payload::Empty);
        Ok(self.client.call(call).await?.id)
    }

    /// Replaces a committed image by one with the configuration of its base, the plan's labels and
    /// a name; the id of that.
    async fn replace(
        &self,
        image: String,
        base: &ImageId,
        plan: &Plan,
        name: &ImageName<'_>,
    ) -> Result<String> {
        let made = async {
            let path = |image| format!("/images/{}/json", encode(image));
            let (image, base) = (path(&image), path(base.as_str()));
            let (image, base) = tokio::try_join!(
                self.client.get::<Value>(&image),
                self.client.get::<Value>(&base),
            )
            .map_err(|fault| self.client.error(CAPTURE, fault))?;
            let draft = Draft {
                settings: rewrite::settings(&base, &plan.labels),
                layers: rewrite::layers(&image),
                upper_bytes: Vec::new(),
                history: image["History"].clone(),
                image,
            };
            let documents = rewrite::documents(&draft, name);
            let archive = rewrite::archive(&documents.files);
            let archive = archive.map_err(|error| RuntimeError::Daemon {
                op: CAPTURE,
                status: None,
                message: "the image archive could not be made".into(),
                source: Some(error.into()),
            })?;
            let raw = &self.client.raw;
            let call = raw.send(Method::POST, "/images/load", Payload::Tar(archive));
            let loaded = self.client.call(call).await;
            loaded.map_err(|fault| self.client.error(CAPTURE, fault))?;
            Ok(documents.id)
        };
        match made.await {
            Ok(id) => match self.delete_image(&image, ObjectKind::Capture).await {
                Ok(()) => Ok(id),
                Err(error) => Err(self.undo_image(&id, error).await),
            },
            Err(error) => Err(self.undo_image(&image, error).await),
        }
    }

    /// Errors: `Conflict` if an image has this name; a commit or a load would take it away.
    pub(crate) async fn expect_free_name(&self, name: &ImageName<'_>) -> Result<()> {
        let name = name.to_string();
        let handle = self.client.image(&name);
        let taken = self.client.call(handle.exists()).await;
        if taken.map_err(|fault| self.client.error("look an image up", fault))? {
            return Err(RuntimeError::Conflict {
                object: ObjectKind::Image,
                name,
                reason: "the name is taken".into(),
            });
        }
        Ok(())
    }

    /// Bytes of an image's uppermost `count` layers.
    pub(crate) async fn upper_layer_bytes(&self, image: &str, count: usize) -> Result<u64> {
        let handle = self.client.image(image);
        let history = self.client.read(|| handle.history()).await;
        let history = history.map_err(|fault| self.client.error(CAPTURE, fault))?;
        let sizes = history.iter().take(count).filter_map(|entry| entry.size);
        Ok(sizes.filter_map(|size| u64::try_from(size).ok()).sum())
    }

    /// A request whose command is empty, so that the image's arguments count for nothing, has the
    /// image's entry point as its own: Podman takes an empty command for none that was given.
    async fn without_arguments(
        &self,
        image: &ImageId,
        request: &LaunchRequest,
    ) -> Result<LaunchRequest> {
        let mut request = request.clone();
        let spec = &mut request.spec;
        if spec.entrypoint.is_none() && spec.command.as_ref().is_some_and(Vec::is_empty) {
            let base = self.inspect_image(image.as_str()).await?;
            spec.entrypoint = base.map(|base| base.config.entrypoint);
        }
        Ok(request)
    }

    pub(crate) async fn undo_image(&self, image: &str, first: RuntimeError) -> RuntimeError {
        first.and_then(self.delete_image(image, ObjectKind::Capture).await)
    }

    fn create_error(&self, image: &ImageId, request: &LaunchRequest, fault: Fault) -> RuntimeError {
        match fault.cause() {
            Cause::NoImage => lost(image),
            Cause::NameTaken => RuntimeError::Conflict {
                object: ObjectKind::Container,
                name: request.name.clone(),
                reason: "the name is taken".into(),
            },
            Cause::NoNetwork => RuntimeError::Invalid {
                what: match &request.spec.network {
                    Network::Named(name) => format!("network {name}"),
                    _ => "the network".into(),
                },
                reason: fault.message(),
            },
            Cause::NoInit => RuntimeError::ProgramMissing {
                op: "start a container with an init process",
                runtime: NAME,
                program: "catatonit",
                package: "catatonit",
            },
            Cause::Setting => RuntimeError::Invalid {
                what: format!("the settings of container {}", request.name),
                reason: fault.message(),
            },
            _ => self.client.error(LAUNCH, fault),
        }
    }
}

/// The error for a capture that the service has lost.
pub(crate) fn lost(image: &ImageId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Capture,
        name: image.to_string(),
    }
}
