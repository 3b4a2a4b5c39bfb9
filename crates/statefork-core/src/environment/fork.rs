//! `fork`: new branches that live side by side, each with a container of its own from one snapshot.
//!
//! Each fork is an operation of its own in the log, written together with its branch. What fails is
//! undone, its branch included, and is that fork's error alone.

mod names;
mod ports;

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use statefork_runtime::{ContainerId, ContainerSpec, Network, ObjectId, PortMapping, PortRange};

use super::handover::Successor;
use super::snapshot::{SnapshotReport, SnapshotRequest};
use super::{Begun, Environment};
use crate::error::{CoreError, Result};
use crate::lock::Lock;
use crate::model::{Branch, LiveContainer, OperationKind, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::store::EnvironmentRecord;

/// How many forks are under way at once, for each processor. Most of one's time goes into waiting:
/// for the daemon, and for the application to be ready. More at once would only make each one, which
/// has a limit for its readiness, take longer.
const AT_ONCE: usize = 4;

/// How to fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// The revision; `None`: a snapshot that is taken now.
    pub revision: Option<String>,
    /// How many forks, at least 1.
    pub count: usize,
    /// With `count` 1 the branch's name, otherwise what the names begin with, before `-1`, `-2` and so
    /// on; `None`: `fork`, with a number in any case.
    pub name: Option<String>,
    /// From each range every fork gets its first port that is free. Empty: any free port for each
    /// container port of the branch that is forked.
    pub ports: Vec<PortRange>,
    /// How long after this the branches are removed by themselves; `None`: never.
    pub ttl: Option<Duration>,
    /// Whether forks may write into a mount that they share.
    pub share_mounts: bool,
}

impl Default for ForkRequest {
    /// One fork, from now.
    fn default() -> Self {
        Self {
            revision: None,
            count: 1,
            name: None,
            ports: Vec::new(),
            ttl: None,
            share_mounts: false,
        }
    }
}

/// What came of forking.
#[derive(Debug)]
pub struct ForkReport {
    /// The snapshot that the forks went on from.
    pub id: SnapshotId,
    /// That snapshot, where it was taken for them.
    pub taken: Option<SnapshotReport>,
    /// One for each that was asked for, by number.
    pub forks: Vec<Fork>,
    /// How long all of it took.
    pub duration: Duration,
}

/// What came of one fork.
#[derive(Debug)]
pub struct Fork {
    /// The branch; there is none after an error.
    pub branch: String,
    /// Its container, or why it has none.
    pub outcome: Result<Forked>,
}

/// A branch that a fork made.
#[derive(Clone, Debug, PartialEq)]
pub struct Forked {
    /// Its container.
    pub container: ContainerId,
    /// Its ports.
    pub ports: Vec<PortMapping>,
    /// When it is removed by itself; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// How long it took.
    pub timing: Timing,
}

/// A fork whose branch is in the store.
struct Begin<'a> {
    recorder: Recorder<'a>,
    branch: Branch,
    object: ObjectId,
    /// The branch's.
    _lock: Lock,
}

/// What the forks of one command have in common.
struct Common<'a> {
    record: &'a EnvironmentRecord,
    id: &'a SnapshotId,
    ports: Vec<PortRange>,
}

impl Environment {
    /// Makes branches with containers of their own, side by side. An error is one of all of them;
    /// then there are none. A fork that fails leaves nothing, and the others stay.
    pub async fn fork(&self, request: &ForkRequest) -> Result<ForkReport> {
        let begun = Begun::now();
        let outcome = self.fork_inner(begun, request).await;
        outcome.map_err(|error| {
            error.in_operation(match &request.revision {
                Some(revision) => format!("fork {revision}"),
                None => "fork".to_owned(),
            })
        })
    }

    async fn fork_inner(&self, begun: Begun, request: &ForkRequest) -> Result<ForkReport> {
        request.check()?;
        let current = self.branch_name()?;
        let Some(revision) = &request.revision else {
            let locked = self.lock_branch(OperationKind::Fork).await?;
            let live = self.live_on(&locked.branch).await?;
            check_own(&live.live.spec, request)?;
            self.check_fork_name(&live.record, request)?;
            let now = SnapshotRequest::default();
            let taken = self.snapshot_locked(begun, &locked.branch, &now).await?;
            // The branch goes on; the environment stays as it is until all forks are there.
            let _environment = locked.release_branch();
            let forks = self.fork_from(&live.record, &taken.snapshot.node.id, &current, request);
            let forks = forks.await.inspect_err(|_| {
                let id = &taken.snapshot.node.id;
                self.observer()
                    .notice(&format!("snapshot {id} was taken before and stays"));
            })?;
            return Ok(ForkReport {
                id: taken.snapshot.node.id.clone(),
                taken: Some(taken),
                forks,
                duration: begun.1.elapsed(),
            });
        };
        let _environment = self.lock_beside(OperationKind::Fork).await?;
        let record = self.record()?;
        let id = self.resolve(&record, &current, revision)?;
        check_own(&self.store().snapshot(record.number, &id)?.spec, request)?;
        self.check_fork_name(&record, request)?;
        let forks = self.fork_from(&record, &id, &current, request).await?;
        Ok(ForkReport {
            id,
            taken: None,
            forks,
            duration: begun.1.elapsed(),
        })
    }

    async fn fork_from(
        &self,
        record: &EnvironmentRecord,
        id: &SnapshotId,
        current: &str,
        request: &ForkRequest,
    ) -> Result<Vec<Fork>> {
        self.options.cancel.check()?;
        let ports = self.ports_to_fork(record, current, request)?;
        let forks = self.begin_forks(record, id, request).await?;
        let common = &Common { record, id, ports };
        let work = forks.into_iter().enumerate();
        let work =
            work.map(|(number, begin)| async move { (number, self.fork_one(common, begin).await) });
        let mut under_way = futures_util::stream::iter(work).buffer_unordered(at_once());
        let mut done = Vec::new();
        while let Some(fork) = under_way.next().await {
            done.push(fork);
            self.observer()
                .progress(&format!("forking: {} of {}", done.len(), request.count));
        }
        done.sort_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, fork)| fork).collect())
    }

    async fn fork_one(&self, common: &Common<'_>, begin: Begin<'_>) -> Fork {
        let Begin {
            mut recorder,
            mut branch,
            object,
            _lock,
        } = begin;
        let brought_up = self.bring_up(&mut recorder, common, &mut branch, &object);
        let outcome = match brought_up.await {
            Ok(live) => Ok(live),
            Err(error) => {
                let undone = self.undo_fork(&branch, &object, &error).await;
                Err(error.and_then(undone))
            }
        };
        let outcome = recorder.finish(outcome).map(|(live, timing)| Forked {
            container: live.id,
            ports: branch.ports,
            expires_at: branch.expires_at,
            timing,
        });
        Fork {
            outcome: outcome
                .map_err(|error| error.in_operation(format!("bring fork {:?} up", branch.name))),
            branch: branch.name,
        }
    }

    /// Launches a fork's container while its shim starts, and publishes it. After an error the container
    /// is gone.
    async fn bring_up(
        &self,
        recorder: &mut Recorder<'_>,
        common: &Common<'_>,
        branch: &mut Branch,
        object: &ObjectId,
    ) -> Result<LiveContainer> {
        self.options.cancel.check()?;
        // Read in the operation: what it names is not removed as superseded while that runs.
        let snapshot = self.store().snapshot(common.record.number, common.id)?;
        let successor = Successor {
            spec: snapshot.spec.clone(),
            snapshot,
            object: object.clone(),
            wait: false,
            is_new: false,
        };
        // Which ports of the container it will be that are served is known already.
        branch.ports = common.ports.iter().map(PortRange::first).collect();
        let (listening, launched) = tokio::join!(
            self.take_free_ports(branch, &common.ports),
            self.launch_successor(recorder, common.record, branch, &successor),
        );
        let container = launched?;
        match listening {
            Ok((mut shim, ports)) => {
                branch.ports = ports;
                self.go_on_in(
                    recorder,
                    common.record,
                    branch,
                    &successor,
                    &container,
                    &mut shim,
                )
                .await
            }
            Err(error) => Err(error.and_then(self.take_away(&successor, &container).await)),
        }
    }

    /// Takes everything of a fork back that did not come up. Its container is gone, or else its
    /// operation stays unfinished with the container's random value.
    async fn undo_fork(&self, branch: &Branch, object: &ObjectId, error: &CoreError) -> Result<()> {
        self.forget_shim(branch).await?;
        self.store().remove_fork(branch)?;
        match error.leaves_undone() {
            true => Ok(()),
            false => self.forget_objects(&[object]),
        }
    }
}

impl ForkRequest {
    /// Refuses what no fork could be made of.
    fn check(&self) -> Result<()> {
        let refuse = |what: String, reason: &str| {
            Err(CoreError::InvalidSettings {
                what,
                reason: reason.to_owned(),
            })
        };
        if self.count == 0 {
            return refuse("0 forks".to_owned(), "at least one is to be made");
        }
        if self.ttl == Some(Duration::ZERO) {
            return refuse("the time 0".to_owned(), "the forks would end as they begin");
        }
        match self.ports.iter().find(|range| range.is_one()) {
            Some(port) if self.count > 1 => refuse(
                format!("port {port}"),
                "only one fork can have it; name a range with as many ports as forks",
            ),
            _ => Ok(()),
        }
    }
}

/// Refuses settings with which forks would not be apart from each other.
fn check_own(spec: &ContainerSpec, request: &ForkRequest) -> Result<()> {
    if spec.network == Network::Host {
        return Err(CoreError::HostNetwork);
    }
    match spec.shared_writable() {
        Some(mount) if !request.share_mounts => Err(CoreError::SharedMount {
            target: mount.target.clone(),
        }),
        _ => Ok(()),
    }
}

fn at_once() -> usize {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, std::num::NonZero::get) * AT_ONCE
}
