//! The phases of an operation, timed where they happen.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Boundary;

/// A part of an operation, by the name under which the operation log keeps its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Building an image.
    Build,
    /// Giving the image its volumes back ([`Images::prepare_image`](crate::Images::prepare_image)).
    Prepare,
    /// The time in which the application could not run. Where the runtime pauses inside its own
    /// commit, the time of that commit: an upper bound.
    Pause,
    /// Storing the writable layer.
    Capture,
    /// Flattening a chain of captures.
    Flatten,
    /// Putting a capture on a flattened one.
    Rebase,
    /// Making the result durable in the home.
    Persist,
    /// Stopping a container.
    Stop,
    /// Making a container.
    Create,
    /// Starting it, until the runtime says that it runs.
    Start,
    /// Thawing a container that was prepared ahead.
    Thaw,
    /// From started to usable: waiting for readiness.
    Ready,
    /// Running the hook `after_restore`.
    Hook,
    /// Moving the branch's address.
    Switch,
    /// Removing what is no longer needed.
    Remove,
}

impl Phase {
    /// All phases, in the order in which they can happen.
    pub const ALL: [Self; 15] = [
        Self::Build,
        Self::Prepare,
        Self::Pause,
        Self::Capture,
        Self::Flatten,
        Self::Rebase,
        Self::Persist,
        Self::Stop,
        Self::Create,
        Self::Start,
        Self::Thaw,
        Self::Ready,
        Self::Hook,
        Self::Switch,
        Self::Remove,
    ];

    /// The name in the operation log and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Prepare => "prepare",
            Self::Pause => "pause",
            Self::Capture => "capture",
            Self::Flatten => "flatten",
            Self::Rebase => "rebase",
            Self::Persist => "persist",
            Self::Stop => "stop",
            Self::Create => "create",
            Self::Start => "start",
            Self::Thaw => "thaw",
            Self::Ready => "ready",
            Self::Hook => "hook",
            Self::Switch => "switch",
            Self::Remove => "remove",
        }
    }

    /// Reads a name; `None` for one that this version does not know.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Records how long each phase of one operation took. A phase that happens twice is added up.
#[derive(Debug, Default)]
pub struct Phases(Mutex<Vec<(Phase, Duration)>>);

impl Phases {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` and adds the time it took to `phase`, whatever it returns.
    pub async fn time<F: Future>(&self, phase: Phase, work: F) -> F::Output {
        Boundary::Begin(phase).pass();
        let begun = Instant::now();
        let output = work.await;
        self.add(phase, begun.elapsed());
        Boundary::End(phase).pass();
        output
    }

    /// The same for work that blocks.
    pub fn time_blocking<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        Boundary::Begin(phase).pass();
        let begun = Instant::now();
        let output = work();
        self.add(phase, begun.elapsed());
        Boundary::End(phase).pass();
        output
    }

    /// Adds a duration that was measured elsewhere.
    pub fn add(&self, phase: Phase, took: Duration) {
        let mut phases = self.lock();
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, sum)) => *sum += took,
            None => phases.push((phase, took)),
        }
    }

    /// What was recorded, in the order in which the phases began.
    pub fn snapshot(&self) -> Vec<(Phase, Duration)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Phase, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_happens_twice_is_added_up() {
        let phases = Phases::new();
        phases.add(Phase::Pause, Duration::from_millis(2));
        phases.add(Phase::Capture, Duration::from_millis(5));
        phases.add(Phase::Pause, Duration::from_millis(1));
        assert_eq!(
            phases.snapshot(),
            [
                (Phase::Pause, Duration::from_millis(3)),
                (Phase::Capture, Duration::from_millis(5)),
            ]
        );
    }

    #[test]
    fn names_read_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
    }
}
