//! `tag`: names for snapshots.

use super::{Begun, Environment};
use crate::error::{CoreError, Named, Result};
use crate::model::{BASE, OperationKind, SnapshotId};
use crate::naming::{check_name, nearest};
use crate::operation::Recorder;
use crate::store::{EnvironmentRecord, Store};

impl Environment {
    /// Names a snapshot. A tag that is there moves only if `force`.
    pub async fn tag(&self, name: &str, revision: &str, force: bool) -> Result<SnapshotId> {
        let begun = Begun::now();
        let tagged = async {
            let locked = self.lock_branch(OperationKind::Tag).await?;
            let record = self.record()?;
            let id = self.resolve(&record, &locked.branch, revision)?;
            let moves = force
                && self
                    .store()
                    .tags(record.number)?
                    .iter()
                    .any(|(tag, _)| tag == name);
            if !moves {
                self.check_free(&record, name)?;
            }
            let mut intent = self.intent(OperationKind::Tag, begun, Some(&locked.branch), &[]);
            intent.target = Some(&id);
            let recorder = Recorder::begin(self.store(), &intent)?;
            recorder.publish(|store| Store::set_tag(store, record.number, name, &id))?;
            self.tend_behind(&locked.branch, None).await;
            Ok(id)
        };
        let outcome: Result<_> = tagged.await;
        outcome.map_err(|error| error.in_operation(format!("tag {revision} as {name:?}")))
    }

    /// Removes a name; the snapshot stays.
    pub async fn untag(&self, name: &str) -> Result<()> {
        let begun = Begun::now();
        let untagged = async {
            let locked = self.lock_branch(OperationKind::Tag).await?;
            let record = self.record()?;
            let tags = self.store().tags(record.number)?;
            if !tags.iter().any(|(tag, _)| tag == name) {
                return Err(CoreError::NotFound {
                    what: Named::Tag,
                    name: name.to_owned(),
                    nearest: nearest(name, tags.into_iter().map(|(tag, _)| tag)),
                });
            }
            let intent = self.intent(OperationKind::Tag, begun, Some(&locked.branch), &[]);
            let recorder = Recorder::begin(self.store(), &intent)?;
            recorder.publish(|store| Store::remove_tag(store, record.number, name))?;
            self.tend_behind(&locked.branch, None).await;
            Ok(())
        };
        let outcome: Result<_> = untagged.await;
        outcome.map_err(|error| error.in_operation(format!("remove tag {name:?}")))
    }

    /// Refuses a name that no tag or branch can be given, or that one has.
    pub(super) fn check_free(&self, record: &EnvironmentRecord, name: &str) -> Result<()> {
        check_name(name)?;
        let taken = |by| {
            Err(CoreError::NameTaken {
                name: name.to_owned(),
                by,
            })
        };
        if name == BASE
            || self
                .store()
                .tags(record.number)?
                .iter()
                .any(|(tag, _)| tag == name)
        {
            return taken(Named::Tag);
        }
        if self.store().branch(record.number, name)?.is_some() {
            return taken(Named::Branch);
        }
        Ok(())
    }
}
