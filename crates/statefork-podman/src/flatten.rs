//! Flattening and rebasing: the layers of a chain become one, or stand on others. Nothing of the
//! application is touched.

use serde_json::{Value, json};
use statefork_runtime::layer::{self, Layers};
use statefork_runtime::{Capture, Captured, FlattenRequest, RebaseRequest, Result, RuntimeError};

use crate::captures::Stored;
use crate::name::ImageName;
use crate::stack::{self, Stack};
use crate::{LAYER_LIMIT, PodmanRuntime, rewrite};

/// What is asked.
const FLATTEN: &str = "flatten an image";
const REBASE: &str = "rebase an image";

impl PodmanRuntime {
    /// The service saves the image with all its layers, and those above the base are merged.
    pub(crate) async fn flatten_chain(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> Result<Captured> {
        let name = ImageName::parse(&request.name)?;
        let id = Stored::read(capture)?.image;
        let base = Stored::read(&request.base)?.image;
        let (image, base, ()) = tokio::try_join!(
            self.described(FLATTEN, &id),
            self.described(FLATTEN, &base),
            self.expect_free_name(&name)
        )?;
        let kept = rewrite::layers(&base).len();
        let local = |error| layer::local_error(FLATTEN, &id, error);
        let merged = match layers_above(&image, &base, "base")? {
            0 => Layers::none(stack::temporary_file().map_err(local)?),
            _ => {
                let all = self.saved_layers(FLATTEN, &id, &image).await?;
                let file = stack::temporary_file().map_err(local)?;
                all.merge(kept, file).await.map_err(local)?
            }
        };
        let stack = Stack {
            op: FLATTEN,
            id: &id,
            image,
            below: &base,
            above: merged,
        };
        self.load_stack(stack, &name, &request.labels).await
    }

    /// The layers above `from` are read where the service keeps them, or else taken from the saved
    /// image.
    pub(crate) async fn rebase_chain(
        &self,
        capture: &Capture,
        request: &RebaseRequest,
    ) -> Result<Captured> {
        let name = ImageName::parse(&request.name)?;
        let id = Stored::read(capture)?.image;
        let (from, onto) = (Stored::read(&request.from)?, Stored::read(&request.onto)?);
        let (image, from, onto, ()) = tokio::try_join!(
            self.described(REBASE, &id),
            self.described(REBASE, &from.image),
            self.described(REBASE, &onto.image),
            self.expect_free_name(&name)
        )?;
        let moved = layers_above(&image, &from, "from")?;
        if rewrite::layers(&onto).len() + moved > LAYER_LIMIT as usize {
            return Err(RuntimeError::Unsupported {
                op: REBASE,
                reason: format!("an image has at most {LAYER_LIMIT} layers here"),
            });
        }
        let above = match self.kept_layers(REBASE, &id, &image, moved).await? {
            Some(layers) => layers,
            None => {
                let all = self.saved_layers(REBASE, &id, &image).await?;
                all.above(rewrite::layers(&from).len())
            }
        };
        let stack = Stack {
            op: REBASE,
            id: &id,
            image,
            below: &onto,
            above,
        };
        self.load_stack(stack, &name, &request.labels).await
    }
}

/// How many layers an image has above those of another, with which its own must begin; `role` is
/// what the other is here.
fn layers_above(image: &Value, below: &Value, role: &str) -> Result<usize> {
    let (all, kept) = (rewrite::layers(image), rewrite::layers(below));
    let id = |image: &Value| image["Id"].as_str().unwrap_or_default().to_owned();
    let above = all.strip_prefix(kept.as_slice());
    let above = above.ok_or_else(|| RuntimeError::Invalid {
        what: format!("image {} as {role}", id(below)),
        reason: format!("the layers of {} do not begin with its layers", id(image)),
    })?;
    Ok(above.len())
}

/// The history of an image with `count` layers above those of `below`.
pub(crate) fn history(image: &Value, below: &Value, count: usize) -> Value {
    let mut history = below["History"].as_array().cloned().unwrap_or_default();
    let entry = json!({
        "created": image["Created"],
        "created_by": format!("layer of {}", image["Id"].as_str().unwrap_or_default()),
    });
    history.resize(history.len() + count, entry);
    json!(history)
}
