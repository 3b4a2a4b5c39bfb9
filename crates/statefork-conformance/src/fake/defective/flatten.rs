//! What can be wrong with flattening.

use std::sync::Arc;

use statefork_runtime::{Capture, Captured, Captures, ErrorKind, FlattenRequest, ImageId, Result};

use super::super::captures::Stored;
use super::super::files::Layer;
use super::super::state::State;
use super::{Defect, DefectiveRuntime};

impl DefectiveRuntime {
    pub(super) async fn defective_layers(&self, capture: &Capture) -> Result<u32> {
        let layers = self.fake.layers(capture).await?;
        match self.defect {
            Defect::LayersLeaveTheImageOut => Ok(layers - 1),
            _ => Ok(layers),
        }
    }

    pub(super) async fn defective_flatten(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> Result<Captured> {
        let mut captured = match (self.fake.flatten(capture, request).await, self.defect) {
            (Err(error), Defect::FlattenTakesNames) if error.kind() == ErrorKind::Conflict => {
                self.fake.shared.write(|state| {
                    if let Some(id) = state.image_id(&request.name) {
                        state.images.remove(&id);
                    }
                });
                self.fake.flatten(capture, request).await?
            }
            (Err(error), Defect::FlattenTakesAnyBase) if error.kind() == ErrorKind::Invalid => {
                let base = capture.clone();
                let request = FlattenRequest {
                    base,
                    ..request.clone()
                };
                self.fake.flatten(capture, &request).await?
            }
            (Err(error), Defect::FlattenTakesAnything)
                if matches!(error.kind(), ErrorKind::NotFound(_)) =>
            {
                self.fake.flatten(&request.base, request).await?
            }
            (flattened, _) => flattened?,
        };
        if self.has(Defect::FlattenCountsTheImage) {
            captured.size_bytes += 2_000_000;
        }
        let ids = [capture, &request.base, &captured.capture].map(Stored::read);
        let [old, base, new] = ids;
        let (old, base, new) = (old?.image, base?.image, new?.image);
        self.fake.shared.write(|state| {
            let layers = state.images.get(&old).map(|image| image.layers.clone());
            let below = state.images.get(&base).map(|base| base.layers.len());
            if let (Some(layers), Some(below)) = (layers, below) {
                edit(self.defect, state, &new, &layers, below);
            }
            if self.has(Defect::FlattenReplaces) {
                state.images.remove(&old);
            }
        });
        Ok(captured)
    }
}

/// Changes the image of a flattened capture; `layers` are those before, `below` of them the base's.
fn edit(defect: Defect, state: &mut State, new: &ImageId, layers: &[Arc<Layer>], below: usize) {
    let Some(image) = state.images.get_mut(new) else {
        return;
    };
    match defect {
        Defect::FlattenForgetsDeletions => {
            if let Some(top) = image.layers.last_mut() {
                Arc::make_mut(top).retain(|_, content| content.is_some());
            }
        }
        Defect::FlattenTakesTheOldest => {
            let mut merged = Layer::new();
            for layer in layers[below..].iter().rev() {
                merged.extend(
                    layer
                        .iter()
                        .map(|(path, file)| (path.clone(), file.clone())),
                );
            }
            image.layers.truncate(below);
            image.layers.push(Arc::new(merged));
        }
        Defect::FlattenForgetsSettings => {
            image.config.env.clear();
            image.config.user = None;
        }
        Defect::FlattenIgnoresLabels => image.config.labels.clear(),
        Defect::FlattenOnlyCopies => image.layers = layers.to_vec(),
        Defect::FlattenMergesTheBase => {
            let mut merged = Layer::new();
            for layer in layers {
                merged.extend(
                    layer
                        .iter()
                        .map(|(path, file)| (path.clone(), file.clone())),
                );
            }
            image.layers = vec![Arc::new(merged)];
        }
        _ => {}
    }
}
