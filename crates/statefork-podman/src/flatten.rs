//! Flattening: the layers of a chain become one.
//!
//! The service saves an image with all its layers; those above the base are merged, and an image
//! is loaded from an archive that holds the merged layer alone. Nothing of the application is
//! touched.

use std::fs::File;
use std::io;

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use statefork_runtime::layer::{self, Layer, LayerError};
use statefork_runtime::{
    ByteStream, Capture, Captured, FlattenRequest, ImageId, Labels, ObjectKind, Result,
    RuntimeError,
};

use crate::PodmanRuntime;
use crate::captures::{Stored, lost};
use crate::cause::Cause;
use crate::fault::Fault;
use crate::name::ImageName;
use crate::raw::{Payload, encode};
use crate::rewrite::{self, Draft};

/// What is asked.
const FLATTEN: &str = "flatten an image";
/// Where what may be large waits, unless `TMPDIR` says otherwise: `/tmp` is often in memory.
const TEMPORARY_FILES: &str = "/var/tmp";

impl PodmanRuntime {
    pub(crate) async fn flatten_chain(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> Result<Captured> {
        let name = ImageName::parse(&request.name)?;
        let id = Stored::read(capture)?.image;
        let base_id = Stored::read(&request.base)?.image;
        let (image, base, ()) = tokio::try_join!(
            self.described(&id),
            self.described(&base_id),
            self.expect_free_name(&name)
        )?;
        let (all, mut layers) = (rewrite::layers(&image), rewrite::layers(&base));
        let kept = layers.len();
        if !all.starts_with(&layers) {
            return Err(RuntimeError::Invalid {
                what: format!("image {base_id} as base"),
                reason: format!("the layers of {id} do not begin with its layers"),
            });
        }
        let merged = match all.len() == kept {
            true => None,
            false => self.merge(&id, &all, kept).await?,
        };

        let mut history = base["History"].as_array().cloned().unwrap_or_default();
        if let Some(layer) = &merged {
            layers.push(layer.digest().to_owned());
            history.push(json!({
                "created": image["Created"],
                "created_by": format!("layers of {id}"),
            }));
        }
        let mut labels: Labels = image["Config"]["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        labels.extend(request.labels.clone());
        let count = u32::try_from(layers.len()).unwrap_or(u32::MAX);
        let draft = Draft {
            settings: rewrite::settings(&image, &labels),
            layers,
            last_bytes: merged.as_ref().map(Layer::size_bytes),
            history: json!(history),
            image,
        };
        let documents = rewrite::documents(&draft, &name);
        let has_layer = merged.is_some();
        let archive = match merged {
            Some(layer) => {
                let path = rewrite::blob(layer.digest());
                layer.into_archive(&documents.files, &path)
            }
            None => rewrite::archive(&documents.files),
        };
        let archive = archive.map_err(|error| layer::local_error(FLATTEN, &id, error))?;
        let size_bytes = self.load_merged(&documents.id, archive, has_layer).await?;
        let image = ImageId::new(documents.id);
        Ok(Captured {
            capture: Stored { image, owned: true }.write(),
            size_bytes,
            layers: count,
        })
    }

    /// Loads the image with this id; the bytes of its uppermost layer, if it has one of its own.
    /// After an error there is no image.
    async fn load_merged(&self, id: &str, archive: ByteStream, has_layer: bool) -> Result<u64> {
        // As long as the archive takes, so without a limit.
        let raw = &self.client.raw;
        let loaded = raw
            .send(Method::POST, "/images/load", Payload::Tar(archive))
            .await;
        let size = match loaded {
            Ok(_) if has_layer => self.top_layer_bytes(id).await,
            Ok(_) => return Ok(0),
            Err(fault) => Err(self.client.error(FLATTEN, fault)),
        };
        match size {
            Ok(size) => Ok(size),
            Err(error) => Err(self.undo_image(id, error).await),
        }
    }

    /// The image of a capture as the service describes it.
    async fn described(&self, image: &ImageId) -> Result<Value> {
        let path = format!("/images/{}/json", encode(image.as_str()));
        let found = self.client.get::<Value>(&path).await;
        found.map_err(|fault| self.lost_or(image, fault))
    }

    fn lost_or(&self, image: &ImageId, fault: Fault) -> RuntimeError {
        match fault.cause() {
            Cause::NoImage => lost(image),
            _ => self
                .client
                .image_error(FLATTEN, ObjectKind::Capture, image.as_str(), fault),
        }
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
        let path = format!(
            "/images/{}/get?format=docker-archive",
            encode(image.as_str())
        );
        // As long as the service has something to say, so without a limit.
        let saved = self
            .client
            .raw
            .send(Method::GET, &path, Payload::Empty)
            .await
            .map_err(|fault| self.lost_or(image, fault))?;
        let saved = saved.into_body().into_data_stream();
        let read = layer::read(saved, layers, temporary_file().map_err(local)?).await;
        let read = read.map_err(|error| match error {
            LayerError::Source(error) => self.client.error(FLATTEN, Fault::broken(error)),
            LayerError::Missing(layer) => RuntimeError::Unsupported {
                op: FLATTEN,
                reason: format!("the service does not save layer {layer} as a plain archive"),
            },
            LayerError::Io(error) => local(error),
        })?;
        let merged = read.merge(kept, temporary_file().map_err(local)?).await;
        merged.map_err(local)
    }
}

/// A file without a name, which is gone when it is closed.
fn temporary_file() -> io::Result<File> {
    let folder = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    tempfile::tempfile_in(folder.unwrap_or_else(|| TEMPORARY_FILES.into()))
}
