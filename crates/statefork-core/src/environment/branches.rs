//! `branch` and `switch`.

use futures_util::StreamExt;
use statefork_runtime::{Container, ContainerId};

use super::down::ENDED_AT_ONCE;
use super::{Begun, Environment};
use crate::error::{CoreError, Named, Result};
use crate::model::{Branch, MAIN, OperationKind, SnapshotId};
use crate::naming::{glob_matches, nearest};
use crate::operation::Recorder;
use crate::store::{EnvironmentRecord, Store};

/// A branch with its container as the runtime knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchView {
    /// It.
    pub branch: Branch,
    /// Its container; `None` if it has none, or if that was removed behind our back.
    pub container: Option<Container>,
    /// The containers that are prepared for it.
    pub standby: Vec<Prepared>,
}

/// A container that is prepared for a branch: launched, ready, frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What it was launched from.
    pub snapshot: SnapshotId,
    /// It.
    pub container: ContainerId,
    /// The memory that its processes had when it was frozen, in bytes.
    pub memory_bytes: u64,
}

/// All branches of an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchList {
    /// The name of the current one.
    pub current: String,
    /// All of them, by name.
    pub branches: Vec<BranchView>,
}

impl Environment {
    /// The branches with the state of their containers; `None` if the environment does not exist.
    pub async fn branches(&self) -> Result<Option<BranchList>> {
        let list = async {
            let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
                return Ok(None);
            };
            let standbys = self.store().standbys(record.number)?;
            let mut branches = Vec::new();
            for branch in self.store().branches(record.number)? {
                let container = match &branch.container {
                    Some(live) => self.runtime.inspect(&live.id).await?,
                    None => None,
                };
                let own = standbys
                    .iter()
                    .filter(|standby| standby.branch == branch.number);
                let ready = own.filter_map(|standby| {
                    Some(Prepared {
                        snapshot: standby.snapshot.clone(),
                        container: standby.container.as_ref()?.id.clone(),
                        memory_bytes: standby.memory_bytes,
                    })
                });
                branches.push(BranchView {
                    standby: ready.collect(),
                    branch,
                    container,
                });
            }
            Ok(Some(BranchList {
                current: self.branch.clone().unwrap_or(record.current),
                branches,
            }))
        };
        let outcome: Result<_> = list.await;
        outcome.map_err(|error| error.in_operation("list the branches"))
    }

    /// Removes branches with their containers, by names or patterns (`*` and `?`); their snapshots
    /// stay. Returns the names.
    pub async fn remove_branches(&self, patterns: &[String]) -> Result<Vec<String>> {
        let begun = Begun::now();
        let outcome = self.remove_branches_inner(begun, patterns).await;
        outcome
            .map_err(|error| error.in_operation(format!("remove branch {}", patterns.join(", "))))
    }

    async fn remove_branches_inner(
        &self,
        begun: Begun,
        patterns: &[String],
    ) -> Result<Vec<String>> {
        let _lock = self.lock_whole(OperationKind::BranchRemove).await?;
        let record = self.record()?;
        let chosen = self.choose(&record, patterns)?;
        let work = chosen.into_iter().map(|branch| async {
            self.remove_branch(begun, &record, &branch).await?;
            Ok(branch.name)
        });
        let work = futures_util::stream::iter(work).buffered(ENDED_AT_ONCE);
        let outcomes: Vec<Result<_>> = work.collect().await;
        outcomes.into_iter().collect()
    }

    /// The branches that names and patterns choose; each must choose something, and none `main`.
    fn choose(&self, record: &EnvironmentRecord, patterns: &[String]) -> Result<Vec<Branch>> {
        let branches = self.store().branches(record.number)?;
        let mut chosen: Vec<Branch> = Vec::new();
        for pattern in patterns {
            let mut any = false;
            for branch in &branches {
                let named = *pattern == branch.name;
                // A pattern never means the branch that an environment always has.
                if !named && (branch.name == MAIN || !glob_matches(pattern, &branch.name)) {
                    continue;
                }
                if branch.name == MAIN {
                    return Err(CoreError::MainBranch);
                }
                any = true;
                if !chosen.contains(branch) {
                    chosen.push(branch.clone());
                }
            }
            if !any {
                return Err(CoreError::NotFound {
                    what: Named::Branch,
                    name: pattern.clone(),
                    nearest: nearest(pattern, branches.iter().map(|branch| branch.name.clone())),
                });
            }
        }
        Ok(chosen)
    }

    /// Gives a branch another name. Its container and its ports stay as they are.
    pub async fn rename_branch(&self, from: &str, to: &str) -> Result<()> {
        let begun = Begun::now();
        let renamed = async {
            let _lock = self.lock_whole(OperationKind::BranchRename).await?;
            let record = self.record()?;
            if from == MAIN {
                return Err(CoreError::MainBranch);
            }
            let branch = self.branch(&record, from)?;
            self.check_free(&record, to)?;
            let intent = self.intent(OperationKind::BranchRename, begun, Some(&branch.name), &[]);
            let recorder = Recorder::begin(self.store(), &intent)?;
            recorder.publish(|store| Store::rename_branch(store, record.number, from, to))?;
            if let Err(error) = self.rename_in_identities(from, to) {
                // The branch has its name by now; its containers learn it when they start again.
                self.observer().notice(&format!(
                    "a container still says that it is on branch {from:?}: failed to {error}"
                ));
            }
            Ok(())
        };
        let outcome: Result<_> = renamed.await;
        outcome.map_err(|error| error.in_operation(format!("rename branch {from:?} to {to:?}")))
    }

    /// Makes a branch the current one.
    pub async fn switch(&self, name: &str) -> Result<()> {
        let begun = Begun::now();
        let switched = async {
            let _lock = self.lock_whole(OperationKind::Switch).await?;
            let record = self.record()?;
            let branch = self.branch(&record, name)?;
            let intent = self.intent(OperationKind::Switch, begun, Some(&branch.name), &[]);
            let recorder = Recorder::begin(self.store(), &intent)?;
            recorder.publish(|store| Store::set_current(store, record.number, name))
        };
        let outcome: Result<_> = switched.await;
        outcome.map_err(|error| error.in_operation(format!("switch to branch {name:?}")))
    }
}
