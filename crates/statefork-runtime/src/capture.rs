//! Captures: the state of a container, stored in its runtime.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Container, ContainerId, ContainerPort, ContainerSpec, ImageId, Labels, Phases, Result,
};

/// What a runtime needs to bring a state back: the backend's own data, kept by the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Version of `data`, the backend's own count. A reader refuses a higher one as `Damaged`.
    pub format: u32,
    /// For the backend alone.
    pub data: serde_json::Value,
}

/// How to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRequest {
    /// Name and tag of what is stored, so that the runtime's own clean-up does not take it
    /// (`statefork.local/ENVIRONMENT:ID`); unused names only.
    pub name: String,
    /// Labels of what is stored, besides which those of the container must not be inherited.
    pub labels: Labels,
    /// Whether the container's processes are frozen meanwhile, so that its files are those of one
    /// instant. A container that does not run needs none.
    pub pause: bool,
}

/// The outcome of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What to launch later.
    pub capture: Capture,
    /// Bytes of the layers that were stored, unpacked.
    pub size_bytes: u64,
    /// How many layers it has in all, as [`Captures::layers`] says.
    pub layers: u32,
}

/// How to launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchRequest {
    /// The container's name.
    pub name: String,
    /// The container's settings.
    pub spec: ContainerSpec,
    /// The container's labels.
    pub labels: Labels,
    /// Ports to publish on the loopback interface, each on a free port of the host; only where
    /// the host cannot reach a container's own address
    /// ([`Capabilities::publish`](crate::Capabilities)).
    pub publish: Vec<ContainerPort>,
}

/// How to flatten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlattenRequest {
    /// Name and tag of what is stored, as in [`CaptureRequest::name`]; unused names only.
    pub name: String,
    /// Labels of what is stored, besides those that the flattened capture has; at the same name
    /// these count.
    pub labels: Labels,
    /// What the capture stands on and what stays as it is: the capture of the image that the chain
    /// began with, or any other one whose layers the chain begins with.
    pub base: Capture,
}

/// How to rebase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebaseRequest {
    /// Name and tag of what is stored, as in [`CaptureRequest::name`]; unused names only.
    pub name: String,
    /// Labels of what is stored, besides those that the rebased capture has; at the same name
    /// these count.
    pub labels: Labels,
    /// What the capture stands on, directly or over others.
    pub from: Capture,
    /// What it is to stand on: one with the same files as `from`, as [`Captures::flatten`] makes it.
    pub onto: Capture,
}

/// Captures of a runtime.
#[async_trait]
pub trait Captures: Send + Sync {
    /// The capture that is an image as it stands. Removing it leaves the image alone.
    fn of_image(&self, image: &ImageId) -> Capture;

    /// Stores the container's writable layer as a capture; the container goes on as it was
    /// (running, paused or exited). Files on mounts are not held.
    ///
    /// Records [`Phase::Capture`](crate::Phase::Capture), and
    /// [`Phase::Pause`](crate::Phase::Pause) where the application could not run. A freeze that
    /// this call makes is inside the daemon's own commit, so that it ends even if we die.
    ///
    /// Errors: `NotFound`; `Conflict` for a taken name; `StorageFull`; `Unsupported` at the layer
    /// limit. After an error nothing is stored and the container goes on.
    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured>;

    /// Makes a container from a capture and starts it. Volumes that an image of ours still declares
    /// never hide what the capture holds at their paths.
    ///
    /// Records [`Phase::Create`](crate::Phase::Create) and [`Phase::Start`](crate::Phase::Start).
    /// Errors: `NotFound(Capture)` when the runtime has lost it; `Conflict` for a taken name;
    /// `Invalid` for a setting that the runtime refuses; `Unsupported` for ports where it publishes none;
    /// `StartFailed`. After an error there is no
    /// such container.
    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container>;

    /// How many layers the image of a capture has, those of the image that its chain began with
    /// included. Cheap, as it may be asked after each capture: one look-up.
    ///
    /// Errors: `NotFound(Capture)` when the runtime has lost it; `Damaged`.
    async fn layers(&self, capture: &Capture) -> Result<u32>;

    /// Makes a capture with the same files as `capture` and fewer layers: those of the request's
    /// base, and one in the place of all that were above them (none if nothing was).
    ///
    /// What is launched from the new capture cannot be told from what is launched from `capture`:
    /// content, modes, owners, times, extended attributes, links of both kinds, special files,
    /// empty directories and what was deleted are the same, and so is the image's configuration
    /// but for the labels. Hard links that the runtime's own layers had broken stay broken.
    ///
    /// `capture` and everything that stands on it are left alone; each of the two captures can be
    /// removed without the other. No container is made, looked at or frozen. Takes as long as
    /// reading the image and writing the layers above the base do, so that a caller does it where
    /// nobody waits.
    ///
    /// Needs room for the image's layers, and once more for those above the base, among this
    /// machine's temporary files.
    ///
    /// Errors: `NotFound(Capture)` when the runtime has lost one of the two; `Invalid` for a base
    /// whose layers the capture's do not begin with, and for a name that is none; `Conflict` for a
    /// taken name; `StorageFull`; `Unsupported` where the runtime cannot take an image in parts;
    /// `Damaged` when a layer is not what its digest says, or no layer. After an error, and when
    /// the future is dropped before the new image is named, nothing is stored.
    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured>;

    /// Makes a capture with the same files as `capture`: its layers are those of the request's `onto`
    /// and then those that `capture` has above `from`, one for one.
    ///
    /// That `from` and `onto` have the same files is for the caller to know; where they do, what is
    /// launched from the new capture cannot be told from what is launched from `capture`, as
    /// [`flatten`](Self::flatten) says it, the image's configuration and the labels included.
    ///
    /// All three are left alone; each of the captures can be removed without the others. No
    /// container is made, looked at or frozen. Where the layers can be read where the runtime keeps
    /// them, it takes as long as reading and storing those above `from`, which are few; else as
    /// long as reading the image. Needs room for them among this machine's temporary files.
    ///
    /// Errors: `NotFound(Capture)` when the runtime has lost one of the three; `Invalid` for a
    /// `from` whose layers the capture's do not begin with, and for a name that is none; `Conflict`
    /// for a taken name; `StorageFull`; `Unsupported` where the runtime cannot take an image in
    /// parts, or at the layer limit; `Damaged` when a layer is not what its digest says, or no layer.
    /// After an error, and when the future is dropped before the new image is named, nothing is
    /// stored.
    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured>;

    /// Whether the runtime still has everything that the capture needs to be launched: its image,
    /// with the layers that the runtime's own books name. Whether each file on the disk is intact
    /// is not looked at. Takes as long as one look at an image; changes nothing.
    ///
    /// Errors: `Damaged` for a capture that cannot be read.
    async fn verify_capture(&self, capture: &Capture) -> Result<bool>;

    /// Removes what the capture alone needs; layers that other captures stand on stay until those
    /// go. Absent: success. Errors: `Conflict` while a container runs from it.
    async fn remove_capture(&self, capture: &Capture) -> Result<()>;
}
