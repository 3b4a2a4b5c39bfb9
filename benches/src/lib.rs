//! What the benchmarks share: the runtimes, an application to version, raw API calls to compare
//! with, and figures.
//!
//! A claim is a ratio or a difference between two things timed in turn in one run: see [`Pairs`]
//! and [`compare`].

pub mod compare;
#[cfg(feature = "delay")]
mod delayed;
mod fixture;
mod images;
pub mod load;
mod pairs;
pub mod raw;
mod runtimes;
mod versioned;

pub use fixture::{COMMAND, Fixture, PORT, program};
pub use images::{BUSYBOX, ImageArchive, TARGET_APP};
pub use pairs::{Pairs, Series};
pub use runtimes::{Available, Skipped, available, examine, storage_options};
pub use versioned::Versioned;
