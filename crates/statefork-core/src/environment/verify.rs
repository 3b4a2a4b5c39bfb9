//! `verify`: whether the runtime still has what snapshots need.

use super::Environment;
use crate::error::Result;
use crate::model::SnapshotId;

/// What was found of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether everything that it needs is there.
    pub intact: bool,
}

impl Environment {
    /// Looks at one snapshot, or at all, oldest first, and keeps what it finds for `list`.
    pub async fn verify(&self, revision: Option<&str>) -> Result<Vec<Verified>> {
        let what = revision.unwrap_or("the snapshots");
        let verified = async {
            let record = self.record()?;
            let chosen = match revision {
                Some(revision) => {
                    let id = self.resolve(&record, &self.branch_name()?, revision)?;
                    vec![self.store().snapshot(record.number, &id)?]
                }
                None => self.store().snapshots(record.number)?,
            };
            let mut found = Vec::new();
            for snapshot in chosen {
                self.options.cancel.check()?;
                let intact = self.runtime.verify_capture(&snapshot.capture).await?;
                self.store()
                    .set_verified(record.number, &snapshot.id, intact)?;
                found.push(Verified {
                    id: snapshot.node.id,
                    intact,
                });
            }
            Ok(found)
        };
        let outcome: Result<_> = verified.await;
        outcome.map_err(|error| error.in_operation(format!("verify {what}")))
    }
}
