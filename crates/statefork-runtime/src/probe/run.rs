//! One run of the probe: the objects that it makes, under random names, and their removal.

use std::time::{Duration, Instant};

use crate::{
    Capture, Captures, Container, ContainerId, ContainerSpec, ContainerState, Containers, Images,
    LABEL_OBJECT, LABEL_TYPE, Labels, LaunchRequest, ObjectId, ObjectType, Phases, Result,
};

/// How long the program may take to do something.
pub(super) const PROGRAM_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before looking again.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One run.
pub(super) struct Run<'a, R: ?Sized> {
    pub(super) runtime: &'a R,
    object: &'a ObjectId,
}

impl<'a, R> Run<'a, R>
where
    R: Images + Containers + Captures + ?Sized,
{
    /// The parts of the names of what may have been made, in the order of removal.
    const CONTAINERS: [&'static str; 5] = ["main", "check", "limits", "publish", "init"];
    const IMAGES: [&'static str; 3] = ["build", "capture", "base"];

    pub(super) fn new(runtime: &'a R, object: &'a ObjectId) -> Self {
        Self { runtime, object }
    }

    /// The name of an image.
    pub(super) fn image(&self, part: &str) -> String {
        format!("statefork.local/probe:{}-{part}", self.object)
    }

    /// The labels of an object.
    pub(super) fn labels(&self, kind: ObjectType) -> Labels {
        Labels::from([
            (LABEL_TYPE.to_owned(), kind.to_string()),
            (LABEL_OBJECT.to_owned(), self.object.to_string()),
        ])
    }

    /// Launches a container.
    pub(super) async fn launch(
        &self,
        from: &Capture,
        part: &str,
        spec: ContainerSpec,
    ) -> Result<Container> {
        let request = self.request(part, spec);
        self.runtime.launch(from, &request, &Phases::new()).await
    }

    /// What launches a container.
    pub(super) fn request(&self, part: &str, spec: ContainerSpec) -> LaunchRequest {
        LaunchRequest {
            name: self.container(part),
            spec,
            labels: self.labels(ObjectType::Container),
            publish: Vec::new(),
        }
    }

    /// A container's state; that of a lost one is `exited (unknown)`.
    pub(super) async fn state(&self, container: &ContainerId) -> Result<ContainerState> {
        let found = self.runtime.inspect(container).await?;
        Ok(found.map_or(ContainerState::Exited { code: None }, |found| found.state))
    }

    /// The state once the program has ended, or the last one seen.
    pub(super) async fn ended(&self, container: &ContainerId) -> Result<ContainerState> {
        let begun = Instant::now();
        loop {
            let state = self.state(container).await?;
            if matches!(state, ContainerState::Exited { .. }) || begun.elapsed() > PROGRAM_LIMIT {
                return Ok(state);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Removes all that may have been made, containers first; goes on after a failure and reports
    /// the first.
    pub(super) async fn clean_up(&self) -> Result<()> {
        let containers = Self::CONTAINERS.map(|part| async move {
            let name = ContainerId::new(self.container(part));
            self.runtime.remove(&name).await
        });
        let mut first = Ok(());
        for removed in futures_util::future::join_all(containers).await {
            first = first.and(removed);
        }
        for part in Self::IMAGES {
            first = first.and(self.runtime.remove_image(&self.image(part)).await);
        }
        first
    }

    fn container(&self, part: &str) -> String {
        format!("statefork-probe-{}-{part}", self.object)
    }
}
