//! Images put together from layers: read where the daemon keeps them or taken from a saved image,
//! and loaded over layers that are there.

use std::fs::File;
use std::io;

use bollard::models::ImageInspect;
use statefork_runtime::layer::{self, LayerError, Layers};
use statefork_runtime::{Captured, ImageId, Labels, ObjectKind, Result, RuntimeError};
use tokio::net::UnixStream;

use crate::captures::Stored;
use crate::failure::{Cause, Failure};
use crate::{DockerRuntime, archive, commit, describe};

/// Where what may be large waits, unless `TMPDIR` says otherwise: `/tmp` is often in memory.
const TEMPORARY_FILES: &str = "/var/tmp";
/// The storage driver whose folders are overlays.
const OVERLAY: &str = "overlay2";

/// An image to be made.
pub(crate) struct Stack<'a> {
    /// What is asked.
    pub(crate) op: &'static str,
    /// Whose configuration it gets.
    pub(crate) image: &'a ImageInspect,
    /// Whose layers it stands on.
    pub(crate) below: &'a ImageInspect,
    /// Its layers above them.
    pub(crate) above: Layers<File>,
}

impl DockerRuntime {
    /// The image of a capture, which must be there.
    pub(crate) async fn image_of(&self, stored: &Stored) -> Result<ImageInspect> {
        let found = self.look_at_image(stored.image.as_str()).await?;
        found.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Capture,
            name: stored.image.to_string(),
        })
    }

    /// Loads an image under a name, with labels besides those that it has.
    pub(crate) async fn load_stack(
        &self,
        stack: Stack<'_>,
        name: &str,
        labels: &Labels,
    ) -> Result<Captured> {
        let Stack {
            op,
            image,
            below,
            above,
        } = stack;
        let mut layers = describe::layers(below).to_vec();
        let kept = layers.len();
        layers.extend(above.iter().map(|(digest, _)| digest.to_owned()));
        let config = image.config.clone().unwrap_or_default();
        let config = commit::with_labels(&config, labels);
        let documents = archive::documents(image, &config, &layers, name);
        let archive =
            above.into_archive(&documents, |number, _| archive::layer_path(kept + number));
        let id = ImageId::new(image.id.clone().unwrap_or_default());
        let archive = archive.map_err(|error| layer::local_error(op, &id, error))?;
        let made = self.load_over_layers(op, archive, name).await?;
        let bytes = |image: &ImageInspect| image.size.unwrap_or_default();
        let size_bytes = u64::try_from(bytes(&made) - bytes(below)).unwrap_or_default();
        let layers = describe::layer_count(&made);
        let made = Stored {
            image: ImageId::new(made.id.unwrap_or_default()),
            name: Some(name.to_owned()),
        };
        Ok(Captured {
            capture: made.write(),
            size_bytes,
            layers,
        })
    }

    /// All layers of an image, as the daemon saves them.
    pub(crate) async fn saved_layers(
        &self,
        op: &'static str,
        id: &ImageId,
        image: &ImageInspect,
    ) -> Result<Layers<File>> {
        let local = |error| layer::local_error(op, id, error);
        let docker = self.client.docker()?;
        // As long as the daemon has something to say, so without a limit.
        let saved = docker.export_image(id.as_str());
        let file = temporary_file().map_err(local)?;
        let read = layer::read(saved, describe::layers(image), file).await;
        read.map_err(|error| match error {
            LayerError::Source(error) => self.save_error(op, id, Cause::Api(error)),
            LayerError::Missing(layer) => RuntimeError::Unsupported {
                op,
                reason: format!(
                    "the daemon's image store does not save layer {layer} as a plain archive; the \
                     storage driver overlay2 does"
                ),
            },
            LayerError::Io(error) => local(error),
        })
    }

    /// The uppermost `count` layers of an image out of the daemon's own folders; `None` where these
    /// are not for us to read.
    pub(crate) async fn kept_layers(
        &self,
        op: &'static str,
        stored: &Stored,
        image: &ImageInspect,
        count: usize,
    ) -> Result<Option<Layers<File>>> {
        let local = |error| layer::local_error(op, &stored.image, error);
        let driver = image.graph_driver.as_ref();
        let Some(driver) = driver.filter(|driver| driver.name == OVERLAY) else {
            return Ok(None);
        };
        let folder = |name: &str| driver.data.get(name).map(String::as_str);
        let folders = layer::folders(folder("UpperDir"), folder("LowerDir"), count);
        let (Some(folders), Some(keeper)) = (folders, self.process().await?) else {
            return Ok(None);
        };
        let file = temporary_file().map_err(local)?;
        let read = layer::read_folders(keeper, folders, file).await;
        // One that is being removed meanwhile may have lost files.
        self.image_of(stored).await?;
        read.map_err(local)
    }

    /// The process that listens on the daemon's socket, if this one can name it.
    async fn process(&self) -> Result<Option<i32>> {
        let socket = UnixStream::connect(self.client.socket()).await;
        let credentials = socket.and_then(|socket| socket.peer_cred());
        let credentials = credentials.map_err(|error| {
            self.client
                .failure("ask who the daemon is", Cause::Socket(error))
        })?;
        Ok(credentials.pid())
    }

    fn save_error(&self, op: &'static str, image: &ImageId, cause: Cause) -> RuntimeError {
        let failure: Failure = self.client.failure(op, cause);
        match failure.status() {
            Some(404) => RuntimeError::NotFound {
                object: ObjectKind::Capture,
                name: image.to_string(),
            },
            _ => failure.into(),
        }
    }
}

/// A file without a name, which is gone when it is closed.
pub(crate) fn temporary_file() -> io::Result<File> {
    let folder = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    tempfile::tempfile_in(folder.unwrap_or_else(|| TEMPORARY_FILES.into()))
}
