//! The contract between StateFork and a container runtime.
//!
//! # One life, from the runtime's side
//!
//! A runtime is opened from its [`RuntimeOptions`] without being contacted. [`Runtime::identify`]
//! says which daemon answers, [`Runtime::probe`] finds out by doing what it can do.
//!
//! An image is looked up ([`Images::inspect_image`]), built or imported. [`Images::prepare_image`]
//! gives an image with the same layers whose declared volumes belong to the container's writable
//! layer; [`Captures::of_image`] names it as the capture that everything starts from.
//! [`Captures::launch`] makes a container from a capture and starts it. The application runs, is
//! looked at ([`Containers::inspect`], [`Containers::logs`], [`Containers::changes`]) and worked
//! in ([`Containers::exec`], [`Containers::copy_out`], [`Containers::copy_in`]). [`Captures::capture`] stores what its writable layer holds as a new
//! capture, while the container goes on. To go back, a second container is launched from an
//! earlier capture beside the first, which is paused meanwhile; then the first is removed, or, if
//! the second never became usable, the second is removed and the first unpaused.
//!
//! Each capture of a container adds a layer to what that was launched from. Before a chain comes
//! to the runtime's limit ([`Captures::layers`], [`Capabilities::layer_limit`]),
//! [`Captures::flatten`] makes a capture with the same files and few layers, which takes its place.
//! What was captured meanwhile of a container that still runs from the long one is put on the short
//! one by [`Captures::rebase`]. [`layer`] is what the backends do both with.
//!
//! A container that somebody made by hand joins in with [`Containers::adopt`], which tells its
//! settings and what of it they cannot say.
//!
//! # Rules for every method
//!
//! - *Idempotent*: what is already as asked is success (pause a paused container, remove an absent
//!   one). What is absent is `None` from `inspect` and [`ErrorKind::NotFound`] from anything that
//!   needs it.
//! - *All or nothing*: after an error nothing that the call made is left behind, unless the
//!   method's documentation says what is.
//! - *Cancel-safe for the application*: dropping a future may leave an object (the caller logged
//!   its labels before), never a container frozen by the call.
//! - *Bounded*: each call to a daemon ends within [`RuntimeOptions::api_timeout`], except streams
//!   and builds, which end when their source does.
//! - Methods may be called concurrently, also for one container; the caller holds the locks that
//!   make the order meaningful.
//!
//! This crate does no I/O of its own, except that [`layer`] reads and writes the files and folders
//! that a backend gives it, and that the kernel is asked about
//! containers: [`freezer`] where a daemon may be mistaken, [`Share`] for what is made in the
//! background, [`usage`](fn@usage) what they take.

mod adoption;
mod boundary;
mod capability;
mod capture;
mod cgroup;
mod container;
mod error;
mod exec;
pub mod freezer;
mod id;
mod image;
mod labels;
pub mod layer;
mod path;
mod phase;
mod port;
mod priority;
pub mod probe;
mod runtime;
mod security;
mod spec;
mod tmpfs;
mod usage;

pub use adoption::Adoption;
pub use boundary::Boundary;
pub use capability::{Capabilities, Support};
pub use capture::{
    Capture, CaptureRequest, Captured, Captures, FlattenRequest, LaunchRequest, RebaseRequest,
};
pub use container::{
    Change, ChangeKind, Container, ContainerMount, ContainerState, Containers, LogRequest,
    MountKind,
};
pub use error::{BoxError, ErrorKind, ObjectKind, Result, RuntimeError};
pub use exec::{
    Exec, ExecControl, ExecExit, ExecRequest, Output, OutputStream, Stream, TerminalSize,
};
pub use id::{ContainerId, HomeId, ImageId, ObjectId};
pub use image::{
    BuildRequest, ByteStream, Image, ImageConfig, Images, PrepareRequest, named_images,
};
pub use labels::{
    LABEL_ENVIRONMENT, LABEL_HOME, LABEL_OBJECT, LABEL_TYPE, Labels, ObjectType, Owner,
};
pub use path::{container_entry, container_path};
pub use phase::{Phase, Phases};
pub use port::{PortMapping, PortParseError, PortParseReason, PortRange};
pub use priority::Share;
pub use runtime::{Found, Runtime, RuntimeIdentity, RuntimeOptions};
pub use security::{NO_NEW_PRIVILEGES, no_new_privileges};
pub use spec::{
    ContainerPort, ContainerSpec, EnvVar, Limits, Mount, MountSource, Network, Protocol,
};
pub use tmpfs::TmpfsOptions;
pub use usage::{Usage, usage};
