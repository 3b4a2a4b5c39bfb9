//! What builders still have of builds whose command died, or could not clean up. The environment's
//! own runtime has nothing to do with it, so nothing fails where a builder does.

use std::time::Duration;

use jiff::Timestamp;
use statefork_runtime::{ErrorKind, Found, ObjectId, ObjectType, RuntimeError};

use super::Environment;
use super::build::Builder;
use crate::buildah::Buildah;
use crate::error::Result;

/// A builder does not go on for longer with what its caller asked for before it died.
const LATEST: Duration = Duration::from_secs(3600);
/// How long a builder is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Environment {
    /// The builds of the environment that ended without an image of its runtime, and of which a
    /// builder may have something. None where the runtime builds for itself.
    pub(super) fn left_builds(&self) -> Result<Vec<ObjectId>> {
        if self.options.builders.is_empty() {
            return Ok(Vec::new());
        }
        let (name, runtime) = (&self.name, self.runtime.name());
        let published = self.store().published_objects(name, runtime)?;
        let settled = self.store().settled_objects(name, runtime)?;
        let left = settled
            .into_iter()
            .filter(|object| object.0 == ObjectType::Build && !published.contains(object));
        Ok(left.map(|(_, object)| object).collect())
    }

    /// Removes what builders have of these builds. A builder that does not answer keeps it, which
    /// is said. A build that its builder may still work on is not forgotten: it is looked for again
    /// by the next `up` of a new environment and by `down --purge`.
    pub(super) async fn remove_left_builds(&self, builds: &[ObjectId]) -> Result<()> {
        if builds.is_empty() || self.options.builders.is_empty() {
            return Ok(());
        }
        // Before the look: what comes later than this is not missed.
        let old = Timestamp::now() - LATEST;
        for builder in &self.options.builders {
            let removing = self.remove_from(builder, builds);
            match tokio::time::timeout(PATIENCE, removing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_absent(&error) => {}
                Ok(Err(error)) => self.say_what_stays(builder.name, builds, &error.to_string()),
                Err(_) => self.say_what_stays(builder.name, builds, "answer in time"),
            }
        }
        for object in builds {
            self.home.remove_build_archive(object)?;
        }
        if let Some(buildah) = Buildah::on_path() {
            for object in builds {
                let name = self.build_name(object);
                let object = std::slice::from_ref(object);
                match tokio::time::timeout(PATIENCE, buildah.remove(&name)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        self.say_what_stays(Buildah::NAME, object, &error.to_string());
                    }
                    Err(_) => self.say_what_stays(Buildah::NAME, object, "answer in time"),
                }
            }
        }
        let builds: Vec<&ObjectId> = builds.iter().collect();
        self.store().forget_objects_of_old(&builds, old)
    }

    async fn remove_from(
        &self,
        builder: &Builder,
        builds: &[ObjectId],
    ) -> statefork_runtime::Result<()> {
        let runtime = (builder.open)()?;
        let own = self.image_name("");
        for found in runtime.find(self.home.id()).await? {
            // Somebody's image that was built from ours has its labels, but no name of ours.
            if let Found::Image {
                name,
                kind: Some(ObjectType::Build),
                object: Some(object),
            } = found
                && builds.contains(&object)
                && name.starts_with(&own)
            {
                runtime.remove_image(&name).await?;
            }
        }
        Ok(())
    }

    fn say_what_stays(&self, builder: &str, builds: &[ObjectId], failure: &str) {
        let names: Vec<String> = builds
            .iter()
            .map(|object| self.build_name(object))
            .collect();
        self.observer().notice(&format!(
            "{builder} keeps the image {}, if it has it: failed to {failure}",
            names.join(", ")
        ));
    }
}

/// Whether an error says that there is no such runtime here for us.
fn is_absent(error: &RuntimeError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::PermissionDenied
    )
}
