//! Building an environment's image: by its runtime, or by another builder of this machine for one
//! that has none.

use std::sync::Arc;

use statefork_runtime::{
    BuildRequest, Capabilities, ErrorKind, Found, ImageId, ObjectId, ObjectType, Runtime,
    RuntimeError,
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
            name: self.image_name(&format!("build-{}", short(object))),
            labels: self.owner(object).labels(ObjectType::Build),
        })
    }

    async fn build_by(&self, builder: &dyn Runtime, request: BuildRequest) -> Result<ImageId> {
        let mut progress = |line: &str| self.observer().build_output(line);
        Ok(builder.build_image(request, &mut progress).await?)
    }

    /// Builds with another runtime and moves the image here. Whatever comes of it, the other has
    /// no image of ours afterwards.
    async fn build_elsewhere(
        &self,
        builder: &dyn Runtime,
        build: &Build,
        object: &ObjectId,
    ) -> Result<ImageId> {
        let request = self.build_request(build, object)?;
        let name = request.name.clone();
        let moved = async {
            self.build_by(builder, request).await?;
            let archive = builder.export_image(&name).await?;
            self.runtime
                .import_image(archive)
                .await
                .map_err(CoreError::from)
        };
        let moved = self.options.cancel.or(moved).await;
        let removed = builder.remove_image(&name).await.map_err(CoreError::from);
        match moved {
            Ok(id) => removed.map(|()| id),
            Err(error) => Err(error.and_then(removed)),
        }
    }

    async fn build_by_program(
        &self,
        buildah: &Buildah,
        build: &Build,
        object: &ObjectId,
    ) -> Result<ImageId> {
        let name = self.image_name(&format!("build-{}", short(object)));
        let labels = self.owner(object).labels(ObjectType::Build);
        let mut progress = |line: &str| self.observer().build_output(line);
        let cancel = &self.options.cancel;
        let moved = async {
            buildah
                .build(build, &name, &labels, &mut progress, cancel)
                .await?;
            let archive = buildah.export(&name, cancel).await?;
            let importing = self.runtime.import_image(archive);
            cancel.or(importing).await
        };
        let moved = moved.await;
        let removed = buildah.remove(&name).await;
        match moved {
            Ok(id) => removed.map(|()| id),
            Err(error) => Err(error.and_then(removed)),
        }
    }

    /// Removes what builders still have of these builds, whose command died. What one has that does
    /// not answer stays there.
    pub(super) async fn remove_builds(&self, objects: &[(ObjectType, ObjectId)]) -> Result<()> {
        let builds = objects
            .iter()
            .filter(|(kind, _)| *kind == ObjectType::Build);
        let builds: Vec<&ObjectId> = builds.map(|(_, object)| object).collect();
        if builds.is_empty() || self.options.builders.is_empty() {
            return Ok(());
        }
        let own = self.image_name("");
        for builder in &self.options.builders {
            let found = async {
                let runtime = (builder.open)()?;
                let found = runtime.find(self.home.id()).await?;
                Ok::<_, RuntimeError>((runtime, found))
            };
            let (runtime, found) = match found.await {
                Ok(found) => found,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            for found in found {
                if let Found::Image {
                    name,
                    kind,
                    object: Some(object),
                } = found
                    && kind == Some(ObjectType::Build)
                    && builds.contains(&&object)
                    && name.starts_with(&own)
                {
                    runtime.remove_image(&name).await?;
                }
            }
        }
        if let Some(buildah) = Buildah::on_path() {
            for object in builds {
                buildah
                    .remove(&self.image_name(&format!("build-{}", short(object))))
                    .await?;
            }
        }
        Ok(())
    }
}

/// Whether an error says that there is no such runtime here for us.
fn is_absent(error: &RuntimeError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::PermissionDenied
    )
}
