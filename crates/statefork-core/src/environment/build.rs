//! Building an environment's image: by its runtime, or by another builder of this machine for one
//! that has none.

use std::sync::Arc;

use futures_util::StreamExt;
use statefork_runtime::{
    BuildRequest, ByteStream, Capabilities, ImageId, ObjectId, ObjectType, Runtime,
};

use super::{Environment, short};
use crate::build_context;
use crate::buildah::Buildah;
use crate::config::Build;
use crate::error::{CoreError, Result};

/// How a runtime is opened; nobody is contacted.
pub type Open = Arc<dyn Fn() -> statefork_runtime::Result<Arc<dyn Runtime>> + Send + Sync>;

/// A runtime that may build images for one that has no builder.
#[derive(Clone)]
pub struct Builder {
    /// The runtime's name.
    pub name: &'static str,
    /// Opens it.
    pub open: Open,
}

impl Builder {
    /// The runtime, if it answers.
    async fn answering(&self) -> Result<Arc<dyn Runtime>> {
        let runtime = (self.open)()?;
        runtime.identify().await?;
        Ok(runtime)
    }
}

impl Environment {
    /// Builds a folder. The image has the value of `object` and a name of ours.
    pub(super) async fn build(
        &self,
        build: &Build,
        object: &ObjectId,
        capabilities: &Capabilities,
    ) -> Result<ImageId> {
        self.observer()
            .progress(&format!("building {}", build.context.display()));
        if capabilities.build.is_yes() || self.options.builders.is_empty() {
            let request = self.build_request(build, object)?;
            let building = self.build_by(&*self.runtime, request);
            return self.options.cancel.or(building).await;
        }
        let mut tried = Vec::new();
        for builder in &self.options.builders {
            match self.options.cancel.or(builder.answering()).await {
                Ok(runtime) => {
                    self.say_who_builds(builder.name);
                    return self.build_elsewhere(&*runtime, build, object).await;
                }
                Err(CoreError::Interrupted) => return Err(CoreError::Interrupted),
                Err(error) => tried.push(format!("{} (failed to {error})", builder.name)),
            }
        }
        match Buildah::on_path() {
            Some(buildah) => {
                self.say_who_builds(Buildah::NAME);
                self.build_by_program(&buildah, build, object).await
            }
            None => {
                tried.push(format!("{} (not on PATH)", Buildah::NAME));
                Err(CoreError::NoBuilder {
                    runtime: self.runtime.name(),
                    tried,
                })
            }
        }
    }

    fn say_who_builds(&self, builder: &str) {
        let runtime = self.runtime.name();
        self.observer().notice(&format!(
            "{runtime} has no builder: {builder} builds the image"
        ));
    }

    fn build_request(&self, build: &Build, object: &ObjectId) -> Result<BuildRequest> {
        Ok(BuildRequest {
            context: build_context::stream(&build.context, &build.dockerfile)?,
            dockerfile: build.dockerfile.clone(),
            args: build.args.clone(),
            name: self.build_name(object),
            labels: self.owner(object).labels(ObjectType::Build),
        })
    }

    /// The name of the image that a build makes, for every builder the same.
    pub(super) fn build_name(&self, object: &ObjectId) -> String {
        self.image_name(&format!("build-{}", short(object)))
    }

    async fn build_by(&self, builder: &dyn Runtime, request: BuildRequest) -> Result<ImageId> {
        let mut progress = |line: &str| self.observer().build_output(line);
        Ok(builder.build_image(request, &mut progress).await?)
    }

    /// Builds with another runtime and takes the image over.
    async fn build_elsewhere(
        &self,
        builder: &dyn Runtime,
        build: &Build,
        object: &ObjectId,
    ) -> Result<ImageId> {
        let request = self.build_request(build, object)?;
        let name = request.name.clone();
        let exporting = async {
            self.build_by(builder, request).await?;
            let archive = builder.export_image(&name).await?;
            Ok::<_, CoreError>(archive)
        };
        let exported = self.options.cancel.or(exporting).await;
        let removing = async { Ok(builder.remove_image(&name).await?) };
        self.take_over(exported, removing).await
    }

    async fn build_by_program(
        &self,
        buildah: &Buildah,
        build: &Build,
        object: &ObjectId,
    ) -> Result<ImageId> {
        let name = self.build_name(object);
        let labels = self.owner(object).labels(ObjectType::Build);
        let mut progress = |line: &str| self.observer().build_output(line);
        let cancel = &self.options.cancel;
        let exporting = async {
            buildah
                .build(build, &name, &labels, &mut progress, cancel)
                .await?;
            let archive = self.home.build_archive(object)?;
            buildah.export(&name, &archive, cancel).await
        };
        let exported = exporting.await;
        let removing = async {
            let removed = buildah.remove(&name).await;
            removed.and(self.home.remove_build_archive(object))
        };
        self.take_over(exported, removing).await
    }

    /// Imports what a builder has made. Whatever comes of it, the builder has no image of ours
    /// afterwards.
    async fn take_over(
        &self,
        exported: Result<ByteStream>,
        removing: impl Future<Output = Result<()>>,
    ) -> Result<ImageId> {
        let taken = match exported {
            Ok(archive) => self.import_to_the_end(archive).await,
            Err(error) => Err(error),
        };
        let removed = removing.await;
        match taken {
            Ok(id) => removed.map(|()| id),
            Err(error) => Err(error.and_then(removed)),
        }
    }

    /// Imports an archive and waits for the end even if somebody interrupts: a runtime may go on
    /// with an import that nobody waits for, and nobody would know of the image. What is left of
    /// the archive is not read any more then.
    async fn import_to_the_end(&self, archive: ByteStream) -> Result<ImageId> {
        let cancel = self.options.cancel.clone();
        let archive = archive.map(move |piece| {
            cancel.check().map_err(std::io::Error::other)?;
            piece
        });
        let imported = self.runtime.import_image(archive.boxed()).await;
        self.options.cancel.check()?;
        Ok(imported?)
    }
}
