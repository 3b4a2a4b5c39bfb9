//! `restore`.

use statefork_runtime::{ContainerId, ObjectType, PortMapping};

use super::handover::Successor;
use super::snapshot::SnapshotRequest;
use super::{Begun, Environment, new_object};
use crate::error::{CoreError, Result};
use crate::model::{MAIN, OperationKind, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::revision;
use crate::store::EnvironmentRecord;

/// How to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// The revision.
    pub revision: String,
    /// Whether what changed since the last snapshot is kept in one of its own first.
    pub save: bool,
    /// Whether it is done only once the former container is gone.
    pub wait: bool,
}

impl RestoreRequest {
    /// Brings the branch back to a revision; what changed since is lost.
    pub fn to(revision: &str) -> Self {
        Self {
            revision: revision.to_owned(),
            save: false,
            wait: false,
        }
    }
}

/// A branch that was brought back to a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreReport {
    /// The snapshot.
    pub id: SnapshotId,
    /// The branch.
    pub branch: String,
    /// Its new container.
    pub container: ContainerId,
    /// Its ports.
    pub ports: Vec<PortMapping>,
    /// The snapshot that was taken first.
    pub saved: Option<SnapshotId>,
    /// How long it took.
    pub timing: Timing,
}

impl Environment {
    /// Brings the branch's container back to a snapshot. The former container is lost only once the
    /// new one can be used; on failure it goes on.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        let begun = Begun::now();
        let outcome = self.restore_inner(begun, request).await;
        outcome.map_err(|error| error.in_operation(format!("restore {}", request.revision)))
    }

    async fn restore_inner(&self, begun: Begun, request: &RestoreRequest) -> Result<RestoreReport> {
        let locked = self.lock_branch(OperationKind::Restore).await?;
        self.restore_locked(begun, OperationKind::Restore, &locked.branch, request)
            .await
    }

    /// Makes the head of a branch that of `main`, whose container is replaced by one from it. The
    /// branch stays as it is.
    pub async fn promote(&self, branch: &str) -> Result<RestoreReport> {
        let begun = Begun::now();
        let promoted = async {
            let kind = OperationKind::BranchPromote;
            let _locked = self.lock_named_branch(kind, MAIN.to_owned()).await?;
            if branch == MAIN {
                return Err(CoreError::MainBranch);
            }
            let head = self.branch(&self.record()?, branch)?.head;
            let request = RestoreRequest::to(head.as_str());
            self.restore_locked(begun, kind, MAIN, &request).await
        };
        let outcome: Result<_> = promoted.await;
        outcome.map_err(|error| error.in_operation(format!("promote branch {branch:?}")))
    }

    async fn restore_locked(
        &self,
        begun: Begun,
        kind: OperationKind,
        branch: &str,
        request: &RestoreRequest,
    ) -> Result<RestoreReport> {
        let record = self.record()?;
        let id = self.resolve(&record, branch, &request.revision)?;
        let mut begun = begun;
        let mut saved = None;
        if request.save && self.branch(&record, branch)?.container.is_some() {
            let save = SnapshotRequest::default();
            let report = self.snapshot_locked(begun, branch, &save).await?;
            saved = Some(report.snapshot.node.id);
            begun = Begun::now();
        }
        let branch = self.branch(&record, branch)?;
        let kind_of_snapshot = self.store().snapshot(record.number, &id)?.kind;
        let objects = [(ObjectType::Container, new_object())];
        let mut intent = self.intent(kind, begun, Some(&branch.name), &objects);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(kind_of_snapshot);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            let old = match &branch.container {
                Some(live) => {
                    let container = self.runtime.inspect(&live.id).await?;
                    container.map(|container| (live.clone(), container))
                }
                None => None,
            };
            // Read in the operation: what it names is not removed as superseded while that runs.
            let snapshot = self.store().snapshot(record.number, &id)?;
            let successor = Successor {
                spec: snapshot.spec.clone(),
                snapshot,
                object: objects[0].1.clone(),
                wait: request.wait,
                is_new: old.is_none(),
            };
            self.hand_over(&mut recorder, &record, &branch, old, &successor)
                .await
        };
        let outcome = outcome.await;
        let finished = recorder.finish(outcome);
        // Also after a failure: what was prepared may be used up.
        self.tend_behind(&branch.name, None).await;
        let (live, timing) = finished?;
        Ok(RestoreReport {
            id,
            branch: branch.name,
            container: live.id,
            ports: branch.ports,
            saved,
            timing,
        })
    }

    /// The snapshot that a revision names, on a branch.
    pub(super) fn resolve(
        &self,
        record: &EnvironmentRecord,
        branch: &str,
        revision: &str,
    ) -> Result<SnapshotId> {
        let store = self.store();
        // What HEAD means must be there, whatever else is named.
        self.branch(record, branch)?;
        let nodes = store.graph(record.number)?;
        let branches = store.branches(record.number)?;
        let tags = store.tags(record.number)?;
        let former = |name: &str| match branches.iter().find(|branch| branch.name == name) {
            Some(branch) => store.former_heads(branch.number),
            None => Ok(Vec::new()),
        };
        revision::resolve(
            revision,
            &revision::Graph {
                nodes: &nodes,
                branches: &branches
                    .iter()
                    .map(|branch| (branch.name.as_str(), &branch.head))
                    .collect::<Vec<_>>(),
                current: branch,
                tags: &tags,
                former: &former,
            },
        )
    }
}
