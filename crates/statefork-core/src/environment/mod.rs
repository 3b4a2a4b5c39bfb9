//! An environment: one application on one runtime, and the graph of its versions.

mod address;
mod attach;
mod attempt;
mod branches;
mod build;
mod chain;
mod copy;
mod down;
mod expiry;
mod flatten;
mod fork;
mod handover;
mod hook;
mod identity;
mod inside;
mod left_builds;
mod lifecycle;
mod locks;
mod memory;
mod own_files;
mod read;
mod recover;
mod remove;
mod restore;
mod retire;
mod settings;
mod snapshot;
mod standby;
mod status;
mod successor;
mod tags;
mod tend;
mod up;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use statefork_runtime::{Container, ObjectId, ObjectType, Owner, Runtime};
use tokio_util::sync::CancellationToken;

use crate::error::{CoreError, Named, Result};
use crate::home::Home;
use crate::model::{Branch, LiveContainer, MAIN, OperationKind};
use crate::naming::{check_name, image_repository, nearest};
use crate::operation::Intent;
use crate::store::{EnvironmentRecord, Store, random_id};

pub use attach::AttachRequest;
pub use attempt::TryReport;
pub use branches::{BranchList, BranchView, Prepared};
pub use build::{Builder, Open};
pub use down::{DownReport, DownRequest};
pub use fork::{Fork, ForkReport, ForkRequest, Forked};
pub use lifecycle::LifecycleReport;
pub use read::Unfinished;
pub use remove::RemoveReport;
pub use restore::{RestoreReport, RestoreRequest};
pub use snapshot::{SnapshotReport, SnapshotRequest};
pub use status::{LiveState, Status};
pub use up::{ImageRequest, Requested, UpReport, UpRequest};
pub use verify::Verified;

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

/// The programs beside the one that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The helper binary `statefork-shim`.
    pub helper: PathBuf,
    /// The main binary with the arguments that name the home. What is appended to it names an
    /// environment, a runtime and a branch, and then [`RECOVER`] or [`THAW`], to be run where a command
    /// has died, or [`TEND`] or [`REAP`], to be run in the background.
    pub worker: Vec<String>,
}

impl Programs {
    /// A worker command on a branch of an environment, in words.
    fn command(
        &self,
        environment: &str,
        runtime: &str,
        branch: &str,
        command: &[&str],
    ) -> Vec<String> {
        let words = self.worker.iter().map(String::as_str);
        let names = ["-e", environment, "-r", runtime, "-b", branch];
        let words = words.chain(names).chain(command.iter().copied());
        words.map(ToOwned::to_owned).collect()
    }
}

/// The worker command that takes the branch's locks and recovers.
pub const RECOVER: &str = "recover";
/// The worker command that unpauses the container whose id follows.
pub const THAW: &str = "thaw";
/// The worker command that does what there is to do behind the operations on the branch.
pub const TEND: &str = "tend";
/// The worker command that removes the branches of the environment whose time is over.
pub const REAP: &str = "reap";

/// How operations are carried out.
#[derive(Clone)]
pub struct Options {
    /// The programs that a shim takes; `None`: branches have no shim, so they can have no ports,
    /// and nobody looks after what a command that died has frozen.
    pub programs: Option<Programs>,
    /// How long an application may be frozen before it is thawed, come what may.
    pub freeze_timeout: Duration,
    /// How long to wait for another process's lock.
    pub lock_timeout: Duration,
    /// How long a polite stop waits before it kills.
    pub stop_timeout: Duration,
    /// Other runtimes, which may build images where the environment's own has no builder, the
    /// preferred ones first; where none of them answers, `buildah` does. Empty: nobody else builds.
    pub builders: Vec<Builder>,
    /// How much memory all prepared containers of the home may take, in bytes; `None`: a tenth of the
    /// machine's.
    pub standby_memory: Option<u64>,
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
    /// The branch that was asked for; else the environment's current one.
    branch: Option<String>,
    options: Options,
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
    /// Names an environment, and the branch to work on: the environment's current one unless
    /// given. Nothing is read or contacted.
    pub fn new(
        home: Arc<Home>,
        runtime: Arc<dyn Runtime>,
        name: &str,
        branch: Option<&str>,
        options: Options,
    ) -> Result<Self> {
        check_name(name)?;
        branch.map(check_name).transpose()?;
        Ok(Self {
            home,
            runtime,
            name: name.to_owned(),
            branch: branch.map(ToOwned::to_owned),
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

    /// The name of the branch that commands work on.
    pub fn branch_name(&self) -> Result<String> {
        if let Some(branch) = &self.branch {
            return Ok(branch.clone());
        }
        let record = self.store().environment(&self.name, self.runtime.name())?;
        Ok(record.map_or_else(|| MAIN.to_owned(), |record| record.current))
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

    /// A branch of an environment, by name.
    fn branch(&self, record: &EnvironmentRecord, name: &str) -> Result<Branch> {
        if let Some(branch) = self.store().branch(record.number, name)? {
            return Ok(branch);
        }
        let branches = self.store().branches(record.number)?;
        Err(CoreError::NotFound {
            what: Named::Branch,
            name: name.to_owned(),
            nearest: nearest(name, branches.into_iter().map(|branch| branch.name)),
        })
    }

    fn not_up(&self) -> CoreError {
        CoreError::NotUp {
            environment: self.name.clone(),
            runtime: self.runtime.name(),
        }
    }

    /// The environment with its branch's container; an error where there is none.
    async fn live(&self) -> Result<Live> {
        self.live_on(&self.branch_name()?).await
    }

    async fn live_on(&self, branch: &str) -> Result<Live> {
        let record = self
            .store()
            .environment(&self.name, self.runtime.name())?
            .ok_or_else(|| self.not_up())?;
        let branch = self.branch(&record, branch)?;
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
        branch: Option<&'a str>,
        objects: &'a [(ObjectType, ObjectId)],
    ) -> Intent<'a> {
        Intent {
            kind,
            environment: &self.name,
            runtime: self.runtime.name(),
            branch,
            target: None,
            snapshot_kind: None,
            objects,
            begun: (begun.0, begun.1),
        }
    }

    /// A worker command on one of its branches, in words.
    fn worker(&self, programs: &Programs, branch: &str, command: &[&str]) -> Vec<String> {
        programs.command(&self.name, self.runtime.name(), branch, command)
    }

    /// The name of a container of ours in the runtime.
    fn container_name(&self, branch: &str, object: &ObjectId) -> String {
        format!("statefork-{}-{branch}-{}", self.name, short(object))
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
