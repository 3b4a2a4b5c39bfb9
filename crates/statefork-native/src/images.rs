//! Images: imported, named, looked up, removed.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use statefork_runtime::{
    BuildRequest, ByteStream, Image, ImageId, Images, ObjectKind, PrepareRequest, Result,
    RuntimeError,
};
use tokio::io::AsyncWriteExt;

use crate::NativeRuntime;
use crate::books::ImageRecord;
use crate::importing::IMPORT;
use crate::runtime::Inner;
use crate::storage::{blocking, system};

#[async_trait]
impl Images for NativeRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        let books = self.inner.books()?;
        let found = books.image(name)?;
        found.map(|record| self.inner.describe(record)).transpose()
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let records = self.inner.books()?.named_images()?;
        let images = records
            .into_iter()
            .map(|record| self.inner.describe(record));
        images.collect()
    }

    async fn build_image(
        &self,
        _request: BuildRequest,
        _progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId> {
        Err(RuntimeError::Unsupported {
            op: "build an image",
            reason:
                "native has no builder: `up --build` takes docker, podman or buildah where one \
                     of them is there"
                    .into(),
        })
    }

    async fn import_image(&self, mut archive: ByteStream) -> Result<ImageId> {
        self.inner.books()?;
        let failed = |error| system(IMPORT, error);
        let file = tempfile::tempfile_in(self.inner.storage.root()).map_err(failed)?;
        let mut spooled = tokio::fs::File::from_std(file);
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(failed)?;
            spooled.write_all(&piece).await.map_err(failed)?;
        }
        spooled.flush().await.map_err(failed)?;
        let file = spooled.into_std().await;
        let inner = Arc::clone(&self.inner);
        blocking(IMPORT, move || inner.import(&file)).await
    }

    async fn export_image(&self, _name: &str) -> Result<ByteStream> {
        Err(RuntimeError::Unsupported {
            op: "export an image",
            reason: "native exports none; what gave it the image still can (`docker save`, `podman save`)".into(),
        })
    }

    async fn prepare_image(&self, image: &ImageId, _request: &PrepareRequest) -> Result<ImageId> {
        // A declared volume is nothing special here: it is in the writable layer.
        match self.inner.books()?.image(image.as_str())? {
            Some(found) => Ok(found.id),
            None => Err(RuntimeError::NotFound {
                object: ObjectKind::Image,
                name: image.to_string(),
            }),
        }
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        self.inner.books()?.remove_image(name)?;
        let inner = Arc::clone(&self.inner);
        blocking("remove an image", move || inner.sweep()).await
    }
}

impl Inner {
    /// An image as the contract describes it.
    pub(crate) fn describe(&self, record: ImageRecord) -> Result<Image> {
        Ok(Image {
            size_bytes: self.books()?.bytes_of(&record.layers)?,
            layers: u32::try_from(record.layers.len()).unwrap_or(u32::MAX),
            id: record.id,
            names: record.names,
            config: record.config.image,
        })
    }
}
