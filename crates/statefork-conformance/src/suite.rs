//! Running cases on one runtime.

use std::sync::Arc;
use std::time::Duration;

use statefork_runtime::{Capabilities, ImageId, Labels, Runtime, RuntimeError, RuntimeOptions};
use tokio::time::error::Elapsed;

use crate::case::{Case, Need, Outcome, chain};
use crate::fixture::{Fixture, one_piece};
use crate::image::{Base, Draft, TestImage};

/// The limit of one case, clean-up apart.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// The limit of a clean-up.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(60);

/// How a runtime is opened.
pub type Open = fn(&RuntimeOptions) -> statefork_runtime::Result<Arc<dyn Runtime>>;

/// What all cases on a runtime share.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) open: Option<Open>,
    pub(crate) capabilities: Capabilities,
    pub(crate) base: Base,
    pub(crate) image: ImageId,
    pub(crate) image_name: String,
}

/// A runtime with the image of the cases in it.
#[derive(Clone)]
pub struct Suite(Arc<Shared>);

impl Suite {
    /// Imports the image of the cases into a runtime that can do what `capabilities` says, under a
    /// name of its own, so that runs at the same time do not meet. `daemon`: how to open further
    /// ones, for a runtime that is a daemon at a socket.
    ///
    /// # Errors
    ///
    /// A text that says why not, when the runtime does not answer or does not take the image.
    pub async fn open(
        runtime: Arc<dyn Runtime>,
        capabilities: Capabilities,
        image: TestImage,
        daemon: Option<Open>,
    ) -> Result<Self, String> {
        let base = Base::load(image)?;
        let explained = |error: RuntimeError| chain(&error);
        let token = format!("{:016x}", rand::random::<u64>());
        let image_name = format!("statefork.local/conformance:{token}");
        let draft = Draft {
            names: vec![image_name.clone()],
            // Other images have other ids, even with the same layers.
            labels: Labels::from([("dev.statefork.conformance".into(), token)]),
            ..Draft::default()
        };
        let archive = base.archive(&draft).map_err(|error| error.to_string())?;
        let image = runtime
            .import_image(one_piece(archive))
            .await
            .map_err(explained)?;
        Ok(Self(Arc::new(Shared {
            runtime,
            open: daemon,
            capabilities,
            base,
            image,
            image_name,
        })))
    }

    /// What the runtime can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Why a need is not met here; `None` if it is.
    pub fn missing(&self, need: Need) -> Option<String> {
        need.missing(&self.0.capabilities, self.0.open.is_some())
    }

    /// Runs a case within its limit, then removes what it made.
    ///
    /// # Errors
    ///
    /// How the runtime breaks the contract.
    pub async fn check(&self, case: &Case) -> Result<(), String> {
        let fixture = Fixture::new(Arc::clone(&self.0));
        let ran = tokio::time::timeout(CASE_LIMIT, (case.run)(&fixture)).await;
        let cleaned = tokio::time::timeout(CLEAN_UP_LIMIT, fixture.clean_up()).await;
        match (shown(ran, CASE_LIMIT), shown(cleaned, CLEAN_UP_LIMIT)) {
            (None, None) => Ok(()),
            (Some(text), None) => Err(text),
            (None, Some(text)) => Err(format!("clean-up: {text}")),
            (Some(first), Some(second)) => Err(format!("{first}\nclean-up: {second}")),
        }
    }

    /// Removes the image of the cases.
    ///
    /// # Errors
    ///
    /// Why it is still there.
    pub async fn close(&self) -> Result<(), String> {
        let name = &self.0.image_name;
        let gone = async {
            self.0.runtime.remove_image(name).await?;
            self.0.runtime.inspect_image(name).await
        };
        match gone.await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(format!("image {name} is still there")),
            Err(error) => Err(chain(&error)),
        }
    }
}

/// What went wrong, if anything.
fn shown(outcome: Result<Outcome, Elapsed>, limit: Duration) -> Option<String> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(_) => Some(format!("not over within {limit:?}")),
    }
}
