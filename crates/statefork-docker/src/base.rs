//! Images that containers were made from, remembered: an image never changes under its id, and
//! each capture needs to know the one that it stands on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::models::ImageInspect;

use crate::DockerRuntime;
use crate::failure::Failure;

/// How many are remembered; far more than one session works with.
const LIMIT: usize = 256;

/// The remembered images, by id. Their names move and are not to be read from here.
#[derive(Default)]
pub(crate) struct BaseImages(Mutex<HashMap<String, Arc<ImageInspect>>>);

impl BaseImages {
    fn get(&self, id: &str) -> Option<Arc<ImageInspect>> {
        let images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        images.get(id).cloned()
    }

    fn put(&self, id: &str, image: &Arc<ImageInspect>) {
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if images.len() >= LIMIT {
            images.clear();
        }
        images.insert(id.to_owned(), Arc::clone(image));
    }
}

impl DockerRuntime {
    /// The image with this id as it once was, or is now. `None` when absent.
    pub(crate) async fn base_image(&self, id: &str) -> Result<Option<Arc<ImageInspect>>, Failure> {
        if let Some(image) = self.bases.get(id) {
            return Ok(Some(image));
        }
        let Some(image) = self.look_at_image(id).await?.map(Arc::new) else {
            return Ok(None);
        };
        self.bases.put(id, &image);
        Ok(Some(image))
    }
}
