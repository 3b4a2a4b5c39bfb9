//! Network namespaces, and threads to work in them.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread::Builder;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

/// The namespace of the thread that reads it.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace; it exists at least as long as this.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// That of a process. Errors: `NotFound` where there is no such process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// That of this thread.
    pub(super) fn own() -> io::Result<Self> {
        File::open(OWN).map(Self)
    }

    /// Whether they are the same.
    pub(super) fn is(&self, other: &Self) -> io::Result<bool> {
        let identity = |of: Metadata| (of.dev(), of.ino());
        Ok(identity(self.0.metadata()?) == identity(other.0.metadata()?))
    }

    /// Does `work` in it, on a thread of its own, and waits for that.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = Builder::new().spawn_scoped(scope, || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            thread?.join().unwrap_or_else(|_| Err(panicked()))
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Does `work`, which blocks, on a thread of its own, in the network namespace of the one that polls
/// this. Once begun it is done, whether or not somebody still waits.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    on_thread_with(|| Ok(()), |()| work()).await
}

/// As [`on_thread`], for `work` with something that is opened there, and that takes long to be closed:
/// nobody waits for that.
pub(super) async fn on_thread_with<K: 'static, T: Send + 'static>(
    open: impl FnOnce() -> io::Result<K> + Send + 'static,
    work: impl FnOnce(&mut K) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = oneshot::channel();
    Builder::new().spawn(move || {
        let (opened, done) = match open() {
            Ok(mut opened) => {
                let done = work(&mut opened);
                (Some(opened), done)
            }
            Err(error) => (None, Err(error)),
        };
        // An error is that nobody waits any more.
        let _ = sender.send(done);
        drop(opened);
    })?;
    result.await.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> io::Error {
    io::Error::other("the thread that did the work has panicked")
}
