//! One operation: the intent in the log, its phases, its end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Transaction;
use statefork_runtime::{Boundary, ObjectId, ObjectType, Phase, Phases};

use crate::error::{CoreError, Result};
use crate::model::{Branch, OperationKind, Outcome, SnapshotId, SnapshotKind};
use crate::process::ProcessIdentity;
use crate::store::{Finished, NewOperation, NewStandby, Reserved, Store};

/// What an operation is going to do.
pub(crate) struct Intent<'a> {
    pub(crate) kind: OperationKind,
    pub(crate) environment: &'a str,
    pub(crate) runtime: &'a str,
    pub(crate) branch: Option<&'a str>,
    pub(crate) target: Option<&'a SnapshotId>,
    pub(crate) snapshot_kind: Option<SnapshotKind>,
    pub(crate) objects: &'a [(ObjectType, ObjectId)],
    /// When the person asked, waiting for locks included.
    pub(crate) begun: (Timestamp, Instant),
}

/// An operation that is under way.
pub(crate) struct Recorder<'a> {
    store: &'a Store,
    seq: i64,
    kind: OperationKind,
    begun: Instant,
    usable: Option<Duration>,
    warm: Option<bool>,
    left: bool,
    pub(crate) phases: Phases,
}

/// How long an operation took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Its sequence number in the log.
    pub operation: i64,
    /// All of it.
    pub duration: Duration,
    /// From its begin until the application could be used.
    pub usable: Duration,
    /// Whether the application went on in a container that was prepared ahead (warm), or in one that
    /// was launched (cold); `None` where it went on in none.
    pub warm: Option<bool>,
    /// The duration of each phase.
    pub phases: Vec<(Phase, Duration)>,
}

impl Intent<'_> {
    fn row<'a>(&'a self, process: &'a ProcessIdentity) -> NewOperation<'a> {
        NewOperation {
            kind: self.kind,
            environment: self.environment,
            runtime: self.runtime,
            branch: self.branch,
            target: self.target,
            snapshot_kind: self.snapshot_kind,
            process,
            started_at: self.begun.0,
            objects: self.objects,
        }
    }
}

fn process() -> Result<ProcessIdentity> {
    ProcessIdentity::current().map_err(|source| CoreError::Io {
        op: "read",
        path: "/proc/self/stat".into(),
        source,
    })
}

impl<'a> Recorder<'a> {
    /// Writes the intent.
    pub(crate) fn begin(store: &'a Store, intent: &Intent<'_>) -> Result<Self> {
        let process = process()?;
        let seq = store.begin_operation(&intent.row(&process))?;
        Boundary::Logged.pass();
        Ok(Self::of(store, seq, intent))
    }

    /// Writes the intent to prepare a container in one transaction with its place; what came of that, where
    /// it is not to be.
    pub(crate) fn begin_standby(
        store: &'a Store,
        new: &NewStandby<'_>,
        intent: &Intent<'_>,
    ) -> Result<Result<Self, Reserved>> {
        let process = process()?;
        match store.begin_standby(new, &intent.row(&process))? {
            Reserved::Yes { seq } => {
                Boundary::Logged.pass();
                Ok(Ok(Self::of(store, seq, intent)))
            }
            refused => Ok(Err(refused)),
        }
    }

    /// Writes the intents of forks, each with the branch that it names, in one transaction. `None`:
    /// something has one of the names.
    pub(crate) fn begin_forks(
        store: &'a Store,
        environment: i64,
        intents: &[Intent<'_>],
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Vec<(Self, Branch)>>> {
        let process = process()?;
        let rows: Vec<_> = intents.iter().map(|intent| intent.row(&process)).collect();
        let Some(begun) = store.begin_forks(environment, &rows, expires_at)? else {
            return Ok(None);
        };
        Boundary::Logged.pass();
        let begun = begun.into_iter().zip(intents);
        Ok(Some(
            begun
                .map(|((seq, branch), intent)| (Self::of(store, seq, intent), branch))
                .collect(),
        ))
    }

    fn of(store: &'a Store, seq: i64, intent: &Intent<'_>) -> Self {
        Self {
            store,
            seq,
            kind: intent.kind,
            begun: intent.begun.1,
            usable: None,
            warm: None,
            left: false,
            phases: Phases::new(),
        }
    }

    /// What the operation does.
    pub(crate) fn kind(&self) -> OperationKind {
        self.kind
    }

    /// Runs blocking work and adds its time to a phase.
    pub(crate) fn time<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        self.phases.time_blocking(phase, work)
    }

    /// From now on the application can be used.
    pub(crate) fn usable(&mut self) {
        self.usable = Some(self.begun.elapsed());
    }

    /// The application goes on in a container that was prepared ahead, or in one that was launched.
    pub(crate) fn goes_on(&mut self, warm: bool) {
        self.warm = Some(warm);
    }

    /// Its number in the log.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    /// Makes a change of the store alone and records the end, in one transaction: no process dies
    /// in between.
    pub(crate) fn publish(self, change: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        Boundary::Acted.pass();
        let end = Finished {
            outcome: Outcome::Done,
            error: None,
            duration: self.begun.elapsed(),
            usable: None,
            warm: None,
            phases: &[],
        };
        match self.store.finish_with(self.seq, &end, change) {
            Ok(()) => {
                Boundary::Recorded.pass();
                Ok(())
            }
            Err(error) => self.finish(Err(error)).map(|((), _)| ()),
        }
    }

    /// Something is left that the next operation has to take away: this one stays unfinished for
    /// it, although its person may go on.
    pub(crate) fn leave_rest(&mut self) {
        self.left = true;
    }

    /// Records the end; a failure keeps its error, which is returned. One that may have left
    /// something half done stays unfinished, so that the next operation recovers it.
    pub(crate) fn finish<T>(self, outcome: Result<T>) -> Result<(T, Timing)> {
        Boundary::Acted.pass();
        let duration = self.begun.elapsed();
        let phases = self.phases.snapshot();
        let error = outcome.as_ref().err().map(error_line);
        let end = Finished {
            outcome: match &outcome {
                Ok(_) if self.left => Outcome::Running,
                Ok(_) => Outcome::Done,
                // Without a phase it had changed nothing when it found nobody there.
                Err(error)
                    if error.leaves_undone() && !(phases.is_empty() && error.found_nobody()) =>
                {
                    Outcome::Running
                }
                Err(_) => Outcome::Failed,
            },
            error: error.as_deref(),
            duration,
            usable: self.usable,
            warm: self.warm,
            phases: &phases,
        };
        let recorded = self.store.finish_operation(self.seq, &end);
        Boundary::Recorded.pass();
        match (outcome, recorded) {
            (Ok(output), Ok(())) => {
                let timing = Timing {
                    operation: self.seq,
                    duration,
                    usable: self.usable.unwrap_or(duration),
                    warm: self.warm,
                    phases,
                };
                Ok((output, timing))
            }
            (Ok(_), Err(error)) => Err(error),
            (Err(error), recorded) => Err(error.and_then(recorded)),
        }
    }
}

/// An error with its causes on one line, for the log.
fn error_line(error: &CoreError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
