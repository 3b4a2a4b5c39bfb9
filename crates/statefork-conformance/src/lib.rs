//! The one table of cases that every runtime must pass, and the in-memory fake.

pub mod fake;

pub use fake::FakeRuntime;
