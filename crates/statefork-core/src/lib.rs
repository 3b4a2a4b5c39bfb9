//! The runtime-agnostic orchestrator: version graph, operation log, store and operations.
//!
//! A [`Home`] holds everything that outlives a process. An [`Environment`] is one application on
//! one runtime and the graph of its versions; its methods are the operations. Which runtime there
//! is, the caller decides: this crate knows the contract alone.

mod archive;
mod build_context;
mod buildah;
pub mod config;
mod doctor;
pub mod environment;
mod error;
mod home;
mod lock;
mod model;
mod naming;
mod operation;
mod probing;
mod process;
mod readiness;
mod revision;
mod stats;
mod store;

pub use archive::Copied;
pub use doctor::{Examined, examine};
pub use environment::Environment;
pub use error::{CoreError, ErrorKind, HookFailure, Named, NotReadyReason, Result};
pub use home::Home;
pub use lock::Holder;
pub use model::{
    BASE, Branch, ImageSource, LiveContainer, MAIN, Node, NotHeld, Operation, OperationKind,
    Outcome, Settings, Snapshot, SnapshotId, SnapshotKind,
};
pub use naming::{check_name, is_own_image};
pub use operation::Timing;
pub use process::ProcessIdentity;
pub use stats::{Figures, StatRow};
