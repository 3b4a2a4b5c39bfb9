//! Images put together from layers: read where the service keeps them or taken from a saved image,
//! and loaded over layers that are there.

use std::fs::File;
use std::io;

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;
use statefork_runtime::layer::{self, LayerError, Layers};
use statefork_runtime::{ByteStream, Captured, ImageId, Labels, ObjectKind, Result, RuntimeError};
use tokio::net::UnixStream;

use crate::PodmanRuntime;
use crate::captures::{Stored, lost};
use crate::cause::Cause;
use crate::fault::Fault;
use crate::flatten::history;
use crate::load::NotLoaded;
use crate::name::ImageName;
use crate::raw::{Payload, encode};
use crate::rewrite::{self, Draft};

/// Where what may be large waits, unless `TMPDIR` says otherwise: `/tmp` is often in memory.
const TEMPORARY_FILES: &str = "/var/tmp";
/// The storage driver whose folders are overlays.
const OVERLAY: &str = "overlay";

/// An image to be made.
pub(crate) struct Stack<'a> {
    /// What is asked.
    pub(crate) op: &'static str,
    /// The image whose configuration it gets, and how the service describes it.
    pub(crate) id: &'a ImageId,
    pub(crate) image: Value,
    /// Whose layers it stands on, as the service describes it.
    pub(crate) below: &'a Value,
    /// Its layers above them.
    pub(crate) above: Layers<File>,
}

impl PodmanRuntime {
    /// The image of a capture as the service describes it.
    pub(crate) async fn described(&self, op: &'static str, image: &ImageId) -> Result<Value> {
        let path = format!("/images/{}/json", encode(image.as_str()));
        let found = self.client.get::<Value>(&path).await;
        found.map_err(|fault| self.lost_or(op, image, fault))
    }

    /// Loads an image under a name, with labels besides those that it has.
    pub(crate) async fn load_stack(
        &self,
        stack: Stack<'_>,
        name: &ImageName<'_>,
        own_labels: &Labels,
    ) -> Result<Captured> {
        let Stack {
            op,
            id,
            image,
            below,
            above,
        } = stack;
        let mut layers = rewrite::layers(below);
        layers.extend(above.iter().map(|(digest, _)| digest.to_owned()));
        let upper_bytes: Vec<u64> = above.iter().map(|(_, bytes)| bytes).collect();
        let moved = upper_bytes.len();
        let mut labels: Labels = image["Config"]["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        labels.extend(own_labels.clone());
        let count = u32::try_from(layers.len()).unwrap_or(u32::MAX);
        let draft = Draft {
            settings: rewrite::settings(&image, &labels),
            layers,
            upper_bytes,
            history: history(&image, below, moved),
            image,
        };
        let documents = rewrite::documents(&draft, name);
        let archive = above.into_archive(&documents.files, |_, digest| rewrite::blob(digest));
        let archive = archive.map_err(|error| layer::local_error(op, id, error))?;
        let size_bytes = self
            .load_over_layers(op, &documents.id, archive, moved)
            .await?;
        let image = ImageId::new(documents.id);
        Ok(Captured {
            capture: Stored { image, owned: true }.write(),
            size_bytes,
            layers: count,
        })
    }

    /// Loads the image with this id; the bytes of its uppermost `count` layers. After an error
    /// there is no image.
    async fn load_over_layers(
        &self,
        op: &'static str,
        id: &str,
        archive: ByteStream,
        count: usize,
    ) -> Result<u64> {
        let size = match self.load(archive).await {
            Ok(_) => self.upper_layer_bytes(id, count).await,
            Err(NotLoaded::Refused(fault)) => Err(self.client.error(op, fault)),
            Err(NotLoaded::Source(error) | NotLoaded::Kept(error)) => {
                Err(Self::not_kept(op, &error))
            }
        };
        match size {
            Ok(size) => Ok(size),
            Err(error) => Err(self.undo_image(id, error).await),
        }
    }

    /// All layers of an image, as the service saves them.
    pub(crate) async fn saved_layers(
        &self,
        op: &'static str,
        id: &ImageId,
        image: &Value,
    ) -> Result<Layers<File>> {
        let local = |error| layer::local_error(op, id, error);
        let path = format!("/images/{}/get?format=docker-archive", encode(id.as_str()));
        // As long as the service has something to say, so without a limit.
        let saved = self
            .client
            .raw
            .send(Method::GET, &path, Payload::Empty)
            .await
            .map_err(|fault| self.lost_or(op, id, fault))?;
        let saved = saved.into_body().into_data_stream();
        let file = temporary_file().map_err(local)?;
        let read = layer::read(saved, &rewrite::layers(image), file).await;
        read.map_err(|error| match error {
            LayerError::Source(error) => self.client.error(op, Fault::broken(error)),
            LayerError::Missing(layer) => RuntimeError::Unsupported {
                op,
                reason: format!("the service does not save layer {layer} as a plain archive"),
            },
            LayerError::Io(error) => local(error),
        })
    }

    /// The uppermost `count` layers of an image out of the service's own folders; `None` where
    /// these are not for us to read.
    pub(crate) async fn kept_layers(
        &self,
        op: &'static str,
        id: &ImageId,
        image: &Value,
        count: usize,
    ) -> Result<Option<Layers<File>>> {
        let local = |error| layer::local_error(op, id, error);
        let driver = &image["GraphDriver"];
        if driver["Name"] != OVERLAY {
            return Ok(None);
        }
        let folder = |name| driver["Data"][name].as_str();
        let folders = layer::folders(folder("UpperDir"), folder("LowerDir"), count);
        let (Some(folders), Some(keeper)) = (folders, self.process(op).await?) else {
            return Ok(None);
        };
        let file = temporary_file().map_err(local)?;
        let read = layer::read_folders(keeper, folders, file).await;
        // One that is being removed meanwhile may have lost files.
        self.described(op, id).await?;
        read.map_err(local)
    }

    /// The process that listens on the service's socket, if this one can name it.
    async fn process(&self, op: &'static str) -> Result<Option<i32>> {
        let socket = UnixStream::connect(self.client.raw.socket()).await;
        let credentials = socket.and_then(|socket| socket.peer_cred());
        let credentials =
            credentials.map_err(|error| self.client.error(op, Fault::Connect(error)))?;
        Ok(credentials.pid())
    }

    fn lost_or(&self, op: &'static str, image: &ImageId, fault: Fault) -> RuntimeError {
        match fault.cause() {
            Cause::NoImage => lost(image),
            _ => self
                .client
                .image_error(op, ObjectKind::Capture, image.as_str(), fault),
        }
    }
}

/// A file without a name, which is gone when it is closed.
pub(crate) fn temporary_file() -> io::Result<File> {
    let folder = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    tempfile::tempfile_in(folder.unwrap_or_else(|| TEMPORARY_FILES.into()))
}
