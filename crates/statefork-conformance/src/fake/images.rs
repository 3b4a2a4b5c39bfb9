//! Images of the fake.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use statefork_runtime::{
    BuildRequest, ByteStream, ContainerPort, Image, ImageId, Images, ObjectKind, PrepareRequest,
    Result, RuntimeError,
};

use super::archive::Archive;
use super::state::{State, StoredImage};
use super::{FakeRuntime, names};

/// An image's id.
pub(super) fn image_id(parts: &[&[u8]]) -> ImageId {
    ImageId::new(format!("sha256:{}", State::digest(parts)))
}

/// The error for an image that is not there.
pub(super) fn not_found(image: &ImageId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Image,
        name: image.to_string(),
    }
}

/// Opens a listening socket for each published port.
pub(super) fn listen(ports: &[ContainerPort]) -> Result<Vec<(ContainerPort, TcpListener)>> {
    let open = |port: &ContainerPort| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map(|listener| (*port, listener))
            .map_err(|error| RuntimeError::Daemon {
                op: "publish a port",
                status: None,
                message: error.to_string(),
                source: Some(Box::new(error)),
            })
    };
    ports.iter().map(open).collect()
}

/// Removes an image with all its names, unless a container was made from it.
pub(super) fn remove(state: &mut State, id: &ImageId) -> Result<()> {
    if let Some(container) = state.user_of(id) {
        return Err(RuntimeError::Conflict {
            object: ObjectKind::Image,
            name: id.to_string(),
            reason: format!("container {} uses it", container.name),
        });
    }
    state.images.remove(id);
    Ok(())
}

#[async_trait]
impl Images for FakeRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.shared.read(|state| {
            let id = state.image_id(name)?;
            state.images.get(&id).map(|image| image.describe(&id))
        }))
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let mut images = self.images();
        images.retain(|image| !image.names.is_empty());
        images.sort_by(|a, b| a.names.cmp(&b.names));
        Ok(images)
    }

    async fn build_image(
        &self,
        _request: BuildRequest,
        _progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId> {
        Err(RuntimeError::Unsupported {
            op: "build an image",
            reason: "the fake has no builder".into(),
        })
    }

    async fn import_image(&self, archive: ByteStream) -> Result<ImageId> {
        let bytes = archive
            .try_fold(Vec::new(), |mut all, part| async move {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await
            .map_err(|error| RuntimeError::Invalid {
                what: "image archive".into(),
                reason: error.to_string(),
            })?;
        let archive = Archive::read(&bytes)?;
        let id = image_id(&[&archive.config_bytes]);
        self.shared.write(|state| {
            let image = StoredImage {
                names: BTreeSet::new(),
                config: archive.config,
                layers: archive.layers,
            };
            state.images.entry(id.clone()).or_insert(image);
            for name in archive.names {
                state.name_image(&id, name);
            }
        });
        Ok(id)
    }

    async fn export_image(&self, _name: &str) -> Result<ByteStream> {
        Err(RuntimeError::Unsupported {
            op: "export an image",
            reason: "the fake has no builder".into(),
        })
    }

    async fn prepare_image(&self, image: &ImageId, request: &PrepareRequest) -> Result<ImageId> {
        let name = names::new_image_name(&request.name)?;
        self.shared.write(|state| {
            let Some(stored) = state.images.get(image) else {
                return Err(not_found(image));
            };
            if stored.config.volumes.is_empty() {
                return Ok(image.clone());
            }
            let mut config = stored.config.clone();
            config.volumes.clear();
            config.labels.extend(request.labels.clone());
            let prepared = StoredImage {
                names: BTreeSet::new(),
                config,
                layers: stored.layers.clone(),
            };
            if state.image_id(&name).is_some() {
                return Err(RuntimeError::Conflict {
                    object: ObjectKind::Image,
                    name,
                    reason: "the name is taken".into(),
                });
            }
            let number = state.issue();
            let id = image_id(&[b"prepare", &number.to_le_bytes()]);
            state.images.insert(id.clone(), prepared);
            state.name_image(&id, name);
            Ok(id)
        })
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        self.shared.write(|state| {
            let Some(id) = state.image_id(name) else {
                return Ok(());
            };
            let by_id = id.as_str() == name;
            match state.images.get_mut(&id) {
                Some(image) if !by_id && image.names.len() > 1 => {
                    if let Some(name) = names::qualified(name) {
                        image.names.remove(&name);
                    }
                    Ok(())
                }
                _ => remove(state, &id),
            }
        })
    }
}
