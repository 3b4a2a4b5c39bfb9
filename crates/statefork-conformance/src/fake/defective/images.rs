//! What can be wrong with images.

use std::collections::BTreeMap;

use async_trait::async_trait;
use statefork_runtime::{
    BuildRequest, ByteStream, ErrorKind, Image, ImageId, Images, ObjectKind, PrepareRequest,
    Result, RuntimeError,
};

use super::super::images::{image_id, not_found};
use super::super::names;
use super::super::state::{State, StoredImage};
use super::{Defect, DefectiveRuntime};

fn copy(state: &mut State, image: &ImageId, request: &PrepareRequest) -> Option<ImageId> {
    let original = state.images.get(image)?;
    let mut config = original.config.clone();
    config.labels.extend(request.labels.clone());
    let copy = StoredImage {
        names: Default::default(),
        config,
        layers: original.layers.clone(),
    };
    let number = state.issue();
    let id = image_id(&[b"copy", &number.to_le_bytes()]);
    state.images.insert(id.clone(), copy);
    state.name_image(&id, names::qualified(&request.name)?);
    Some(id)
}

#[async_trait]
impl Images for DefectiveRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        let found = self.fake.inspect_image(name).await?;
        Ok(match (self.defect, found) {
            (Defect::InspectImageTakesNamesOnly, _) if name.starts_with("sha256:") => None,
            (Defect::InspectImageNeedsOne, None) => return Err(not_found(&ImageId::new(name))),
            (Defect::InspectImageLeavesSettingsOut, Some(mut image)) => {
                image.config.volumes.clear();
                Some(image)
            }
            (Defect::InspectImageDoesNotCount, Some(mut image)) => {
                (image.layers, image.size_bytes) = (1, 0);
                Some(image)
            }
            (_, found) => found,
        })
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let mut images = self.fake.list_images().await?;
        match self.defect {
            Defect::ListImagesTellsUnnamed => {
                let all = self.fake.images().into_iter();
                images.extend(all.filter(|image| image.names.is_empty()));
            }
            Defect::ListImagesByName => {
                let by_name = images.into_iter().flat_map(|image| {
                    let names = image.names.clone().into_iter();
                    names.map(move |name| Image {
                        names: vec![name],
                        ..image.clone()
                    })
                });
                images = by_name.collect();
            }
            Defect::ListImagesIsNotSorted => images.reverse(),
            _ => {}
        }
        Ok(images)
    }

    async fn build_image(
        &self,
        request: BuildRequest,
        progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId> {
        self.fake.build_image(request, progress).await
    }

    async fn import_image(&self, archive: ByteStream) -> Result<ImageId> {
        let owners: BTreeMap<String, ImageId> = self
            .fake
            .images()
            .into_iter()
            .flat_map(|image| {
                let id = image.id;
                image.names.into_iter().map(move |name| (name, id.clone()))
            })
            .collect();
        let imported = self.fake.import_image(archive).await;
        match (self.defect, imported) {
            (Defect::ImportTakesAnything, Err(error)) if error.kind() == ErrorKind::Invalid => {
                Ok(image_id(&[b"anything"]))
            }
            (Defect::ImportKeepsFormerNames, Ok(id)) => {
                self.fake.shared.write(|state| {
                    for (name, owner) in owners {
                        state.name_image(&owner, name);
                    }
                });
                Ok(id)
            }
            (_, imported) => self.spoiled(imported),
        }
    }

    async fn export_image(&self, name: &str) -> Result<ByteStream> {
        self.fake.export_image(name).await
    }

    async fn prepare_image(&self, image: &ImageId, request: &PrepareRequest) -> Result<ImageId> {
        match self.defect {
            Defect::PrepareDoesNothing
                if self.fake.inspect_image(image.as_str()).await?.is_some() =>
            {
                return Ok(image.clone());
            }
            Defect::PrepareAlwaysCopies => {
                let made = self.fake.shared.write(|state| copy(state, image, request));
                if let Some(id) = made {
                    return Ok(id);
                }
            }
            _ => {}
        }
        match self.fake.prepare_image(image, request).await {
            Err(_) if self.has(Defect::PrepareTakesAnything) => Ok(image.clone()),
            prepared => self.spoiled(prepared),
        }
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        let found = self.fake.inspect_image(name).await?;
        let by_id = name.starts_with("sha256:");
        match (self.defect, found) {
            (Defect::RemoveImageTakesAllNames, Some(image)) => {
                self.fake.remove_image(image.id.as_str()).await
            }
            (Defect::RemoveImageOnlyUntags, Some(image)) if !by_id => {
                self.fake.shared.write(|state| {
                    if let Some(image) = state.images.get_mut(&image.id) {
                        image.names.retain(|own| own != name);
                    }
                });
                Ok(())
            }
            (Defect::RemoveImageForces, Some(image)) => {
                self.fake
                    .shared
                    .write(|state| state.images.remove(&image.id));
                Ok(())
            }
            (Defect::RemoveImageNeedsOne, None) => Err(not_found(&ImageId::new(name))),
            (Defect::RemoveImageRefusesNames, Some(image)) if by_id && image.names.len() > 1 => {
                Err(RuntimeError::Conflict {
                    object: ObjectKind::Image,
                    name: name.into(),
                    reason: "it has several names".into(),
                })
            }
            _ => self.spoiled(self.fake.remove_image(name).await),
        }
    }
}
