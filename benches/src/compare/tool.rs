//! Who does it: the orchestrator on a runtime, or the naive way on its daemon.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use statefork_runtime::Phase;

use super::Operation;
use super::payload::Archive;

/// What one operation took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Until the call came back, by the benchmark's clock.
    pub total: Duration,
    /// Until the new container had been started.
    pub start: Option<Duration>,
    /// Until the new process answered over HTTP at the published address.
    pub usable: Option<Duration>,
    /// All of it by the operation log, where there is one.
    pub logged: Option<Duration>,
    /// The phases of the operation log.
    pub phases: Vec<(Phase, Duration)>,
    /// What was stored, in bytes.
    pub stored_bytes: Option<u64>,
}

/// Does operations on an application of its own. All methods but [`run`](Self::run) are outside of
/// the time.
#[async_trait]
pub trait Tool {
    /// The runtime's name.
    fn runtime(&self) -> &str;

    /// Whether this is the naive way.
    fn is_naive(&self) -> bool;

    /// Makes what all iterations of an operation stand on.
    async fn begin(&mut self, operation: Operation, payload: &Archive) -> Result<()>;

    /// Changes files, as before each iteration.
    async fn prepare(&mut self, payload: &Archive) -> Result<()>;

    /// Does it.
    async fn run(&mut self, operation: Operation) -> Result<Timed>;

    /// Brings everything back to where it was before the iteration.
    async fn tidy(&mut self, operation: Operation) -> Result<()>;

    /// Brings everything back to where it was before [`begin`](Self::begin).
    async fn end(&mut self) -> Result<()>;

    /// Removes everything.
    async fn down(&mut self) -> Result<()>;
}
