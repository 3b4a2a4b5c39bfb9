//! A decorator that makes planned calls of a runtime fail.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use statefork_runtime::{
    Adoption, BuildRequest, ByteStream, Capabilities, Capture, CaptureRequest, Captured, Captures,
    Change, Container, ContainerId, Containers, Exec, ExecRequest, FlattenRequest, Found, HomeId,
    Image, ImageId, Images, LaunchRequest, LogRequest, ObjectId, OutputStream, Phases,
    PrepareRequest, RebaseRequest, Result, Runtime, RuntimeError, RuntimeIdentity,
};

/// A method of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named like its method")]
pub enum Method {
    Identify,
    Probe,
    Find,
    InspectImage,
    ListImages,
    BuildImage,
    ImportImage,
    ExportImage,
    PrepareImage,
    RemoveImage,
    Inspect,
    Start,
    Stop,
    Kill,
    Remove,
    Pause,
    Unpause,
    Exec,
    Logs,
    Changes,
    CopyOut,
    CopyIn,
    Adopt,
    Capture,
    Launch,
    Layers,
    Flatten,
    Rebase,
    VerifyCapture,
    RemoveCapture,
}

/// What becomes of one call.
#[derive(Debug)]
pub enum Fault {
    /// It works, so that a later fault hits a later call.
    Pass,
    /// It fails before anything was done.
    Before(RuntimeError),
    /// It is done, and the answer is lost.
    After(RuntimeError),
    /// It works, so much later.
    Delay(Duration),
    /// It is never answered, and nothing is done.
    Hang,
}

/// A runtime some of whose calls fail as planned. Each method has a queue: the first fault that
/// was planned for it goes to its next call. Calls beyond the queue work.
///
/// # Panics
///
/// When it is dropped, if a planned fault was never met: the test has not tested what it says.
pub struct FaultyRuntime {
    inner: Arc<dyn Runtime>,
    plan: Mutex<BTreeMap<Method, VecDeque<Fault>>>,
    halt: Mutex<Option<Halt>>,
}

/// Where a caller is cut off, as if its process or the daemon had died there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Halt {
    /// Calls, of whatever method, that still work.
    left: usize,
    /// Whether the call at which it ends is still done.
    done: bool,
    /// Whether the caller is told.
    told: bool,
}

impl FaultyRuntime {
    /// A runtime without faults so far.
    pub fn new(inner: Arc<dyn Runtime>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            halt: Mutex::default(),
        }
    }

    /// After `calls` more calls, of whatever method, none is answered any more; the first of these
    /// is done all the same if `done`.
    pub fn halt_after(&self, calls: usize, done: bool) {
        *self.halting() = Some(Halt {
            left: calls,
            done,
            told: false,
        });
    }

    /// After `calls` more calls, of whatever method, the runtime cannot be reached any more; the
    /// first of these is done all the same if `done`.
    pub fn lose_after(&self, calls: usize, done: bool) {
        *self.halting() = Some(Halt {
            left: calls,
            done,
            told: true,
        });
    }

    /// All calls work again; whether one did not.
    pub fn resume(&self) -> bool {
        self.halting().take().is_some_and(|halt| halt.left == 0)
    }

    fn halting(&self) -> MutexGuard<'_, Option<Halt>> {
        self.halt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the caller is cut off at this call, if it is. Later calls are not done.
    fn cut_off(&self) -> Option<Halt> {
        let mut halting = self.halting();
        let halt = halting.as_mut()?;
        match halt.left {
            0 => {
                let now = *halt;
                halt.done = false;
                Some(now)
            }
            left => {
                halt.left = left - 1;
                None
            }
        }
    }

    /// Plans a fault for the next call of `method` for which none is planned.
    pub fn plan(&self, method: Method, fault: Fault) {
        self.queues().entry(method).or_default().push_back(fault);
    }

    /// The methods with faults that were not met so far, and how many.
    pub fn unmet(&self) -> Vec<(Method, usize)> {
        let queues = self.queues();
        let left = queues.iter().map(|(method, queue)| (*method, queue.len()));
        left.filter(|(_, count)| *count > 0).collect()
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<Method, VecDeque<Fault>>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn through<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if let Some(halt) = self.cut_off() {
            if halt.done {
                call.await?;
            }
            if halt.told {
                return Err(RuntimeError::Unreachable {
                    runtime: self.inner.name(),
                    endpoint: "where it was".to_owned(),
                    source: "it is gone".into(),
                });
            }
            return std::future::pending().await;
        }
        let fault = self.queues().get_mut(&method).and_then(VecDeque::pop_front);
        match fault {
            None | Some(Fault::Pass) => call.await,
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => {
                call.await?;
                Err(error)
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                call.await
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

impl Drop for FaultyRuntime {
    fn drop(&mut self) {
        let unmet = self.unmet();
        if !unmet.is_empty() && !std::thread::panicking() {
            panic!("planned faults were never met: {unmet:?}");
        }
    }
}

#[async_trait]
impl Images for FaultyRuntime {
    async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        let call = self.inner.inspect_image(name);
        self.through(Method::InspectImage, call).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let call = self.inner.list_images();
        self.through(Method::ListImages, call).await
    }

    async fn build_image(
        &self,
        request: BuildRequest,
        progress: &mut (dyn for<'line> FnMut(&'line str) + Send),
    ) -> Result<ImageId> {
        let call = self.inner.build_image(request, progress);
        self.through(Method::BuildImage, call).await
    }

    async fn import_image(&self, archive: ByteStream) -> Result<ImageId> {
        let call = self.inner.import_image(archive);
        self.through(Method::ImportImage, call).await
    }

    async fn export_image(&self, name: &str) -> Result<ByteStream> {
        let call = self.inner.export_image(name);
        self.through(Method::ExportImage, call).await
    }

    async fn prepare_image(&self, image: &ImageId, request: &PrepareRequest) -> Result<ImageId> {
        let call = self.inner.prepare_image(image, request);
        self.through(Method::PrepareImage, call).await
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        let call = self.inner.remove_image(name);
        self.through(Method::RemoveImage, call).await
    }
}

#[async_trait]
impl Containers for FaultyRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        let call = self.inner.inspect(container);
        self.through(Method::Inspect, call).await
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let call = self.inner.start(container);
        self.through(Method::Start, call).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        let call = self.inner.stop(container, grace);
        self.through(Method::Stop, call).await
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        let call = self.inner.kill(container);
        self.through(Method::Kill, call).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        let call = self.inner.remove(container);
        self.through(Method::Remove, call).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        let call = self.inner.pause(container);
        self.through(Method::Pause, call).await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        let call = self.inner.unpause(container);
        self.through(Method::Unpause, call).await
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        let call = self.inner.exec(container, request);
        self.through(Method::Exec, call).await
    }

    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream> {
        let call = self.inner.logs(container, request);
        self.through(Method::Logs, call).await
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let call = self.inner.changes(container);
        self.through(Method::Changes, call).await
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream> {
        let call = self.inner.copy_out(container, path);
        self.through(Method::CopyOut, call).await
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let call = self.inner.copy_in(container, folder, archive);
        self.through(Method::CopyIn, call).await
    }

    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        let call = self.inner.adopt(container);
        self.through(Method::Adopt, call).await
    }
}

#[async_trait]
impl Captures for FaultyRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        self.inner.of_image(image)
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        let call = self.inner.capture(container, request, phases);
        self.through(Method::Capture, call).await
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let call = self.inner.launch(capture, request, phases);
        self.through(Method::Launch, call).await
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        let call = self.inner.layers(capture);
        self.through(Method::Layers, call).await
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        let call = self.inner.flatten(capture, request);
        self.through(Method::Flatten, call).await
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        let call = self.inner.rebase(capture, request);
        self.through(Method::Rebase, call).await
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let call = self.inner.verify_capture(capture);
        self.through(Method::VerifyCapture, call).await
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let call = self.inner.remove_capture(capture);
        self.through(Method::RemoveCapture, call).await
    }
}

#[async_trait]
impl Runtime for FaultyRuntime {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        let call = self.inner.identify();
        self.through(Method::Identify, call).await
    }

    async fn probe(&self, object: &ObjectId) -> Result<Capabilities> {
        let call = self.inner.probe(object);
        self.through(Method::Probe, call).await
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        let call = self.inner.find(home);
        self.through(Method::Find, call).await
    }
}

#[cfg(test)]
mod tests {
    use statefork_runtime::ErrorKind;

    use super::*;
    use crate::FakeRuntime;

    fn full() -> RuntimeError {
        RuntimeError::StorageFull {
            op: "test",
            runtime: "fake",
        }
    }

    #[tokio::test]
    async fn faults_are_met_in_the_order_of_the_plan() {
        let runtime = FaultyRuntime::new(Arc::new(FakeRuntime::new()));
        runtime.plan(Method::Identify, Fault::Pass);
        runtime.plan(Method::Identify, Fault::Before(full()));
        assert!(runtime.identify().await.is_ok());
        assert_eq!(runtime.unmet(), [(Method::Identify, 1)]);
        let error = runtime.identify().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(runtime.identify().await.is_ok());
        assert_eq!(runtime.unmet(), []);
    }

    #[tokio::test]
    async fn a_lost_answer_is_of_a_call_that_was_done() {
        let fake = FakeRuntime::new();
        let image = fake.add_image("app", Default::default(), &[]);
        let runtime = FaultyRuntime::new(Arc::new(fake.clone()));
        runtime.plan(Method::RemoveImage, Fault::After(full()));
        assert!(runtime.remove_image(image.as_str()).await.is_err());
        assert_eq!(fake.images(), []);
    }

    #[test]
    #[should_panic(expected = "planned faults were never met: [(Launch, 1)]")]
    fn a_fault_that_is_not_met_fails_the_test() {
        let runtime = FaultyRuntime::new(Arc::new(FakeRuntime::new()));
        runtime.plan(Method::Launch, Fault::Hang);
    }
}
