//! `restore`.

use statefork_runtime::{ContainerId, ObjectType, PortMapping};

use super::handover::Successor;
use super::{Begun, Environment, new_object};
use crate::error::Result;
use crate::model::{OperationKind, SnapshotId};
use crate::operation::{Recorder, Timing};
use crate::revision;

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
    /// How long it took.
    pub timing: Timing,
}

impl Environment {
    /// Brings the branch's container back to a snapshot. The former container is lost only once the
    /// new one can be used; on failure it goes on.
    pub async fn restore(&self, revision: &str) -> Result<RestoreReport> {
        let begun = Begun::now();
        let outcome = self.restore_inner(begun, revision).await;
        outcome.map_err(|error| error.in_operation(format!("restore {revision}")))
    }

    async fn restore_inner(&self, begun: Begun, revision: &str) -> Result<RestoreReport> {
        let _locks = self.lock_branch(OperationKind::Restore).await?;
        let record = self.record()?;
        let branch = self.store().branch(record.number, self.branch_name())?;
        let id = self.resolve(&record, &branch, revision)?;
        let snapshot = self.store().snapshot(record.number, &id)?;
        let objects = [(ObjectType::Container, new_object())];
        let mut intent = self.intent(OperationKind::Restore, begun, &objects);
        intent.target = Some(&id);
        intent.snapshot_kind = Some(snapshot.kind);
        let mut recorder = Recorder::begin(self.store(), &intent)?;
        let outcome = async {
            let old = match &branch.container {
                Some(live) => {
                    let container = self.runtime.inspect(&live.id).await?;
                    container.map(|container| (live.clone(), container))
                }
                None => None,
            };
            let successor = Successor {
                spec: snapshot.spec.clone(),
                snapshot,
                object: objects[0].1.clone(),
            };
            self.hand_over(&mut recorder, &record, &branch, old, &successor)
                .await
        };
        let outcome = outcome.await;
        let (live, timing) = recorder.finish(outcome)?;
        Ok(RestoreReport {
            id,
            branch: branch.name,
            container: live.id,
            ports: branch.ports,
            timing,
        })
    }

    /// The snapshot that a revision names.
    pub(super) fn resolve(
        &self,
        record: &crate::store::EnvironmentRecord,
        branch: &crate::model::Branch,
        revision: &str,
    ) -> Result<SnapshotId> {
        let nodes = self.store().graph(record.number)?;
        revision::resolve(
            revision,
            &revision::Graph {
                nodes: &nodes,
                branch: (&branch.name, &branch.head),
            },
        )
    }
}
