//! What is known of a container that somebody made by hand.

use crate::{Container, ContainerSpec, PortMapping};

/// A container with the settings that it was made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// The container as it is now.
    pub container: Container,
    /// The name of the image that it was made from, in full, as far as the runtime knows one (some
    /// forget a name by which it was not asked for, some find one for an id). By now the name may
    /// be that of another image: [`Container::image`] is the one that the container has.
    pub image_name: Option<String>,
    /// Its settings, as far as they differ from the image's.
    ///
    /// Mounts are sorted by target. A volume without a name of its own, which the runtime made for
    /// the container, is a mount like a named one, under the name that the runtime gave it: a
    /// container that is launched with these settings shares it. (Containers that ran with it when
    /// it was made take it with them when they are removed, unless another one uses it.)
    pub spec: ContainerSpec,
    /// Its TCP ports on the host, sorted: where they are while it runs or is paused, else where
    /// they were asked for. The host port is 0 where any free one was asked for, and an address
    /// of both families appears twice (`0.0.0.0` and `[::]`) where the runtime listens on both.
    pub published: Vec<PortMapping>,
    /// What `spec` and `published` cannot say, and what a container that is launched with them
    /// would therefore lack: noun phrases in no particular order, only what differs from the
    /// runtime's default, with the option of `docker run` and `podman run` that gives it where
    /// there is one.
    pub obstacles: Vec<String>,
}
