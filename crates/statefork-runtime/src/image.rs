//! Images: what containers start from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{ContainerPort, EnvVar, ImageId, Labels, Result};

/// A stream of bytes, for archives too large to hold.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// The configuration of an image, the parts that StateFork uses (OCI image-spec 1.1, "Image
/// configuration", object `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `Env`.
    pub env: Vec<EnvVar>,
    /// `User`.
    pub user: Option<String>,
    /// `WorkingDir`.
    pub workdir: Option<PathBuf>,
    /// `ExposedPorts`, sorted.
    pub exposed_ports: Vec<ContainerPort>,
    /// `Volumes`, sorted.
    pub volumes: Vec<PathBuf>,
    /// `Labels`.
    pub labels: Labels,
}

/// An image as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Names with tags, fully qualified, sorted; empty for an untagged image.
    pub names: Vec<String>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Bytes of all its layers, unpacked, as the runtime counts them.
    pub size_bytes: u64,
    /// How many layers it has.
    pub layers: u32,
}

/// Those of some images that have a name, each once, as [`Images::list_images`] gives them.
pub fn named_images(images: impl IntoIterator<Item = Image>) -> Vec<Image> {
    let named = images.into_iter().filter(|image| !image.names.is_empty());
    let mut named: Vec<Image> = named.collect();
    named.sort_by(|a, b| a.names.cmp(&b.names));
    named.dedup_by(|a, b| a.id == b.id);
    named
}

/// What to build.
pub struct BuildRequest {
    /// The build context, a tar stream.
    pub context: ByteStream,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The name and tag that the image gets.
    pub name: String,
    /// The labels that the image gets.
    pub labels: Labels,
}

/// How a prepared image is named and labelled, if one has to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareRequest {
    /// Name and tag.
    pub name: String,
    /// Labels.
    pub labels: Labels,
}

/// Images of a runtime.
#[async_trait]
pub trait Images: Send + Sync {
    /// Looks an image up by name, name and tag (default `latest`), or id; in the runtime only,
    /// never in a registry. `None` when absent.
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>>;

    /// Every image that has a name, each once, sorted by its first name. Those that we made are
    /// among them: what the prefix of their names says is for the caller to know. One that is
    /// removed meanwhile may be missing.
    async fn list_images(&self) -> Result<Vec<Image>>;

    /// Builds an image. `progress` receives the builder's output line by line, as it comes.
    ///
    /// After a failure neither image, name nor intermediate container is left (a layer cache may
    /// be). Errors: `BuildFailed` with the last lines; `Unsupported` where the runtime has no
    /// builder.
    async fn build_image(
        &self,
        request: BuildRequest,
        progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId>;

    /// Loads one image from an archive as `docker save` writes it (`manifest.json`, a
    /// configuration, layers), plain tar, under the name that the archive carries.
    ///
    /// Errors: `Invalid` for a stream that is no such archive.
    async fn import_image(&self, archive: ByteStream) -> Result<ImageId>;

    /// An image as an archive that [`Images::import_image`] takes, under this one of its names.
    ///
    /// For moving what was built to another runtime. Errors: `NotFound`; `Unsupported` where the
    /// runtime has no builder.
    async fn export_image(&self, name: &str) -> Result<ByteStream>;

    /// An image with the same layers as `image` in whose containers the paths that the image
    /// declares as volumes belong to the writable layer, and so to every capture. Returns `image`
    /// itself where nothing has to be made for that; otherwise makes one, with the request's name
    /// and labels.
    ///
    /// Errors: `NotFound` for the image.
    async fn prepare_image(&self, image: &ImageId, request: &PrepareRequest) -> Result<ImageId>;

    /// Takes a name off its image, and removes the image when that was its last name and nothing
    /// needs it; or removes an image by id with all its names. Absent is success.
    ///
    /// Errors: `Conflict` while a container uses it.
    async fn remove_image(&self, name: &str) -> Result<()>;
}
