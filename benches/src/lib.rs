//! What the benchmarks share: the runtimes, an application to version, raw API calls to compare
//! with, and figures.
//!
//! A claim is a ratio or a difference between two things timed in turn in one run: see [`Pairs`].

mod fixture;
mod pairs;
pub mod raw;

pub use fixture::{Fixture, PORT, available, import, program};
pub use pairs::{Pairs, Series};
