//! The contract implemented by the kernel alone: namespaces, overlayfs, cgroups. No daemon.
//!
//! [`open`] gives a [`NativeRuntime`] over a folder, its *storage*. What there is stands in a
//! database there (module `books`); what lies beside it are layers and containers' folders.
//!
//! - A container is made by a helper process (module `helper`), which stays as its parent, waits
//!   for its end and writes that down. All mounts are in the container's own mount namespace: none
//!   is on the host, and none outlives the container.
//! - An image is a configuration and a chain of layers, unpacked; a capture is one too, whose
//!   uppermost layer is what a container's writable layer held more than at its last capture
//!   (module `tree`).
//! - All `unsafe` code is in the module `sys`.

mod books;
mod captures;
mod cgroup;
mod container;
mod containers;
mod copy;
mod drafts;
mod helper;
mod images;
mod import;
mod importing;
mod launch;
mod logs;
mod network;
mod plan;
mod process;
mod runtime;
mod settings;
mod spawn;
mod storage;
mod sys;
mod tree;
mod volumes;

pub use helper::main as helper_main;
pub use runtime::{NativeRuntime, open};

/// The runtime's name in configuration, command line and log.
pub const NAME: &str = "native";

/// How many layers an image can have in all. The kernel mounts 500; what is deep is slow to open.
const LAYER_LIMIT: u32 = 100;

/// A new id of an image or a container: 64 hexadecimal digits.
fn new_id() -> String {
    let halves: [u128; 2] = [rand::random(), rand::random()];
    format!("{:032x}{:032x}", halves[0], halves[1])
}
