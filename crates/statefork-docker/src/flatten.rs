//! Flattening and rebasing: the layers of a chain become one, or stand on others.
//!
//! Nothing of the application is touched, and the new image stands on no other: it stays when the
//! chain is removed.

use bollard::models::ImageInspect;
use statefork_runtime::layer::{self, Layers};
use statefork_runtime::{Capture, Captured, FlattenRequest, RebaseRequest, Result, RuntimeError};

use crate::captures::Stored;
use crate::runtime::LAYER_LIMIT;
use crate::stack::{self, Stack};
use crate::{DockerRuntime, describe, names};

/// What is asked.
const FLATTEN: &str = "flatten the image";
const REBASE: &str = "rebase the image";

impl DockerRuntime {
    /// The daemon saves the image with all its layers, and those above the base are merged.
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
        let kept = describe::layers(&base).len();
        let local = |error| layer::local_error(FLATTEN, &stored.image, error);
        let merged = match layers_above(&image, &base, "base")? {
            0 => Layers::none(stack::temporary_file().map_err(local)?),
            _ => {
                let all = self.saved_layers(FLATTEN, &stored.image, &image).await?;
                let file = stack::temporary_file().map_err(local)?;
                all.merge(kept, file).await.map_err(local)?
            }
        };
        let stack = Stack {
            op: FLATTEN,
            image: &image,
            below: &base,
            above: merged,
        };
        self.load_stack(stack, &request.name, &request.labels).await
    }

    /// The layers above `from` are read where the daemon keeps them, or else taken from the saved
    /// image.
    pub(crate) async fn rebase_chain(
        &self,
        capture: &Capture,
        request: &RebaseRequest,
    ) -> Result<Captured> {
        names::new_image_name(&request.name)?;
        let stored = Stored::read(capture)?;
        let (from, onto) = (Stored::read(&request.from)?, Stored::read(&request.onto)?);
        let (image, from, onto, ()) = tokio::try_join!(
            self.image_of(&stored),
            self.image_of(&from),
            self.image_of(&onto),
            self.expect_free_name(&request.name)
        )?;
        let moved = layers_above(&image, &from, "from")?;
        let layers = describe::layers(&onto).len() + moved;
        if layers > LAYER_LIMIT as usize {
            return Err(RuntimeError::Unsupported {
                op: REBASE,
                reason: format!(
                    "it would have {layers} layers, and Docker's storage takes {LAYER_LIMIT} in all"
                ),
            });
        }
        let above = match self.kept_layers(REBASE, &stored, &image, moved).await? {
            Some(layers) => layers,
            None => {
                let all = self.saved_layers(REBASE, &stored.image, &image).await?;
                all.above(describe::layers(&from).len())
            }
        };
        let stack = Stack {
            op: REBASE,
            image: &image,
            below: &onto,
            above,
        };
        self.load_stack(stack, &request.name, &request.labels).await
    }
}

/// How many layers an image has above those of another, with which its own must begin; `role` is
/// what the other is here.
fn layers_above(image: &ImageInspect, below: &ImageInspect, role: &str) -> Result<usize> {
    let above = describe::layers(image).strip_prefix(describe::layers(below));
    let above = above.ok_or_else(|| RuntimeError::Invalid {
        what: format!(
            "image {} as {role}",
            below.id.as_deref().unwrap_or_default()
        ),
        reason: format!(
            "the layers of {} do not begin with its layers",
            image.id.as_deref().unwrap_or_default()
        ),
    })?;
    Ok(above.len())
}
