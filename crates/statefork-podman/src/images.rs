//! Images: look up, import, remove.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use podman_api::models::ImageData;
use podman_api::opts::{ImageListOpts, ImageTagOpts};
use statefork_runtime::{
    BuildRequest, ByteStream, EnvVar, Image, ImageConfig, ImageId, Images, ObjectKind,
    PrepareRequest, Result, RuntimeError, named_images,
};

use crate::PodmanRuntime;
use crate::cause::{self, Cause};
use crate::describe::port_of;
use crate::load::NotLoaded;
use crate::name::ImageName;
use crate::raw::{Payload, encode};

/// How many images are looked at at the same time for a list of them.
const LOOKS_AT_ONCE: usize = 8;

const IMPORT: &str = "import an image";
const REMOVE: &str = "remove an image";

#[async_trait]
impl Images for PodmanRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        if name.is_empty() {
            return Ok(None);
        }
        let handle = self.client.image(name);
        match self.client.read(|| handle.inspect()).await {
            Ok(data) => Ok(describe(data)),
            Err(fault) if fault.cause() == Cause::NoImage => Ok(None),
            Err(fault) => Err(self.client.error("inspect an image", fault)),
        }
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let list = self.client.podman.images();
        let options = ImageListOpts::default();
        let listed = self.client.list(|| list.list(&options)).await;
        let listed = listed.map_err(|fault| self.client.error("list the images", fault))?;
        // Only a description has the layers and the configuration.
        let described = futures_util::stream::iter(listed.into_iter().filter_map(|image| image.id))
            .map(|id| async move { self.inspect_image(&id).await })
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect::<Vec<_>>();
        // One with several names may be listed several times.
        Ok(named_images(described.await?.into_iter().flatten()))
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
        let loaded = self.load(archive).await.map_err(|error| match error {
            NotLoaded::Source(error) => invalid(error.to_string()),
            NotLoaded::Kept(error) => Self::not_kept(IMPORT, &error),
            NotLoaded::Refused(fault) => match fault.cause() {
                Cause::NoArchive => invalid(cause::no_archive(&fault.message())),
                _ => self.client.error(IMPORT, fault),
            },
        })?;
        // The answer has names only.
        let name = loaded
            .names
            .first()
            .ok_or_else(|| invalid("it holds no image".into()))?;
        let image = self.inspect_image(name).await?;
        image
            .map(|image| image.id)
            .ok_or_else(|| RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: name.clone(),
            })
    }

    async fn export_image(&self, name: &str) -> Result<ByteStream> {
        if self.inspect_image(name).await?.is_none() {
            return Err(RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: name.to_owned(),
            });
        }
        let path = format!("/images/{}/get?format=docker-archive", encode(name));
        // As long as the service has something to say, so without a limit.
        let saved = self.client.raw.send(Method::GET, &path, Payload::Empty);
        let saved = saved
            .await
            .map_err(|fault| self.client.error("export an image", fault))?;
        let saved = saved.into_body().into_data_stream();
        Ok(saved.map_err(std::io::Error::other).boxed())
    }

    async fn prepare_image(&self, image: &ImageId, _request: &PrepareRequest) -> Result<ImageId> {
        // Every container is made with `image_volume_mode: ignore`: nothing has to be made.
        match self
            .client
            .call(self.client.image(image.as_str()).exists())
            .await
        {
            Ok(true) => Ok(image.clone()),
            Ok(false) => Err(RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: image.to_string(),
            }),
            Err(fault) => Err(self.client.error("look an image up", fault)),
        }
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        self.delete_image(name, ObjectKind::Image).await
    }
}

impl PodmanRuntime {
    /// Takes a name off its image, and removes the image with its last name; or removes an image
    /// by id with all its names. Never by force, which would remove its containers too.
    pub(crate) async fn delete_image(&self, name: &str, object: ObjectKind) -> Result<()> {
        match self.client.call(self.client.image(name).delete()).await {
            Ok(()) => Ok(()),
            Err(fault) => match fault.cause() {
                Cause::NoImage => Ok(()),
                Cause::SeveralNames => self.delete_named_image(name, object).await,
                _ => Err(self.client.image_error(REMOVE, object, name, fault)),
            },
        }
    }

    /// Removes an image that has several names by its id. All names but one are taken off first;
    /// they are given back when the image cannot be removed.
    async fn delete_named_image(&self, id: &str, object: ObjectKind) -> Result<()> {
        let Some(image) = self.inspect_image(id).await? else {
            return Ok(());
        };
        let handle = self.client.image(image.id.as_str());
        let options = |name| {
            let name = ImageName::parse(name)?;
            let options = ImageTagOpts::builder().repo(name.repository).tag(name.tag);
            Ok::<_, RuntimeError>(options.build())
        };
        let others = image.names.iter().skip(1);
        let names = others
            .map(|name| options(name))
            .collect::<Result<Vec<_>>>()?;
        let mut taken_off = Vec::new();
        let mut outcome = Ok(());
        for name in &names {
            outcome = self.client.call(handle.untag(name)).await;
            if outcome.is_err() {
                break;
            }
            taken_off.push(name);
        }
        if outcome.is_ok() {
            outcome = self.client.call(handle.delete()).await;
        }
        let Err(fault) = outcome else {
            return Ok(());
        };
        let first = self.client.image_error(REMOVE, object, id, fault);
        for name in taken_off {
            if let Err(fault) = self.client.call(handle.tag(name)).await {
                let cleanup = self.client.error("give an image its name back", fault);
                return Err(first.and_then(Err(cleanup)));
            }
        }
        Err(first)
    }
}

/// An image in the contract's words; `None` for an answer without an id.
fn describe(data: ImageData) -> Option<Image> {
    let mut names = data.repo_tags.unwrap_or_default();
    names.sort();
    let layers = data.root_fs.and_then(|root| root.layers);
    let config = data.config;
    let mut labels = config
        .as_ref()
        .and_then(|config| config.labels.clone())
        .unwrap_or_default();
    labels.extend(data.labels.unwrap_or_default());
    let mut described = ImageConfig {
        labels: labels.into_iter().collect(),
        ..ImageConfig::default()
    };
    if let Some(config) = config {
        described.entrypoint = config.entrypoint.unwrap_or_default();
        described.command = config.cmd.unwrap_or_default();
        described.env = variables(config.env.unwrap_or_default());
        described.user = config.user.filter(|user| !user.is_empty());
        described.workdir = config
            .working_dir
            .filter(|path| !path.is_empty())
            .map(Into::into);
        let ports = config.exposed_ports.unwrap_or_default();
        described.exposed_ports = ports.keys().filter_map(|port| port_of(port)).collect();
        described.exposed_ports.sort();
        let volumes = config.volumes.unwrap_or_default();
        described.volumes = volumes.into_keys().map(Into::into).collect();
        described.volumes.sort();
    }
    Some(Image {
        id: ImageId::new(data.id?),
        names,
        config: described,
        size_bytes: u64::try_from(data.size.unwrap_or_default()).unwrap_or_default(),
        layers: u32::try_from(layers.map_or(0, |layers| layers.len())).unwrap_or(u32::MAX),
    })
}

fn variables(env: Vec<String>) -> Vec<EnvVar> {
    env.into_iter()
        .filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            Some(EnvVar {
                name: name.to_owned(),
                value: value.to_owned(),
            })
        })
        .collect()
}
