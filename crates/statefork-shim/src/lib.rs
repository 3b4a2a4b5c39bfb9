//! A live branch's ports: forwarder, protocol and client.
//!
//! A published port belongs to the branch, not to its container: containers come and go with every
//! restore, the branch's address stays. Each live branch has one small process, its *shim*, which
//! listens on the branch's ports and forwards each connection to the current container, and which
//! holds new connections while there is none.
//!
//! It is also the dead man's switch of a freeze: see [`Shim::guard`]; and it starts work that nobody
//! waits for: see [`Shim::work`].
//!
//! A command uses [`Shim`], the client; the helper program is [`main`]. The shim holds nothing
//! whose loss hurts the application: after it was killed, [`Shim::ensure`] starts it anew and the
//! same ports are asked for again.
//!
//! ```no_run
//! # async fn example() -> Result<(), statefork_shim::ShimError> {
//! use std::collections::BTreeMap;
//! use std::path::Path;
//! use std::time::Duration;
//! use statefork_shim::Shim;
//!
//! let helper = Path::new("/usr/bin/statefork-shim");
//! let dir = Path::new("/var/lib/statefork/shims/1");
//! let mut shim = Shim::ensure(helper, dir).await?;
//! let ports = shim.listen(&["8080:8000".parse().expect("a port mapping")]).await?;
//! shim.hold(Duration::from_secs(60)).await?;
//! // … make the next container …
//! let address = "172.17.0.3:8000".parse().expect("an address");
//! shim.target(&BTreeMap::from([(ports[0].container, address)])).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod connection;
mod control;
mod daemon;
mod directory;
mod error;
mod expiry;
mod forwarder;
mod guard;
mod listener;
mod log;
mod peer;
pub mod protocol;
mod pump;
mod routes;
mod server;
mod start;
mod wire;
mod worker;

pub use client::{Shim, TIMEOUT};
pub use daemon::main;
pub use error::{Result, ShimError, ShimErrorKind};
pub use protocol::{Hello, ShimStatus, Target};
