//! What an operation left whose process died, or which could not undo what it had done: finished or
//! undone by the next one on its branch.
//!
//! An operation that died before it was published is undone: what it made goes, the container that
//! it froze or stopped goes on. One that died after is finished: what it no longer needed goes.
//! Which of the two it is, the store says: an object that it names is published.

use std::collections::HashSet;

use statefork_runtime::{ContainerState, ObjectId, ObjectType};

use super::Environment;
use crate::error::Result;
use crate::model::{Branch, OperationKind, Outcome};
use crate::store::{Dead, EnvironmentRecord, Untold};

/// What the lock's holder is said to be doing while it recovers only.
const RECOVERING: &str = "recover";

impl Environment {
    /// Recovers what operations on the branch have left whose processes ended, and nothing else:
    /// for the worker of a shim. The next operation tells what was done.
    pub async fn recover_branch(&self) -> Result<()> {
        let recovered = async {
            let name = self.branch_name()?;
            self.lock_and_recover(RECOVERING, name).await.map(drop)
        };
        let outcome: Result<_> = recovered.await;
        outcome.map_err(|error| error.in_operation("recover the branch"))
    }

    /// Recovers what operations of ended processes have left, on one branch or on all. The caller
    /// holds the locks.
    pub(super) async fn recover(&self, branch: Option<&str>) -> Result<()> {
        let dead = self
            .store()
            .dead(&self.name, self.runtime.name())?
            .into_iter()
            .filter(|operation| branch.is_none() || operation.branch.as_deref() == branch)
            .collect::<Vec<_>>();
        if dead.is_empty() {
            return Ok(());
        }
        let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
            return self.undo_all(&dead).await;
        };
        if record.purging {
            return self.finish_purge(&record, &dead).await;
        }
        if dead.iter().any(|operation| self.is_first_up(operation)) {
            return self.undo_first_up(&record, &dead).await;
        }
        for operation in &dead {
            let outcome = self.recover_one(&record, operation).await?;
            self.close(operation, outcome)?;
        }
        self.forget_unreferenced(&record).await
    }

    async fn recover_one(&self, record: &EnvironmentRecord, dead: &Dead) -> Result<Outcome> {
        let branches = self.store().branches(record.number)?;
        let concerned: Vec<&Branch> = branches
            .iter()
            .filter(|branch| dead.branch.is_none() || dead.branch.as_ref() == Some(&branch.name))
            .collect();
        if matches!(dead.kind, OperationKind::Down | OperationKind::BranchRemove) {
            // Its containers may be half gone: forward is the only way.
            for branch in concerned {
                self.end_shim(branch).await?;
                self.end_standbys(record, |standby| standby.branch == branch.number)
                    .await?;
                if let Some(live) = &branch.container {
                    if !live.attached {
                        self.runtime.remove(&live.id).await?;
                    }
                    self.store().set_container(branch.number, None)?;
                }
                if dead.kind == OperationKind::BranchRemove {
                    self.forget_shim(branch).await?;
                    self.store()
                        .remove_branch(branch, record.number, crate::MAIN)?;
                }
            }
            return Ok(Outcome::Recovered);
        }
        let referenced = self.referenced(record)?;
        let published = dead
            .objects
            .iter()
            .any(|(_, object)| referenced.contains(object));
        let lost: Vec<_> = dead
            .objects
            .iter()
            .filter(|(_, object)| !referenced.contains(object))
            .cloned()
            .collect();
        if matches!(dead.kind, OperationKind::Flatten | OperationKind::Standby) {
            // It did nothing to a branch's container.
            let given_up = lost.iter().map(|(_, object)| object);
            self.store().give_up_standbys(given_up)?;
            self.remove_objects(&lost).await?;
            return Ok(match published {
                true => Outcome::Recovered,
                false => Outcome::Undone,
            });
        }
        if dead.kind == OperationKind::Fork && !published {
            self.remove_objects(&lost).await?;
            for branch in concerned {
                self.forget_shim(branch).await?;
                self.store().remove_fork(branch)?;
            }
            return Ok(Outcome::Undone);
        }
        // What is frozen first: the application is away until then.
        for branch in &concerned {
            self.thaw(branch).await?;
        }
        self.remove_objects(&lost).await?;
        for branch in concerned {
            self.bring_forward(record, branch).await?;
        }
        Ok(match published || self.took_effect(record, dead).await? {
            true => Outcome::Recovered,
            false => Outcome::Undone,
        })
    }

    /// Whether an operation that makes no object had done what it was to do. What changes the store
    /// alone never dies in between.
    async fn took_effect(&self, record: &EnvironmentRecord, dead: &Dead) -> Result<bool> {
        match dead.kind {
            OperationKind::Remove => {
                let graph = self.store().graph(record.number)?;
                Ok(!graph.iter().any(|(id, _)| Some(id) == dead.target.as_ref()))
            }
            OperationKind::Start | OperationKind::Stop => {
                let name = dead.branch.as_deref().unwrap_or(crate::MAIN);
                let live = self.branch(record, name)?.container;
                let container = match live {
                    Some(live) => self.runtime.inspect(&live.id).await?,
                    None => None,
                };
                let running = container.map(|container| container.state == ContainerState::Running);
                Ok(running == Some(dead.kind == OperationKind::Start))
            }
            _ => Ok(false),
        }
    }

    /// A branch's container goes on if it is frozen, and its address leads to it.
    async fn thaw(&self, branch: &Branch) -> Result<()> {
        let Some(live) = &branch.container else {
            return Ok(());
        };
        let Some(container) = self.runtime.inspect(&live.id).await? else {
            return Ok(());
        };
        // One that is said to run may be frozen all the same, if the daemon died as it did that.
        if !matches!(
            container.state,
            ContainerState::Paused | ContainerState::Running
        ) {
            return Ok(());
        }
        self.runtime.unpause(&container.id).await?;
        let mut shim = self.shim(branch).await?;
        self.retarget(&container, branch, &mut shim).await
    }

    /// A branch's container runs again, and its address leads to it.
    async fn bring_forward(&self, record: &EnvironmentRecord, branch: &Branch) -> Result<()> {
        let Some(live) = &branch.container else {
            return self.end_shim(branch).await;
        };
        let Some(container) = self.runtime.inspect(&live.id).await? else {
            return Ok(());
        };
        let container = match container.state {
            // Only an operation that could not pause it has stopped it.
            ContainerState::Exited { .. }
                if !live.spec.can_run_twice()
                    || !record.capabilities.pause.is_yes()
                    || (live.attached && !branch.ports.is_empty()) =>
            {
                self.runtime.start(&container.id).await?;
                self.runtime.inspect(&live.id).await?.unwrap_or(container)
            }
            ContainerState::Created => {
                self.runtime.start(&container.id).await?;
                self.runtime.inspect(&live.id).await?.unwrap_or(container)
            }
            _ => container,
        };
        if container.address.is_none() {
            return Ok(());
        }
        let mut shim = self.shim(branch).await?;
        self.retarget(&container, branch, &mut shim).await
    }

    /// Removes from the runtime what the log names and nothing in the store does any more: an old
    /// container whose removal did not happen, the capture of a snapshot that was removed. What an
    /// operation that still runs has made is not touched.
    pub(super) async fn forget_unreferenced(&self, record: &EnvironmentRecord) -> Result<()> {
        let unreferenced = self.store().unreferenced(record.number)?;
        self.remove_objects(&unreferenced).await
    }

    /// The objects that the store names: containers of branches, those prepared for them, captures of
    /// snapshots.
    fn referenced(&self, record: &EnvironmentRecord) -> Result<HashSet<ObjectId>> {
        let mut referenced: HashSet<ObjectId> = self
            .store()
            .capture_objects(record.number)?
            .into_iter()
            .collect();
        for branch in self.store().branches(record.number)? {
            referenced.extend(branch.container.map(|live| live.object));
        }
        for standby in self.store().standbys(record.number)? {
            referenced.extend(standby.container.map(|live| live.object));
        }
        Ok(referenced)
    }

    /// Whether it was to make the environment: only such a one logs the image's objects.
    fn is_first_up(&self, dead: &Dead) -> bool {
        dead.kind == OperationKind::Up
            && dead
                .objects
                .iter()
                .any(|(kind, _)| *kind == ObjectType::Prepared)
    }

    /// A first `up` that died before its application could be used leaves no environment.
    async fn undo_first_up(&self, record: &EnvironmentRecord, dead: &[Dead]) -> Result<()> {
        let referenced = self.referenced(record)?;
        let published = dead
            .iter()
            .flat_map(|operation| &operation.objects)
            .any(|(_, object)| referenced.contains(object));
        if published {
            for branch in self.store().branches(record.number)? {
                self.bring_forward(record, &branch).await?;
            }
            return dead
                .iter()
                .try_for_each(|operation| self.close(operation, Outcome::Recovered));
        }
        for branch in self.store().branches(record.number)? {
            self.forget_shim(&branch).await?;
        }
        let objects = self.store().objects(&self.name, self.runtime.name())?;
        self.remove_objects(&objects).await?;
        self.remove_left_builds(&builds_of(&objects)).await?;
        self.store().remove_environment(record.number)?;
        dead.iter()
            .try_for_each(|operation| self.close(operation, Outcome::Undone))
    }

    /// Without an environment there is nothing to finish.
    async fn undo_all(&self, dead: &[Dead]) -> Result<()> {
        for operation in dead {
            self.remove_objects(&operation.objects).await?;
            self.remove_left_builds(&builds_of(&operation.objects))
                .await?;
            let outcome = match operation.kind {
                // Of a purge nothing stays.
                OperationKind::Down => Outcome::Recovered,
                _ => Outcome::Undone,
            };
            self.close(operation, outcome)?;
        }
        Ok(())
    }

    async fn finish_purge(&self, record: &EnvironmentRecord, dead: &[Dead]) -> Result<()> {
        for branch in self.store().branches(record.number)? {
            self.end_shim(&branch).await?;
            if let Some(live) = &branch.container
                && !live.attached
            {
                self.runtime.remove(&live.id).await?;
            }
        }
        self.purge(record).await?;
        dead.iter()
            .try_for_each(|operation| self.close(operation, Outcome::Recovered))
    }

    fn close(&self, dead: &Dead, outcome: Outcome) -> Result<()> {
        self.store().close_operation(dead.seq, outcome)
    }

    /// Tells what was recovered since somebody was last told, by this process or by the worker of
    /// a shim, whom nobody hears.
    pub(super) fn tell_recovered(&self) -> Result<()> {
        for untold in self.store().untold(&self.name, self.runtime.name())? {
            let (seq, kind) = (untold.seq, &untold.kind);
            if !self.store().set_told(seq)? {
                continue;
            }
            let what = match untold.outcome {
                Outcome::Recovered => "finished",
                _ => "undone",
            };
            self.observer().notice(&format!(
                "{kind} (operation {seq}) was cut off; it is {what} now"
            ));
            self.tell_what_stays(&untold)?;
        }
        Ok(())
    }

    /// Whoever tried a command wants to know whether its changes are still there: how it ended is
    /// not known where nobody came to go back.
    fn tell_what_stays(&self, untold: &Untold) -> Result<()> {
        let (Outcome::Recovered, Some(branch), Some(target)) =
            (untold.outcome, &untold.branch, &untold.target)
        else {
            return Ok(());
        };
        let record = self.store().environment(&self.name, self.runtime.name())?;
        let Some(record) = record.filter(|_| untold.kind == OperationKind::Try.as_str()) else {
            return Ok(());
        };
        let branch = self.store().branch(record.number, branch)?;
        let went_back = branch
            .and_then(|branch| branch.container)
            .is_some_and(|live| live.origin.as_str() == target);
        if !went_back {
            self.observer().notice(&format!(
                "what the tried command has changed stays; snapshot {target} is from before it"
            ));
        }
        Ok(())
    }
}

/// The builds among some objects.
fn builds_of(objects: &[(ObjectType, ObjectId)]) -> Vec<ObjectId> {
    let builds = objects
        .iter()
        .filter(|(kind, _)| *kind == ObjectType::Build);
    builds.map(|(_, object)| object.clone()).collect()
}
