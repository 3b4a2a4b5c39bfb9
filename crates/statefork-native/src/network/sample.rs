//! Network namespaces for tests: nothing here touches the one of the machine.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::UnshareFlags;

/// How long a connection may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A thread in a network namespace of its own; the namespace goes with it.
pub(super) struct Sandbox {
    /// Its number: `/proc/TID` is there for threads too.
    pub(super) tid: u32,
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Moves this thread into a new network namespace.
#[expect(deprecated, reason = "what its successor warns of is another flag")]
fn unshare() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
}

impl Sandbox {
    pub(super) fn new() -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let (sender, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare();
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            sender.send(u32::try_from(tid).unwrap()).unwrap();
            // An error is that the sandbox was dropped.
            ended.recv().unwrap_or_default();
        });
        Self {
            tid: tid.recv().unwrap(),
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Does `work` on another thread in the namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = super::namespace::Namespace::of(self.tid).unwrap();
        namespace.run(|| io::Result::Ok(work())).unwrap()
    }

    /// Ends the thread.
    pub(super) fn end(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

/// Polls a future on this thread.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}

/// Does `work` on a thread in a new network namespace, which stands for the host's.
pub(crate) fn on_a_host(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare();
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Whether this thread's network has rules in the table.
pub(crate) fn has_rules(table: &str) -> bool {
    let mut netlink = super::nft::open().unwrap();
    let rules = super::nft::rules(&mut netlink, table).unwrap();
    !rules.is_empty()
}

/// Whether this thread's network has a route for these addresses.
pub(crate) fn has_route(subnet: &super::Subnet) -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
    // As the kernel has it in memory.
    let address = format!("{:08X}", u32::from_ne_bytes(subnet.address.octets()));
    let mut destinations = routes.lines().map(|line| line.split('\t').nth(1));
    destinations.any(|destination| destination == Some(&address))
}

/// Connects from one thread to a listener of another, both in their namespaces, and passes a byte;
/// whom the listener took for the other one.
pub(super) fn passes(
    listener: &TcpListener,
    connect: impl FnOnce(SocketAddr) -> io::Result<TcpStream>,
) -> io::Result<IpAddr> {
    let mut stream = connect(listener.local_addr()?)?;
    let (mut accepted, peer) = listener.accept()?;
    accepted.set_read_timeout(Some(LIMIT))?;
    stream.write_all(&[7])?;
    let mut byte = [0];
    accepted.read_exact(&mut byte)?;
    assert_eq!(byte, [7]);
    Ok(peer.ip())
}

/// Connects on this thread.
pub(super) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, LIMIT)
}

/// Waits until it is so, at most ten seconds.
pub(super) fn eventually(mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
