//! Copying between two sockets.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio::task::{self, coop};

/// Bytes copied in one turn.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// One for all connections of this thread: a connection that is idle holds no memory.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// What one turn brought.
enum Turn {
    /// There was nothing to read.
    Idle,
    /// Everything that was read is written; `full`: there is probably more.
    Sent { full: bool },
    /// These bytes are read and not yet written.
    Left(Vec<u8>),
    /// The other side has finished.
    End,
}

/// Copies both ways until both sides have finished, each on its own. `used` is set before the
/// first byte goes, in either direction.
///
/// Errors: the first of either socket, for example that a side has reset the connection.
pub(crate) async fn both(a: &TcpStream, b: &TcpStream, used: &AtomicBool) -> io::Result<()> {
    tokio::try_join!(one(a, b, used), one(b, a, used)).map(drop)
}

/// Copies one way until `from` has finished, and tells `to`.
async fn one(from: &TcpStream, to: &TcpStream, used: &AtomicBool) -> io::Result<()> {
    loop {
        match turn(from, to, used)? {
            Turn::Idle => from.readable().await?,
            // A fast sender must not keep the others waiting.
            Turn::Sent { full: true } => task::yield_now().await,
            Turn::Sent { full: false } => coop::consume_budget().await,
            Turn::Left(bytes) => write_all(to, &bytes).await?,
            Turn::End => {
                return match rustix::net::shutdown(to, Shutdown::Write) {
                    // It has been reset already; its reader finds out and says why.
                    Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                    Err(errno) => Err(errno.into()),
                };
            }
        }
    }
}

fn turn(from: &TcpStream, to: &TcpStream, used: &AtomicBool) -> io::Result<Turn> {
    SCRATCH.with_borrow_mut(|scratch| {
        let read = match from.try_read(scratch) {
            Ok(0) => return Ok(Turn::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Idle),
            Err(error) => return Err(error),
        };
        used.store(true, Ordering::Relaxed);
        let written = match to.try_write(&scratch[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == read {
            Turn::Sent {
                full: read == scratch.len(),
            }
        } else {
            Turn::Left(scratch[written..read].to_vec())
        })
    })
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
