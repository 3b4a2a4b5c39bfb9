//! Flattening and rebasing in the fake: layers are taken as they are, or put into one.

use std::collections::BTreeSet;
use std::sync::Arc;

use statefork_runtime::{
    Captured, FlattenRequest, ImageId, Labels, RebaseRequest, Result, RuntimeError,
};

use super::captures::{Stored, lost, name_taken};
use super::files::{Layer, layer_bytes};
use super::images;
use super::state::{State, StoredImage};

pub(super) fn flatten(
    state: &mut State,
    image: &ImageId,
    base: &ImageId,
    name: String,
    request: &FlattenRequest,
) -> Result<Captured> {
    let mut merged = Layer::new();
    for layer in layers_above(state, image, base, "base")? {
        merged.extend(
            layer
                .iter()
                .map(|(path, file)| (path.clone(), file.clone())),
        );
    }
    let above = match merged.is_empty() {
        true => Vec::new(),
        false => vec![Arc::new(merged)],
    };
    store(state, [image, base], above, name, &request.labels)
}

pub(super) fn rebase(
    state: &mut State,
    [image, from, onto]: [&ImageId; 3],
    name: String,
    request: &RebaseRequest,
) -> Result<Captured> {
    let moved = layers_above(state, image, from, "from")?;
    store(state, [image, onto], moved, name, &request.labels)
}

/// The layers of an image above those of another, with which its own must begin; `role` is what
/// the other is here.
fn layers_above(
    state: &State,
    image: &ImageId,
    below: &ImageId,
    role: &str,
) -> Result<Vec<Arc<Layer>>> {
    let stored = state.images.get(image).ok_or_else(|| lost(image))?;
    let kept = &state.images.get(below).ok_or_else(|| lost(below))?.layers;
    let begins = kept.len() <= stored.layers.len()
        && std::iter::zip(kept, &stored.layers).all(|(own, other)| own == other);
    if !begins {
        return Err(RuntimeError::Invalid {
            what: format!("image {below} as {role}"),
            reason: format!("the layers of {image} do not begin with its layers"),
        });
    }
    Ok(stored.layers[kept.len()..].to_vec())
}

/// Stores an image with the configuration of the first, and layers above those of the second.
fn store(
    state: &mut State,
    [image, below]: [&ImageId; 2],
    above: Vec<Arc<Layer>>,
    name: String,
    labels: &Labels,
) -> Result<Captured> {
    if state.image_id(&name).is_some() {
        return Err(name_taken(name));
    }
    let find = |id: &ImageId| state.images.get(id).ok_or_else(|| lost(id));
    let mut config = find(image)?.config.clone();
    config.labels.extend(labels.clone());
    let mut layers = find(below)?.layers.clone();
    let size_bytes = above.iter().map(|layer| layer_bytes(layer)).sum();
    layers.extend(above);
    let count = u32::try_from(layers.len()).unwrap_or(u32::MAX);
    if let Some(limit) = state.layer_limit.filter(|limit| count > *limit) {
        return Err(RuntimeError::Unsupported {
            op: "add layers to an image",
            reason: format!("an image has at most {limit} layers here"),
        });
    }
    let id = images::image_id(&[b"stack", &state.issue().to_le_bytes()]);
    let stored = StoredImage {
        names: BTreeSet::from([name]),
        config,
        layers,
    };
    state.images.insert(id.clone(), stored);
    let capture = Stored {
        image: id,
        owned: true,
    };
    Ok(Captured {
        capture: capture.write(),
        size_bytes,
        layers: count,
    })
}
