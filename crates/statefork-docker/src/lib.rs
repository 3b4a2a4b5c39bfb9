//! The contract implemented over the Docker Engine API.
//!
//! The daemon is reached by bollard over a UNIX socket on this machine. No version is negotiated:
//! bollard asks for none in its paths, so that the daemon answers in its newest one.
//!
//! What Docker does otherwise than the contract asks, and where that is mended:
//!
//! | Docker | Here |
//! |---|---|
//! | `commit` takes over the container's labels, variables and user | `commit` |
//! | `commit` silently leaves out what lies on a VOLUME path | `archive`: the image is given a configuration without it |
//! | an image that others stand on cannot be removed by id | `captures`: it waits under a name of ours |
//! | an image has at most 125 layers | `flatten`: those of a chain become one, or stand on others |
//! | an id's beginning is taken for the id | `names` |
//! | that a command cannot be run is only said in words | `message`, the one place that reads them |

mod adopt;
mod archive;
mod base;
mod build;
mod captures;
mod client;
mod commit;
mod containers;
mod copy;
mod describe;
mod endpoint;
mod exec;
mod failure;
mod flatten;
mod frames;
mod freeze;
mod images;
mod message;
mod names;
mod obstacles;
mod raw;
mod runtime;
mod spec;
mod stack;

use std::sync::Arc;

use statefork_runtime::{Result, RuntimeOptions};

use self::base::BaseImages;
use self::client::Client;

/// The runtime's name in configuration, command line and log.
pub const NAME: &str = "docker";

/// A Docker daemon on this machine.
pub struct DockerRuntime {
    client: Arc<Client>,
    bases: BaseImages,
}

/// Opens the runtime; contacts nobody.
///
/// The socket is the one in the options, else that of `DOCKER_HOST`, else `/var/run/docker.sock`,
/// else that of a rootless daemon. Errors: `Unsupported` for a `DOCKER_HOST` that is no UNIX
/// socket, `Invalid` for a path that is no text.
pub fn open(options: &RuntimeOptions) -> Result<DockerRuntime> {
    let socket = endpoint::find(options.socket.as_deref(), |name| std::env::var_os(name))?;
    Ok(DockerRuntime {
        client: Arc::new(Client::new(socket, options.api_timeout)),
        bases: BaseImages::default(),
    })
}
