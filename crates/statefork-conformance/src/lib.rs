//! The one table of cases that every runtime must pass, and the in-memory fake.
//!
//! A runtime enrols with a test program of a few lines ([`run`]). The cases know no runtime by
//! name: what a runtime cannot do is in its capabilities, and a case that needs it is listed as
//! ignored with the reason. What a case runs in its containers are lines of the fake's vocabulary
//! ([the table](fake#commands)), which a shell speaks elsewhere; cases for which that is not enough
//! need the capability `programs`.

mod case;
mod cases;
pub mod fake;
mod faulty;
mod fixture;
mod image;
mod probed;
mod runner;
mod suite;

pub use case::{Case, Group, Need};
pub use cases::all as cases;
pub use fake::FakeRuntime;
pub use fake::defective::{Defect, DefectiveRuntime};
pub use faulty::{Fault, FaultyRuntime, Method};
pub use image::TestImage;
pub use probed::Probed;
pub use runner::{Enrolment, run};
pub use suite::{Open, Suite};
