//! An environment: one application on one runtime, and the graph of its versions.

mod down;
mod handover;
mod inside;
mod read;
mod restore;
mod settings;
mod snapshot;
mod status;
mod up;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use statefork_runtime::{Container, ObjectId, ObjectType, Owner, Runtime};
use tokio_util::sync::CancellationToken;

use crate::error::{CoreError, Named, Result};
use crate::home::Home;
use crate::lock::{Lock, LockMode, LockRequest};
use crate::model::{Branch, LiveContainer, MAIN, OperationKind};
use crate::naming::{check_name, image_repository};
use crate::operation::Intent;
use crate::store::{EnvironmentRecord, Store, random_id};

pub use down::{DownReport, DownRequest};
pub use read::Unfinished;
pub use restore::RestoreReport;
pub use snapshot::{SnapshotReport, SnapshotRequest};
pub use status::{LiveState, Status};
pub use up::{ImageRequest, Requested, UpReport, UpRequest};

/// Asks an operation to end early. It ends at its next safe point, undone.
#[derive(Clone, Debug, Default)]
pub struct Cancel(CancellationToken);

impl Cancel {
    /// One that nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// `Interrupted` once somebody has asked.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.is_cancelled() {
            true => Err(CoreError::Interrupted),
            false => Ok(()),
        }
    }

    /// Gives `work` up when somebody asks.
    pub(crate) async fn or<T, E: Into<CoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => Err(CoreError::Interrupted),
            output = work => output.map_err(Into::into),
        }
    }
}

/// Told what a person should know while an operation runs.
pub trait Observer: Send + Sync {
    /// What is being done now, if it may take a while.
    fn progress(&self, text: &str);
    /// A line of a builder's output.
    fn build_output(&self, line: &str);
    /// Something that was done otherwise than one might expect, or that a snapshot does not hold.
    fn notice(&self, text: &str);
}

/// How operations are carried out.
#[derive(Clone)]
pub struct Options {
    /// The helper binary `statefork-shim`.
    pub helper: PathBuf,
    /// How long to wait for another process's lock.
    pub lock_timeout: Duration,
    /// How long a polite stop waits before it kills.
    pub stop_timeout: Duration,
    /// Ends operations early.
    pub cancel: Cancel,
    /// Is told.
    pub observer: Arc<dyn Observer>,
}

/// One application on one runtime, by name. It need not exist yet: [`Environment::up`] makes it.
#[derive(Clone)]
pub struct Environment {
    home: Arc<Home>,
    runtime: Arc<dyn Runtime>,
    name: String,
    options: Options,
}

/// Locks held by an operation.
pub(crate) struct Locks {
    _environment: Lock,
    _branch: Option<Lock>,
}

/// The moment in which an operation was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Begun(Timestamp, Instant);

impl Begun {
    pub(crate) fn now() -> Self {
        Self(Timestamp::now(), Instant::now())
    }
}

/// An environment whose branch has a container, as the runtime knows it now.
pub(crate) struct Live {
    pub(crate) record: EnvironmentRecord,
    pub(crate) branch: Branch,
    pub(crate) live: LiveContainer,
    pub(crate) container: Container,
}

impl Environment {
    /// Names an environment. Nothing is read or contacted.
    pub fn new(
        home: Arc<Home>,
        runtime: Arc<dyn Runtime>,
        name: &str,
        options: Options,
    ) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            home,
            runtime,
            name: name.to_owned(),
            options,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its runtime's name.
    pub fn runtime_name(&self) -> &'static str {
        self.runtime.name()
    }

    /// The branch that commands work on.
    pub fn branch_name(&self) -> &str {
        MAIN
    }

    fn store(&self) -> &Store {
        self.home.store()
    }

    fn observer(&self) -> &dyn Observer {
        self.options.observer.as_ref()
    }

    fn owner(&self, object: &ObjectId) -> Owner {
        Owner {
            home: self.home.id().clone(),
            environment: self.name.clone(),
            object: object.clone(),
        }
    }

    /// The record of an environment that exists.
    fn record(&self) -> Result<EnvironmentRecord> {
        let record = self.store().environment(&self.name, self.runtime.name())?;
        record.ok_or_else(|| CoreError::NotFound {
            what: Named::Environment,
            name: self.name.clone(),
            nearest: None,
        })
    }

    fn not_up(&self) -> CoreError {
        CoreError::NotUp {
            environment: self.name.clone(),
            runtime: self.runtime.name(),
        }
    }

    /// The environment with its container; an error where there is none.
    async fn live(&self) -> Result<Live> {
        let record = self
            .store()
            .environment(&self.name, self.runtime.name())?
            .ok_or_else(|| self.not_up())?;
        let branch = self.store().branch(record.number, MAIN)?;
        let live = branch.container.clone().ok_or_else(|| self.not_up())?;
        let container = self.runtime.inspect(&live.id).await?;
        let container = container.ok_or_else(|| CoreError::Lost {
            container: live.id.short().to_owned(),
        })?;
        Ok(Live {
            record,
            branch,
            live,
            container,
        })
    }

    fn intent<'a>(
        &'a self,
        kind: OperationKind,
        begun: Begun,
        objects: &'a [(ObjectType, ObjectId)],
    ) -> Intent<'a> {
        Intent {
            kind,
            environment: &self.name,
            runtime: self.runtime.name(),
            branch: Some(MAIN),
            target: None,
            snapshot_kind: None,
            objects,
            begun: (begun.0, begun.1),
        }
    }

    /// Takes the locks of an operation on the branch.
    async fn lock_branch(&self, kind: OperationKind) -> Result<Locks> {
        let environment = self.lock_environment(kind, LockMode::Shared).await?;
        let branch = Lock::acquire(LockRequest {
            path: self.home.branch_lock(&self.name, self.runtime.name(), MAIN),
            what: format!("branch {MAIN:?} of environment {:?}", self.name),
            mode: LockMode::Exclusive,
            command: kind.as_str(),
            timeout: self.options.lock_timeout,
        });
        Ok(Locks {
            _environment: environment,
            _branch: Some(self.options.cancel.or(branch).await?),
        })
    }

    /// Takes the locks of an operation on the environment as a whole.
    async fn lock_whole(&self, kind: OperationKind) -> Result<Locks> {
        Ok(Locks {
            _environment: self.lock_environment(kind, LockMode::Exclusive).await?,
            _branch: None,
        })
    }

    async fn lock_environment(&self, kind: OperationKind, mode: LockMode) -> Result<Lock> {
        let request = LockRequest {
            path: self.home.environment_lock(&self.name, self.runtime.name()),
            what: format!("environment {:?}", self.name),
            mode,
            command: kind.as_str(),
            timeout: self.options.lock_timeout,
        };
        let mut outcome = self.options.cancel.or(Lock::acquire(request)).await;
        if let Err(CoreError::Locked { holder, .. }) = &mut outcome
            && holder.is_none()
        {
            // Held shared: whoever holds a branch holds the environment too.
            let branch = self.home.branch_lock(&self.name, self.runtime.name(), MAIN);
            *holder = crate::lock::read_holder(&branch);
        }
        outcome
    }

    /// The name of a container of ours in the runtime.
    fn container_name(&self, object: &ObjectId) -> String {
        format!("statefork-{}-{MAIN}-{}", self.name, short(object))
    }

    /// The name and tag of an image of ours in the runtime.
    fn image_name(&self, tag: &str) -> String {
        format!("{}:{tag}", image_repository(&self.name))
    }
}

/// The first digits of an object's value: enough to tell objects apart in a list.
fn short(object: &ObjectId) -> &str {
    let digits = object.as_str();
    digits.get(..8).unwrap_or(digits)
}

/// A new object's random value.
fn new_object() -> ObjectId {
    ObjectId::new(random_id())
}

#[cfg(test)]
mod tests;
