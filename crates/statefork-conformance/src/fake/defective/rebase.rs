//! What can be wrong with rebasing.

use std::sync::Arc;

use statefork_runtime::{Capture, Captured, Captures, ErrorKind, ImageId, RebaseRequest, Result};

use super::super::captures::Stored;
use super::super::files::Layer;
use super::super::state::State;
use super::{Defect, DefectiveRuntime};

impl DefectiveRuntime {
    pub(super) async fn defective_rebase(
        &self,
        capture: &Capture,
        request: &RebaseRequest,
    ) -> Result<Captured> {
        let again = |from: &Capture| RebaseRequest {
            from: from.clone(),
            ..request.clone()
        };
        let mut captured = match (self.fake.rebase(capture, request).await, self.defect) {
            (Err(error), Defect::RebaseTakesNames) if error.kind() == ErrorKind::Conflict => {
                self.fake.shared.write(|state| {
                    if let Some(id) = state.image_id(&request.name) {
                        state.images.remove(&id);
                    }
                });
                self.fake.rebase(capture, request).await?
            }
            (Err(error), Defect::RebaseTakesAnything) if error.kind() == ErrorKind::Invalid => {
                self.fake.rebase(capture, &again(capture)).await?
            }
            (Err(error), Defect::RebaseMakesUpWhatIsLost)
                if matches!(error.kind(), ErrorKind::NotFound(_)) =>
            {
                let onto = &request.onto;
                self.fake.rebase(onto, &again(onto)).await?
            }
            (rebased, _) => rebased?,
        };
        if self.has(Defect::RebaseCountsTheImage) {
            captured.size_bytes += 2_000_000;
        }
        let ids = [capture, &request.from, &request.onto, &captured.capture];
        let [old, from, onto, new] = ids.map(Stored::read);
        let (old, from, onto, new) = (old?.image, from?.image, onto?.image, new?.image);
        self.fake.shared.write(|state| {
            edit(self.defect, state, [&old, &from, &onto, &new]);
            if self.has(Defect::RebaseReplaces) {
                state.images.remove(&old);
            }
        });
        Ok(captured)
    }
}

/// Changes the image of a rebased capture.
fn edit(defect: Defect, state: &mut State, [old, from, onto, new]: [&ImageId; 4]) {
    let layers_of = |id: &ImageId| {
        let image = state.images.get(id);
        image.map(|image| image.layers.clone()).unwrap_or_default()
    };
    let (whole, below, short) = (layers_of(old), layers_of(from).len(), layers_of(onto));
    let settings = state.images.get(onto).map(|onto| onto.config.clone());
    let Some(image) = state.images.get_mut(new) else {
        return;
    };
    match defect {
        Defect::RebaseForgetsDeletions => {
            for layer in &mut image.layers[short.len()..] {
                Arc::make_mut(layer).retain(|_, content| content.is_some());
            }
        }
        Defect::RebaseOnlyCopies => image.layers = whole,
        Defect::RebaseMovesTheLastOnly => {
            image.layers = short;
            image
                .layers
                .extend(whole.get(below..).and_then(<[_]>::last).cloned());
        }
        Defect::RebaseTurnsTheLayers => image.layers[short.len()..].reverse(),
        Defect::RebaseMerges => {
            let mut merged = Layer::new();
            for layer in image.layers.drain(short.len()..) {
                merged.extend(
                    layer
                        .iter()
                        .map(|(path, file)| (path.clone(), file.clone())),
                );
            }
            image.layers.push(Arc::new(merged));
        }
        Defect::RebaseTakesSettings => {
            let labels = std::mem::take(&mut image.config.labels);
            image.config = settings.unwrap_or_default();
            image.config.labels = labels;
        }
        Defect::RebaseIgnoresLabels => image.config.labels.clear(),
        _ => {}
    }
}
