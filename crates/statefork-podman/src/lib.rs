//! The contract implemented over the Podman (libpod) API.
//!
//! [`open`] gives a [`PodmanRuntime`]. Most calls go through podman-api; those that it lacks or
//! gets wrong are raw requests over the same socket (module `raw` lists them with the reasons).
//! What Podman says only as text is read in one place (module `cause`).
//!
//! - A capture is an image that Podman commits, with the configuration of the image that the
//!   container was made from and the labels of the request (modules `plan` and `rewrite`).
//! - The layers of a chain become one before there are too many, and those of a capture can stand
//!   on others (module `flatten`).
//! - Containers are made with `image_volume_mode: ignore`: the paths that an image declares as
//!   volumes are in the writable layer, and so in every capture; no image has to be prepared.
//! - Containers log to files (`k8s-file`), whatever the service's default: a journal is not there
//!   on every machine, and other drivers cannot be read.
//! - The bridge of a container's network is told to announce its address (module `bridge`).

mod adopt;
mod archive;
mod bridge;
mod build;
mod captures;
mod cause;
mod client;
mod containers;
mod copy;
mod describe;
mod endpoint;
mod exec;
mod fault;
mod flatten;
mod frames;
mod images;
mod launch;
mod load;
mod made;
mod name;
mod obstacles;
mod plan;
mod raw;
mod rewrite;
mod rlimits;
mod runtime;
mod settle;
mod stack;
mod tail;

use statefork_runtime::{Result, RuntimeOptions};

use crate::client::Client;

/// The runtime's name in configuration, command line and log.
pub const NAME: &str = "podman";

/// How many layers an image can have in all. The overlay storage mounts 128; fewer, so that a
/// container and an image built on top of a capture have room.
const LAYER_LIMIT: u32 = 125;

/// Podman, through its service.
#[derive(Clone, Debug)]
pub struct PodmanRuntime {
    client: Client,
}

/// Opens Podman without contacting it: the socket is that of the options, else the one that
/// `CONTAINER_HOST` names, else the usual one of this user.
///
/// Errors: `Invalid` for a `CONTAINER_HOST` that is no UNIX socket.
pub fn open(options: &RuntimeOptions) -> Result<PodmanRuntime> {
    let socket = endpoint::socket(options)?;
    Ok(PodmanRuntime {
        client: Client::new(socket, options.api_timeout),
    })
}
