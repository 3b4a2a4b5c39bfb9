//! What the branches of forks are called.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use statefork_runtime::ObjectType;

use super::{Begin, ForkRequest};
use crate::environment::{Begun, Environment, new_object};
use crate::error::{CoreError, Result};
use crate::lock::Lock;
use crate::model::{OperationKind, SnapshotId};
use crate::naming::check_name;
use crate::operation::{Intent, Recorder};
use crate::store::EnvironmentRecord;

/// What names begin with unless another word was asked for.
const PREFIX: &str = "fork";

impl Environment {
    /// Refuses a name that forks cannot have before anything is made for them.
    pub(super) fn check_fork_name(
        &self,
        record: &EnvironmentRecord,
        request: &ForkRequest,
    ) -> Result<()> {
        match (&request.name, request.count) {
            (Some(name), 1) => self.check_free(record, name),
            (Some(prefix), count) => check_name(&format!("{prefix}-{count}")),
            (None, _) => Ok(()),
        }
    }

    /// Writes the forks into the store: their operations and their branches, which are locked.
    pub(super) async fn begin_forks(
        &self,
        record: &EnvironmentRecord,
        id: &SnapshotId,
        request: &ForkRequest,
    ) -> Result<Vec<Begin<'_>>> {
        let begun = Begun::now();
        let kind = self.store().snapshot(record.number, id)?.kind;
        loop {
            let (names, locks): (Vec<_>, Vec<_>) =
                self.claim(record, request).await?.into_iter().unzip();
            let objects: Vec<_> = names
                .iter()
                .map(|_| [(ObjectType::Container, new_object())])
                .collect();
            let intents: Vec<_> = names
                .iter()
                .zip(&objects)
                .map(|(name, objects)| Intent {
                    target: Some(id),
                    snapshot_kind: Some(kind),
                    ..self.intent(OperationKind::Fork, begun, Some(name), objects)
                })
                .collect();
            let expires_at = request.ttl.map(|ttl| Timestamp::now() + ttl);
            let forks = Recorder::begin_forks(self.store(), record.number, &intents, expires_at)?;
            // Otherwise somebody has given one of the names to something else meanwhile.
            if let Some(forks) = forks {
                let objects = objects.into_iter().map(|[(_, object)]| object);
                let forks = forks.into_iter().zip(objects).zip(locks);
                let forks = forks.map(|(((recorder, branch), object), lock)| Begin {
                    recorder,
                    branch,
                    object,
                    _lock: lock,
                });
                return Ok(forks.collect());
            }
        }
    }

    /// Free names with the locks of the branches that are to have them.
    async fn claim(
        &self,
        record: &EnvironmentRecord,
        request: &ForkRequest,
    ) -> Result<Vec<(String, Lock)>> {
        let lock = |name: String, timeout| async move {
            let locking = self.branch_lock(OperationKind::Fork.as_str(), &name, timeout);
            let lock = self.options.cancel.or(locking).await?;
            Ok((name, lock))
        };
        if let (Some(name), 1) = (&request.name, request.count) {
            let claimed = lock(name.clone(), self.options.lock_timeout).await?;
            self.check_free(record, name)?;
            return Ok(vec![claimed]);
        }
        let prefix = request.name.as_deref().unwrap_or(PREFIX);
        let branches = self.store().branches(record.number)?;
        let tags = self.store().tags(record.number)?;
        let taken: HashSet<String> = branches
            .into_iter()
            .map(|branch| branch.name)
            .chain(tags.into_iter().map(|(tag, _)| tag))
            .collect();
        let mut claimed = Vec::with_capacity(request.count);
        let mut names = (1_u64..).map(|number| format!("{prefix}-{number}"));
        while claimed.len() < request.count
            && let Some(name) = names.find(|name| !taken.contains(name))
        {
            check_name(&name)?;
            match lock(name, Duration::ZERO).await {
                Ok(named) => claimed.push(named),
                // Another command is about to make a branch of it.
                Err(CoreError::Locked { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(claimed)
    }
}
