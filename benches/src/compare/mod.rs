//! The comparison: every runtime through the orchestrator, and next to it the naive way on the same
//! daemon. A [`Cell`] is what is done, a [`Tool`] who does it.

mod answer;
mod cell;
mod naive;
mod ours;
mod payload;
mod plan;
mod record;
mod stage;
mod tool;

pub use cell::{Cell, Operation, Payload};
pub use payload::Archive;
pub use plan::{Delay, Plan};
pub use record::{Record, Records, Sample};
pub use stage::Stage;
pub use tool::{Timed, Tool};
