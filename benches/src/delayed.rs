//! A runtime of which one phase takes longer than it need.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use statefork_runtime as contract;
use statefork_runtime::{
    Adoption, BuildRequest, ByteStream, Capabilities, Capture, CaptureRequest, Captured, Captures,
    Change, Container, ContainerId, Containers, Exec, ExecRequest, FlattenRequest, Found, HomeId,
    Image, ImageId, Images, LaunchRequest, LogRequest, ObjectId, OutputStream, Phase, Phases,
    PrepareRequest, RebaseRequest, Runtime, RuntimeIdentity,
};

/// The phases that can be slowed down: those in which the runtime is called.
const PHASES: [Phase; 7] = [
    Phase::Capture,
    Phase::Flatten,
    Phase::Rebase,
    Phase::Stop,
    Phase::Create,
    Phase::Start,
    Phase::Remove,
];

/// A runtime that sleeps within one phase, so that the operation log has it there.
pub(crate) struct DelayedRuntime {
    inner: Arc<dyn Runtime>,
    phase: Phase,
    delay: Duration,
}

impl DelayedRuntime {
    /// Slows a phase down.
    ///
    /// # Errors
    ///
    /// For a phase in which the runtime is not called.
    pub(crate) fn new(inner: Arc<dyn Runtime>, phase: Phase, delay: Duration) -> Result<Self> {
        if !PHASES.contains(&phase) {
            let phases = PHASES.map(Phase::as_str).join(", ");
            bail!("slow phase {phase} down: of the runtime are only {phases}");
        }
        Ok(Self {
            inner,
            phase,
            delay,
        })
    }

    /// In a phase that the orchestrator times around the call.
    async fn within(&self, phase: Phase) {
        if self.phase == phase {
            tokio::time::sleep(self.delay).await;
        }
    }

    /// In a phase that the runtime itself times.
    async fn recorded(&self, phase: Phase, phases: &Phases) {
        if self.phase == phase {
            phases.time(phase, tokio::time::sleep(self.delay)).await;
        }
    }
}

#[async_trait]
impl Images for DelayedRuntime {
    async fn inspect_image(&self, name: &str) -> contract::Result<Option<Image>> {
        self.inner.inspect_image(name).await
    }

    async fn list_images(&self) -> contract::Result<Vec<Image>> {
        self.inner.list_images().await
    }

    async fn build_image(
        &self,
        request: BuildRequest,
        progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> contract::Result<ImageId> {
        self.inner.build_image(request, progress).await
    }

    async fn import_image(&self, archive: ByteStream) -> contract::Result<ImageId> {
        self.inner.import_image(archive).await
    }

    async fn export_image(&self, name: &str) -> contract::Result<ByteStream> {
        self.inner.export_image(name).await
    }

    async fn prepare_image(
        &self,
        image: &ImageId,
        request: &PrepareRequest,
    ) -> contract::Result<ImageId> {
        self.inner.prepare_image(image, request).await
    }

    async fn remove_image(&self, name: &str) -> contract::Result<()> {
        self.inner.remove_image(name).await
    }
}

#[async_trait]
impl Containers for DelayedRuntime {
    async fn inspect(&self, container: &ContainerId) -> contract::Result<Option<Container>> {
        self.inner.inspect(container).await
    }

    async fn start(&self, container: &ContainerId) -> contract::Result<()> {
        self.inner.start(container).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> contract::Result<()> {
        self.within(Phase::Stop).await;
        self.inner.stop(container, grace).await
    }

    async fn kill(&self, container: &ContainerId) -> contract::Result<()> {
        self.inner.kill(container).await
    }

    async fn remove(&self, container: &ContainerId) -> contract::Result<()> {
        self.within(Phase::Remove).await;
        self.inner.remove(container).await
    }

    async fn pause(&self, container: &ContainerId) -> contract::Result<()> {
        self.within(Phase::Stop).await;
        self.inner.pause(container).await
    }

    async fn unpause(&self, container: &ContainerId) -> contract::Result<()> {
        self.inner.unpause(container).await
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> contract::Result<Exec> {
        self.inner.exec(container, request).await
    }

    async fn logs(
        &self,
        container: &ContainerId,
        request: LogRequest,
    ) -> contract::Result<OutputStream> {
        self.inner.logs(container, request).await
    }

    async fn changes(&self, container: &ContainerId) -> contract::Result<Vec<Change>> {
        self.inner.changes(container).await
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> contract::Result<ByteStream> {
        self.inner.copy_out(container, path).await
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> contract::Result<()> {
        self.inner.copy_in(container, folder, archive).await
    }

    async fn adopt(&self, container: &ContainerId) -> contract::Result<Option<Adoption>> {
        self.inner.adopt(container).await
    }
}

#[async_trait]
impl Captures for DelayedRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        self.inner.of_image(image)
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> contract::Result<Captured> {
        self.recorded(Phase::Capture, phases).await;
        self.inner.capture(container, request, phases).await
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> contract::Result<Container> {
        self.recorded(Phase::Create, phases).await;
        let container = self.inner.launch(capture, request, phases).await?;
        self.recorded(Phase::Start, phases).await;
        Ok(container)
    }

    async fn layers(&self, capture: &Capture) -> contract::Result<u32> {
        self.inner.layers(capture).await
    }

    async fn flatten(
        &self,
        capture: &Capture,
        request: &FlattenRequest,
    ) -> contract::Result<Captured> {
        self.within(Phase::Flatten).await;
        self.inner.flatten(capture, request).await
    }

    async fn rebase(
        &self,
        capture: &Capture,
        request: &RebaseRequest,
    ) -> contract::Result<Captured> {
        self.within(Phase::Rebase).await;
        self.inner.rebase(capture, request).await
    }

    async fn verify_capture(&self, capture: &Capture) -> contract::Result<bool> {
        self.inner.verify_capture(capture).await
    }

    async fn remove_capture(&self, capture: &Capture) -> contract::Result<()> {
        self.inner.remove_capture(capture).await
    }
}

#[async_trait]
impl Runtime for DelayedRuntime {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn identify(&self) -> contract::Result<RuntimeIdentity> {
        self.inner.identify().await
    }

    async fn probe(&self, object: &ObjectId) -> contract::Result<Capabilities> {
        self.inner.probe(object).await
    }

    async fn find(&self, home: &HomeId) -> contract::Result<Vec<Found>> {
        self.inner.find(home).await
    }
}
