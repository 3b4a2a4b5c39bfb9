//! What a case works with: a runtime, names that nobody else uses, and waits that end.

mod look;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use statefork_runtime::{
    ByteStream, Capabilities, Capture, CaptureRequest, Captured, Container, ContainerId,
    ContainerSpec, FlattenRequest, Found, HomeId, ImageId, Labels, LaunchRequest, ObjectId,
    ObjectType, Owner, Phases, PrepareRequest, RebaseRequest, Result, Runtime,
};
use tempfile::TempDir;

pub(crate) use self::look::{as_text, collect};
use crate::case::{Failure, Outcome};
use crate::image::Draft;
use crate::suite::Shared;

/// What a case has made.
#[derive(Default)]
struct Made {
    containers: Vec<String>,
    captures: Vec<Capture>,
    images: Vec<String>,
    dirs: Vec<TempDir>,
}

/// What a case works with.
pub(crate) struct Fixture {
    shared: Arc<Shared>,
    /// Whose everything is that the case makes.
    pub(crate) home: HomeId,
    token: String,
    count: AtomicU32,
    made: Mutex<Made>,
}

/// A stream that gives all of `bytes` at once.
pub(crate) fn one_piece(bytes: Vec<u8>) -> ByteStream {
    stream::once(async move { Ok(Bytes::from(bytes)) }).boxed()
}

impl Fixture {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let token = format!("{:016x}", rand::random::<u64>());
        Self {
            shared,
            home: HomeId::new(format!("conformance-{token}")),
            token,
            count: AtomicU32::new(0),
            made: Mutex::default(),
        }
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.shared.runtime
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// The image that containers are launched from.
    pub(crate) fn image(&self) -> &ImageId {
        &self.shared.image
    }

    /// The same as a capture.
    pub(crate) fn base(&self) -> Capture {
        self.runtime().of_image(self.image())
    }

    fn next(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An unused name for a container; what gets it is removed at the end.
    pub(crate) fn container_name(&self) -> String {
        let name = format!("statefork-conformance-{}-{}", self.token, self.next());
        self.made().containers.push(name.clone());
        name
    }

    /// An unused name for an image; what gets it is removed at the end.
    pub(crate) fn image_name(&self) -> String {
        let name = format!("statefork.local/conformance:{}-{}", self.token, self.next());
        self.made().images.push(name.clone());
        name
    }

    /// The name of a container or an image that never exists.
    pub(crate) fn absent(&self) -> String {
        format!("statefork-conformance-{}-absent", self.token)
    }

    /// A folder of the host, removed at the end.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        let dir = TempDir::with_prefix("statefork-conformance-")?;
        let path = dir.path().to_owned();
        self.made().dirs.push(dir);
        Ok(path)
    }

    /// The labels of a new object of this case.
    pub(crate) fn labels(&self, kind: ObjectType) -> Labels {
        let object = ObjectId::new(format!("{}-{}", self.token, self.next()));
        Owner {
            home: self.home.clone(),
            environment: "conformance".into(),
            object,
        }
        .labels(kind)
    }

    /// The arguments that run a line of the vocabulary (`write /a text ; serve`).
    pub(crate) fn argv(&self, line: &str) -> Vec<String> {
        self.shared.base.argv(line)
    }

    /// The arguments that run a script of the image's shell; where the runtime runs programs.
    pub(crate) fn shell(&self, script: &str) -> Vec<String> {
        vec!["/bin/sh".into(), "-c".into(), script.into()]
    }

    /// The settings of a container that runs a line of the vocabulary.
    pub(crate) fn spec(&self, line: &str) -> ContainerSpec {
        ContainerSpec {
            command: Some(self.argv(line)),
            ..ContainerSpec::default()
        }
    }

    /// A request for a container, under an unused name.
    pub(crate) fn launch_request(&self, spec: ContainerSpec) -> LaunchRequest {
        LaunchRequest {
            name: self.container_name(),
            spec,
            labels: self.labels(ObjectType::Container),
            publish: Vec::new(),
        }
    }

    /// A request for a capture that pauses where the runtime can, under an unused name.
    pub(crate) fn capture_request(&self) -> CaptureRequest {
        CaptureRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Capture),
            pause: self.capabilities().pause.is_yes(),
        }
    }

    /// A request for a flattened capture that stands on `base`, under an unused name.
    pub(crate) fn flatten_request(&self, base: &Capture) -> FlattenRequest {
        FlattenRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Capture),
            base: base.clone(),
        }
    }

    /// A request for a prepared image, under an unused name.
    pub(crate) fn prepare_request(&self) -> PrepareRequest {
        PrepareRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Prepared),
        }
    }

    /// Imports an image like the base image under an unused name, with other settings.
    pub(crate) async fn import(&self, mut draft: Draft<'_>) -> Outcome<(ImageId, String)> {
        let name = self.image_name();
        draft.names.push(name.clone());
        draft.labels.extend(self.labels(ObjectType::Build));
        let archive = self.shared.base.archive(&draft)?;
        let id = self.runtime().import_image(one_piece(archive)).await?;
        Ok((id, name))
    }

    /// A container of the base image that runs a line of the vocabulary.
    pub(crate) async fn launch(&self, line: &str) -> Result<Container> {
        self.launch_from(&self.base(), self.spec(line)).await
    }

    /// A container of a capture.
    pub(crate) async fn launch_from(
        &self,
        capture: &Capture,
        spec: ContainerSpec,
    ) -> Result<Container> {
        let request = self.launch_request(spec);
        self.runtime()
            .launch(capture, &request, &Phases::new())
            .await
    }

    /// Captures a container.
    pub(crate) async fn capture(&self, container: &Container) -> Result<Capture> {
        let captured = self
            .capture_as(&container.id, &self.capture_request())
            .await?;
        Ok(captured.capture)
    }

    /// Captures a container as asked.
    pub(crate) async fn capture_as(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
    ) -> Result<Captured> {
        let captured = self
            .runtime()
            .capture(container, request, &Phases::new())
            .await?;
        self.made().captures.push(captured.capture.clone());
        Ok(captured)
    }

    /// Flattens a capture as asked.
    pub(crate) async fn flatten_as(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> Result<Captured> {
        let flattened = self.runtime().flatten(capture, request).await?;
        self.made().captures.push(flattened.capture.clone());
        Ok(flattened)
    }

    /// A request for a rebased capture under an unused name.
    pub(crate) fn rebase_request(&self, from: &Capture, onto: &Capture) -> RebaseRequest {
        RebaseRequest {
            name: self.image_name(),
            labels: self.labels(ObjectType::Capture),
            from: from.clone(),
            onto: onto.clone(),
        }
    }

    /// Rebases a capture as asked.
    pub(crate) async fn rebase_as(
        &self,
        capture: &Capture,
        request: &RebaseRequest,
    ) -> Result<Captured> {
        let rebased = self.runtime().rebase(capture, request).await?;
        self.made().captures.push(rebased.capture.clone());
        Ok(rebased)
    }

    /// Removes all that the case has made, and checks that nothing with its label remains; goes on
    /// after a failure and reports the first.
    pub(crate) async fn clean_up(&self) -> Outcome {
        let made = std::mem::take(&mut *self.made());
        let mut first = Ok(());
        for name in made.containers {
            let removed = self.runtime().remove(&ContainerId::new(name)).await;
            first = first.and(removed.map_err(Failure::from));
        }
        for capture in made.captures.iter().rev() {
            let removed = self.runtime().remove_capture(capture).await;
            first = first.and(removed.map_err(Failure::from));
        }
        for name in made.images.iter().rev() {
            let removed = self.runtime().remove_image(name).await;
            first = first.and(removed.map_err(Failure::from));
        }
        first?;
        let remains = self.runtime().find(&self.home).await?;
        for found in &remains {
            match found {
                Found::Container { id, .. } => self.runtime().remove(id).await?,
                Found::Image { name, .. } => self.runtime().remove_image(name).await?,
            }
        }
        if remains.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "it had to remove what no case knows of: {remains:?}"
            )))
        }
    }
}
