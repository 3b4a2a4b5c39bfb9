//! Images: look up, load, prepare, remove. Building is in `build`.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::{
    ImportImageOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use statefork_runtime::{
    BuildRequest, ByteStream, Image, ImageId, Images, ObjectKind, PrepareRequest, Result,
    RuntimeError, named_images,
};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::{DockerRuntime, archive, captures, commit, describe, message, names};

/// How many images are looked at at the same time for a list of them.
const LOOKS_AT_ONCE: usize = 8;

/// How many pieces of an archive wait for whoever reads it.
const PIECES_AHEAD: usize = 4;

#[async_trait]
impl Images for DockerRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        let Some(reference) = names::image_reference(name) else {
            return Ok(None);
        };
        Ok(self.look_at_image(&reference).await?.map(describe::image))
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let docker = self.client.docker()?;
        let call = docker.list_images(None::<ListImagesOptions>);
        let listed = self.client.bounded("list images", call).await?;
        // Only a description has the layers and the configuration.
        let described = futures_util::stream::iter(listed)
            .map(|image| async move { self.look_at_image(&image.id).await })
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect::<Vec<_>>();
        let images = described.await?.into_iter().flatten().map(describe::image);
        Ok(named_images(images))
    }

    async fn build_image(
        &self,
        request: BuildRequest,
        progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId> {
        self.build(request, progress).await
    }

    async fn import_image(&self, archive: ByteStream) -> Result<ImageId> {
        let invalid = |reason: String| RuntimeError::Invalid {
            what: "image archive".into(),
            reason,
        };
        // An error of the source ends the request in the middle; the client only knows that.
        let broken = Arc::new(Mutex::new(None));
        let watched = archive.map_err({
            let broken = Arc::clone(&broken);
            move |error: io::Error| {
                let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
                *broken = Some(error.to_string());
                error
            }
        });
        let loaded = self.load("load the image", watched).await;
        if let Some(reason) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(invalid(reason));
        }
        let names = match loaded {
            Ok(names) => names,
            // Whatever the daemon finds wrong with it: it gives no status for it.
            Err(failure) if failure.is_refusal() => {
                return Err(invalid(failure.said().unwrap_or_default().to_owned()));
            }
            Err(failure) => return Err(failure.into()),
        };
        let mut ids = Vec::new();
        for name in &names {
            if let Some(image) = self.inspect_image(name).await?
                && !ids.contains(&image.id)
            {
                ids.push(image.id);
            }
        }
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(invalid("it holds no image".into())),
            _ => Err(invalid(format!(
                "it holds several images, which are loaded now: {}",
                names.join(", ")
            ))),
        }
    }

    async fn export_image(&self, name: &str) -> Result<ByteStream> {
        let not_found = || RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: name.to_owned(),
        };
        let reference = names::image_reference(name).ok_or_else(not_found)?;
        let found = self.look_at_image(&reference).await?;
        found.ok_or_else(not_found)?;
        let docker = self.client.docker()?.clone();
        let (to, mut from) = mpsc::channel(PIECES_AHEAD);
        // The client's stream is bound to the client, and so lives in a task with one.
        tokio::spawn(async move {
            let mut saved = pin!(docker.export_image(&reference));
            while let Some(piece) = saved.next().await {
                if to.send(piece.map_err(io::Error::other)).await.is_err() {
                    break;
                }
            }
        });
        Ok(futures_util::stream::poll_fn(move |context| from.poll_recv(context)).boxed())
    }

    async fn prepare_image(&self, image: &ImageId, request: &PrepareRequest) -> Result<ImageId> {
        names::new_image_name(&request.name)?;
        let found = match names::is_id(image.as_str()) {
            true => self.look_at_image(image.as_str()).await?,
            false => None,
        };
        let Some(found) = found else {
            return Err(RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: image.to_string(),
            });
        };
        let config = found.config.clone().unwrap_or_default();
        if config.volumes.as_ref().is_none_or(Vec::is_empty) {
            return Ok(image.clone());
        }
        self.expect_free_name(&request.name).await?;
        let without_volumes = ImageConfig {
            volumes: None,
            ..commit::with_labels(&config, &request.labels)
        };
        self.reconfigure(&found, &without_volumes, &request.name)
            .await
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        let Some(reference) = names::image_reference(name) else {
            return Ok(());
        };
        if captures::is_waiting(&reference) {
            return self.remove_waiting().await;
        }
        let Some(image) = self.inspect_image(&reference).await? else {
            return Ok(());
        };
        if let Err(failure) = self.delete_image(&reference, false).await {
            if failure.status() != Some(409) {
                return Err(failure.into());
            }
            if let Some(user) = self.user_of_image(&image.id).await? {
                return Err(in_use(name, &user));
            }
            if !names::is_id(&reference) {
                return Err(failure.into());
            }
            // By id the daemon refuses an image with names in several repositories, and one that
            // others stand on.
            for name in &image.names {
                self.delete_image(name, false).await?;
            }
        }
        // Without names it would stay for good where it is a capture that goes last.
        match self.inspect_image(image.id.as_str()).await? {
            Some(left) if left.names.is_empty() => self.let_wait(&image.id).await,
            _ => Ok(()),
        }
    }
}

impl DockerRuntime {
    /// The image; `reference` is an id or a name in full. `None` when absent.
    pub(crate) async fn look_at_image(
        &self,
        reference: &str,
    ) -> Result<Option<ImageInspect>, Failure> {
        let docker = self.client.docker()?;
        let call = docker.inspect_image(reference);
        match self.client.bounded("inspect the image", call).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.status() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Errors: `Conflict` if an image has this name; the daemon would take it away silently.
    pub(crate) async fn expect_free_name(&self, name: &str) -> Result<()> {
        match self.inspect_image(name).await? {
            None => Ok(()),
            Some(image) => Err(RuntimeError::Conflict {
                object: ObjectKind::Image,
                name: name.to_owned(),
                reason: format!("the name is taken by {}", image.id.short()),
            }),
        }
    }

    /// Makes an image from the layers of another and `config`, under a name.
    pub(crate) async fn reconfigure(
        &self,
        image: &ImageInspect,
        config: &ImageConfig,
        name: &str,
    ) -> Result<ImageId> {
        let op = "give the image another configuration";
        let unsupported = |reason: String| RuntimeError::Unsupported { op, reason };
        let archive = archive::of_configuration(image, config, name)
            .map_err(|error| unsupported(error.to_string()))?;
        let archive = futures_util::stream::once(async { Ok(Bytes::from(archive)) });
        let limit = self.client.api_timeout();
        let loaded = tokio::time::timeout(limit, self.load_over_layers(op, archive, name)).await;
        let made = loaded.map_err(|_| RuntimeError::TimedOut { op, after: limit })??;
        Ok(ImageId::new(made.id.unwrap_or_default()))
    }

    /// Loads an archive of an image named `name` that lacks layers which the daemon has. As long
    /// as the archive's source takes, so without a limit. After an error there is no image.
    pub(crate) async fn load_over_layers(
        &self,
        op: &'static str,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        name: &str,
    ) -> Result<ImageInspect> {
        let (repository, tag) = names::new_image_name(name)?;
        let reference = format!("{repository}:{tag}");
        let unsupported = |reason: String| RuntimeError::Unsupported { op, reason };
        match self.load(op, archive).await {
            Ok(_) => {}
            Err(failure) if failure.is_refusal() => {
                return Err(unsupported(format!(
                    "the daemon's image store does not load a configuration without its layers \
                     ({}); the storage driver overlay2 does",
                    failure.said().unwrap_or_default()
                )));
            }
            Err(failure) => return Err(failure.into()),
        }
        match self.look_at_image(&reference).await {
            Ok(Some(made)) => Ok(made),
            Ok(None) => Err(unsupported(
                "the daemon loaded it without an error and lacks it".into(),
            )),
            Err(first) => {
                let removed = self.delete_image(&reference, true).await;
                let removed = removed.map_err(RuntimeError::from);
                Err(RuntimeError::from(first).and_then(removed))
            }
        }
    }

    /// Loads an archive; the names or ids of what was in it.
    async fn load(
        &self,
        op: &'static str,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Vec<String>, Failure> {
        let options = ImportImageOptions {
            quiet: true,
            ..ImportImageOptions::default()
        };
        let docker = self.client.docker()?;
        let mut answer = docker.import_image(options, bollard::body_try_stream(archive), None);
        let mut names = Vec::new();
        while let Some(line) = answer.next().await {
            let line = line.map_err(|error| self.client.failure(op, error.into()))?;
            if let Some(name) = line.stream.as_deref().and_then(message::loaded_image) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes an image by id, or a name and with the last one the image. Absent is success.
    /// `keep_parents`: not also the untagged images that it stood on.
    pub(crate) async fn delete_image(
        &self,
        reference: &str,
        keep_parents: bool,
    ) -> Result<(), Failure> {
        let options = RemoveImageOptions {
            noprune: keep_parents,
            ..RemoveImageOptions::default()
        };
        let docker = self.client.docker()?;
        let call = docker.remove_image(reference, Some(options), None);
        match self.client.bounded("remove the image", call).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == Some(404) => Ok(()),
            Err(failure) if failure.status() == Some(409) || !failure.is_refusal() => Err(failure),
            // Removed by somebody else in the middle of it, which is an internal error to it.
            Err(failure) => match self.look_at_image(reference).await? {
                None => Ok(()),
                Some(_) => Err(failure),
            },
        }
    }

    /// The name of a container that was made from this very image.
    pub(crate) async fn user_of_image(&self, image: &ImageId) -> Result<Option<String>, Failure> {
        let options = ListContainersOptions {
            all: true,
            filters: Some([("ancestor".to_owned(), vec![image.to_string()])].into()),
            ..ListContainersOptions::default()
        };
        let docker = self.client.docker()?;
        let call = docker.list_containers(Some(options));
        let containers = self.client.bounded("list containers", call).await?;
        let user = containers
            .into_iter()
            .find(|container| container.image_id.as_deref() == Some(image.as_str()));
        Ok(user.map(|container| {
            let name = container.names.and_then(|names| names.into_iter().next());
            let name = name.or(container.id).unwrap_or_default();
            name.trim_start_matches('/').to_owned()
        }))
    }
}

/// The error for an image that a container was made from.
pub(crate) fn in_use(name: &str, container: &str) -> RuntimeError {
    RuntimeError::Conflict {
        object: ObjectKind::Image,
        name: name.to_owned(),
        reason: format!("container {container} was made from it"),
    }
}
