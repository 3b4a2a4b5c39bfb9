//! Flattening: the layers of a chain become one.
//!
//! The daemon saves an image with all its layers; those above the base are merged, and an image is
//! loaded from an archive that holds the merged layer alone. Nothing of the application is touched, and
//! the new image stands on no other: it stays when the chain is removed.

use std::fs::File;
use std::io;

use bollard::models::ImageInspect;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use statefork_runtime::layer::{self, Layer, LayerError};
use statefork_runtime::{
    ByteStream, Capture, Captured, FlattenRequest, ImageId, ObjectKind, Result, RuntimeError,
};

use crate::captures::Stored;
use crate::failure::{Cause, Failure};
use crate::{DockerRuntime, archive, commit, describe, names};

/// What is asked.
const FLATTEN: &str = "flatten the image";
/// Where what may be large waits, unless `TMPDIR` says otherwise: `/tmp` is often in memory.
const TEMPORARY_FILES: &str = "/var/tmp";

impl DockerRuntime {
    pub(crate) async fn flatten_chain(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> Result<Captured> {
        names::new_image_name(&request.name)?;
        let (stored, base) = (Stored::read(capture)?, Stored::read(&request.base)?);
        let (image, base, ()) = tokio::try_join!(
            self.image_of(&stored),
            self.image_of(&base),
            self.expect_free_name(&request.name)
        )?;
        let kept = describe::layers(&base);
        let above = describe::layers(&image).strip_prefix(kept);
        let above = above.ok_or_else(|| RuntimeError::Invalid {
            what: format!("image {} as base", base.id.as_deref().unwrap_or_default()),
            reason: format!(
                "the layers of {} do not begin with its layers",
                stored.image
            ),
        })?;
        let merged = match above.is_empty() {
            true => None,
            false => {
                let all = describe::layers(&image);
                self.merge(&stored.image, all, kept.len()).await?
            }
        };

        let mut layers = kept.to_vec();
        layers.extend(merged.as_ref().map(|layer| layer.digest().to_owned()));
        let config = image.config.clone().unwrap_or_default();
        let config = commit::with_labels(&config, &request.labels);
        let documents = archive::documents(&image, &config, &layers, &request.name);
        let archive: io::Result<ByteStream> = match merged {
            Some(layer) => layer.into_archive(&documents, &archive::layer_path(kept.len())),
            None => archive::of_documents(&documents)
                .map(|archive| stream::iter([Ok(Bytes::from(archive))]).boxed()),
        };
        let archive = archive.map_err(|error| layer::local_error(FLATTEN, &stored.image, error))?;
        let made = self
            .load_over_layers(FLATTEN, archive, &request.name)
            .await?;
        let bytes = |image: &ImageInspect| image.size.unwrap_or_default();
        let size_bytes = u64::try_from(bytes(&made) - bytes(&base)).unwrap_or_default();
        let layers = describe::layer_count(&made);
        let flattened = Stored {
            image: ImageId::new(made.id.unwrap_or_default()),
            name: Some(request.name.clone()),
        };
        Ok(Captured {
            capture: flattened.write(),
            size_bytes,
            layers,
        })
    }

    /// The image of a capture, which must be there.
    pub(crate) async fn image_of(&self, stored: &Stored) -> Result<ImageInspect> {
        let found = self.look_at_image(stored.image.as_str()).await?;
        found.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Capture,
            name: stored.image.to_string(),
        })
    }

    /// Merges the layers of an image that are above the lowest `kept`. `None` if they change
    /// nothing.
    async fn merge(
        &self,
        image: &ImageId,
        layers: &[String],
        kept: usize,
    ) -> Result<Option<Layer<File>>> {
        let local = |error| layer::local_error(FLATTEN, image, error);
        let docker = self.client.docker()?;
        // As long as the daemon has something to say, so without a limit.
        let saved = docker.export_image(image.as_str());
        let read = layer::read(saved, layers, temporary_file().map_err(local)?).await;
        let read = read.map_err(|error| match error {
            LayerError::Source(error) => self.save_error(image, Cause::Api(error)),
            LayerError::Missing(layer) => RuntimeError::Unsupported {
                op: FLATTEN,
                reason: format!(
                    "the daemon's image store does not save layer {layer} as a plain archive; the \
                     storage driver overlay2 does"
                ),
            },
            LayerError::Io(error) => local(error),
        })?;
        let merged = read.merge(kept, temporary_file().map_err(local)?).await;
        merged.map_err(local)
    }

    fn save_error(&self, image: &ImageId, cause: Cause) -> RuntimeError {
        let failure: Failure = self.client.failure(FLATTEN, cause);
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
fn temporary_file() -> io::Result<File> {
    let folder = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    tempfile::tempfile_in(folder.unwrap_or_else(|| TEMPORARY_FILES.into()))
}
