//! Containers that are prepared ahead of a restore: launched from a snapshot, waited for, frozen.
//!
//! A worker prepares them behind the operations, without locks, and gives way: what it has made is
//! removed where the snapshot or the branch's container is gone meanwhile. Each belongs to one branch and
//! one snapshot. A restore that finds one takes it over in one transaction, thaws it, and asks once
//! whether it is usable; if it is not, the restore launches another as if there had been none.

use std::time::Duration;

use statefork_runtime::{
    Container, ContainerSpec, ContainerState, ErrorKind, ObjectId, ObjectType, Phase, Share,
};

use super::handover::Successor;
use super::memory::Memory;
use super::{Begun, Environment, new_object};
use crate::config::Candidates;
use crate::error::{CoreError, Result};
use crate::model::{Branch, LiveContainer, OperationKind, Snapshot, SnapshotId};
use crate::operation::Recorder;
use crate::store::{Background, EnvironmentRecord, NewStandby, Reserved, Standby};

/// What the home's prepared containers may take together unless the configuration says it: this part
/// of the machine's memory.
const BUDGET_PART: u64 = 10;
/// None is prepared while less than this part of the machine's memory is free.
const FREE_PART: u64 = 10;
/// What is set aside at least for one.
const LEAST: u64 = 4 * 1024 * 1024;
/// Between two looks whether what is being prepared is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl Environment {
    /// Whether containers can be prepared for a branch at all: two must be able to run at once.
    fn can_prepare(&self, record: &EnvironmentRecord, branch: &Branch) -> bool {
        record.settings.standby.which != Candidates::None
            && record.capabilities.pause.is_yes()
            && branch
                .container
                .as_ref()
                .is_some_and(|live| live.spec.can_run_twice())
    }

    /// The snapshots from which containers are to be prepared for a branch: those that it is likely to be
    /// brought back to, the likeliest first.
    fn candidates(&self, record: &EnvironmentRecord, branch: &Branch) -> Result<Vec<SnapshotId>> {
        if !self.can_prepare(record, branch) {
            return Ok(Vec::new());
        }
        let standby = &record.settings.standby;
        let likely = match standby.which {
            Candidates::None => Vec::new(),
            Candidates::Head => vec![branch.head.clone()],
            Candidates::Recent(count) => {
                let mut recent: Vec<SnapshotId> = Vec::new();
                for head in self.store().former_heads(branch.number)? {
                    if recent.len() < count as usize && !recent.contains(&head) {
                        recent.push(head);
                    }
                }
                recent
            }
            Candidates::Tags => {
                let tagged = self.store().tags(record.number)?;
                let graph = self.store().graph(record.number)?;
                let latest = graph.into_iter().rev().map(|(id, _)| id);
                latest
                    .filter(|id| tagged.iter().any(|(_, target)| target == id))
                    .collect()
            }
        };
        let most = standby.count.map_or(usize::MAX, |count| count as usize);
        let mut candidates = Vec::new();
        for id in likely {
            if candidates.len() == most {
                break;
            }
            if self
                .store()
                .snapshot(record.number, &id)?
                .spec
                .can_run_twice()
            {
                candidates.push(id);
            }
        }
        Ok(candidates)
    }

    /// Whether something is to be prepared or given up for a branch.
    pub(super) fn is_preparing_due(
        &self,
        record: &EnvironmentRecord,
        branch: &Branch,
    ) -> Result<bool> {
        let mut ready: Vec<SnapshotId> = self
            .store()
            .standbys(record.number)?
            .into_iter()
            .filter(|standby| standby.branch == branch.number)
            .map(|standby| standby.snapshot)
            .collect();
        let mut wanted = self.candidates(record, branch)?;
        ready.sort();
        wanted.sort();
        Ok(ready != wanted)
    }

    /// Gives up what is no longer of use to a branch, and prepares what may be. For the worker.
    pub(super) async fn prepare(&self, record: &EnvironmentRecord, branch: &Branch) -> Result<()> {
        let wanted = self.candidates(record, branch)?;
        let memory = Memory::read()?;
        let is_short = memory.available < memory.total / FREE_PART;
        // Of those that are being prepared, which somebody still works on.
        let worked_on = self.background(OperationKind::Standby)?;
        let is_worked_on =
            |object: &ObjectId| worked_on.iter().any(|one| one.objects.contains(object));
        let mut useless = Vec::new();
        let mut there = Vec::new();
        for standby in self.store().standbys(record.number)? {
            if standby.branch != branch.number {
                continue;
            }
            let is_of_use = !is_short
                && wanted.contains(&standby.snapshot)
                && match &standby.container {
                    Some(live) => self.is_frozen(live).await?,
                    None => is_worked_on(&standby.object),
                };
            match is_of_use {
                true => there.push(standby.snapshot),
                false => useless.push(standby.object),
            }
        }
        if self.store().give_up_standbys(&useless)? {
            self.remove_retired(record).await?;
        }
        if is_short {
            return Ok(());
        }
        let budget = self.options.standby_memory;
        let budget = budget.unwrap_or(memory.total / BUDGET_PART);
        let mut outcome = Ok(());
        for id in wanted.iter().filter(|id| !there.contains(id)) {
            match self.prepare_one(record, branch, id, budget).await {
                Ok(true) => {}
                Ok(false) => break,
                // The next one may be able to start.
                Err(error) => {
                    outcome = match outcome {
                        Ok(()) => Err(error),
                        Err(first) => Err(CoreError::and_then(first, Err(error))),
                    }
                }
            }
        }
        outcome
    }

    /// Whether a container that was prepared can be thawed.
    async fn is_frozen(&self, live: &LiveContainer) -> Result<bool> {
        let container = self.runtime.inspect(&live.id).await?;
        Ok(container.is_some_and(|container| container.state == ContainerState::Paused))
    }

    /// Prepares a container, unless that failed a moment ago; whether there may be room for another.
    async fn prepare_one(
        &self,
        record: &EnvironmentRecord,
        branch: &Branch,
        id: &SnapshotId,
        budget: u64,
    ) -> Result<bool> {
        if self.rests(OperationKind::Standby, Some(id))? {
            return Ok(true);
        }
        let memory_bytes = match &branch.container {
            Some(live) => self.memory_of(live).await?.unwrap_or(LEAST).max(LEAST),
            None => return Ok(false),
        };
        let object = new_object();
        let objects = [(ObjectType::Container, object.clone())];
        let mut intent = self.intent(
            OperationKind::Standby,
            Begun::now(),
            Some(&branch.name),
            &objects,
        );
        intent.target = Some(id);
        intent.snapshot_kind = Some(self.store().snapshot(record.number, id)?.kind);
        let new = NewStandby {
            object: &object,
            environment: record.number,
            branch: branch.number,
            snapshot: id,
            memory_bytes,
            budget,
        };
        let mut recorder = loop {
            match Recorder::begin_standby(self.store(), &new, &intent)? {
                Ok(recorder) => break recorder,
                Err(Reserved::Full { taken }) => {
                    if !self.make_room(record, branch).await? {
                        self.observer().notice(&format!(
                            "no container is prepared: it may take {memory_bytes} bytes of memory, \
                             and prepared ones have {taken} of the {budget} that they may have"
                        ));
                        return Ok(false);
                    }
                }
                Err(Reserved::Unwanted | Reserved::Yes { .. }) => return Ok(true),
            }
        };
        let made = self
            .make_ready(&mut recorder, record, branch, id, &object, budget)
            .await;
        let outcome = match made {
            Ok(true) => Ok(()),
            made => {
                let given_up = self.store().give_up_standbys([&object]).map(drop);
                let removed = match &made {
                    // Its daemon went away: what was made is found again by the next operation.
                    Err(error) if error.leaves_undone() => Ok(()),
                    _ => self.remove_objects(&objects).await,
                };
                let cleaned = given_up.and(removed);
                match made {
                    Err(error) => Err(error.and_then(cleaned)),
                    Ok(_) => cleaned,
                }
            }
        };
        recorder.finish(outcome).map(|_| true)
    }

    /// Gives up the container that was prepared first for a branch on which nothing has been done for
    /// longer than on this one; whether there was one.
    async fn make_room(&self, record: &EnvironmentRecord, branch: &Branch) -> Result<bool> {
        let Some(evicted) = self.store().evict_standby(branch.number)? else {
            return Ok(false);
        };
        if (evicted.environment.as_str(), evicted.runtime.as_str())
            == (self.name.as_str(), self.runtime.name())
        {
            self.remove_retired(record).await?;
        } else {
            self.tend_elsewhere(&evicted).await?;
        }
        Ok(true)
    }

    /// Launches a container, waits for it, freezes and publishes it; whether it is wanted still. After
    /// an error, what was made may be there.
    async fn make_ready(
        &self,
        recorder: &mut Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        id: &SnapshotId,
        object: &ObjectId,
        budget: u64,
    ) -> Result<bool> {
        // Read in the operation: what it names is not removed as superseded while that runs.
        let snapshot = self.store().snapshot(record.number, id)?;
        let successor = Successor {
            spec: snapshot.spec.clone(),
            snapshot,
            object: object.clone(),
            wait: false,
            // What starts in the meantime is not to be frozen amid that.
            is_new: true,
        };
        let container = self.launch(recorder, record, branch, &successor).await?;
        let share = self.give_way(&container);
        let (spec, settle) = (&successor.spec, successor.settle());
        let ready = self.wait_ready(recorder, record, &container, spec, settle);
        tokio::select! {
            ready = ready => ready?,
            unwanted = self.until_unwanted(object) => return unwanted.map(|()| false),
        }
        recorder.usable();
        if let Some(share) = share {
            share.give_back().map_err(|source| CoreError::Io {
                op: "give its share of the processors back to",
                path: container.name.clone().into(),
                source,
            })?;
        }
        recorder
            .phases
            .time(Phase::Stop, self.runtime.pause(&container.id))
            .await?;
        let live = successor.live_in(&container);
        let memory = self.memory_of(&live).await?.unwrap_or(LEAST).max(LEAST);
        recorder.time(Phase::Persist, || {
            self.store().publish_standby(&live, memory, budget)
        })
    }

    /// Has a container give way to others while it starts, as far as the machine has means for that.
    fn give_way(&self, container: &Container) -> Option<Share> {
        let share = Share::least(container.pid?, &container.id);
        share.unwrap_or_else(|error| {
            self.observer().notice(&format!(
                "container {} starts as urgently as any other: {error}",
                container.name
            ));
            None
        })
    }

    /// Returns once what is being prepared is wanted no more.
    async fn until_unwanted(&self, object: &ObjectId) -> Result<()> {
        while self.store().is_standby_wanted(object)? {
            self.options.cancel.check()?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Bytes of memory that a container has, as far as the kernel says.
    async fn memory_of(&self, live: &LiveContainer) -> Result<Option<u64>> {
        let usage = self.runtime.usage(&live.id).await?;
        Ok(usage.map(|usage| usage.memory_bytes))
    }

    /// Takes over the container that is prepared for a branch and a snapshot with the same settings,
    /// if there is one: from now on it is the operation's own.
    pub(super) fn take_prepared(
        &self,
        recorder: &Recorder<'_>,
        branch: &Branch,
        snapshot: &Snapshot,
        spec: &ContainerSpec,
    ) -> Result<Option<LiveContainer>> {
        if *spec != snapshot.spec {
            return Ok(None);
        }
        self.store()
            .take_standby(branch.number, &snapshot.id, recorder.seq())
    }

    /// Thaws a prepared container and says how it is.
    pub(super) async fn thaw_prepared(
        &self,
        prepared: &LiveContainer,
    ) -> Result<Option<Container>> {
        match self.runtime.unpause(&prepared.id).await {
            Ok(()) => Ok(self.runtime.inspect(&prepared.id).await?),
            // Removed, or ended with its daemon.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound(_) | ErrorKind::WrongState) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives up the prepared containers that `which` says and removes them. One that is being prepared
    /// is waited for.
    pub(super) async fn end_standbys(
        &self,
        record: &EnvironmentRecord,
        which: impl Fn(&Standby) -> bool,
    ) -> Result<()> {
        let standbys = self.store().standbys(record.number)?;
        let chosen: Vec<_> = standbys.into_iter().filter(which).collect();
        let objects: Vec<_> = chosen.iter().map(|standby| &standby.object).collect();
        if self.store().give_up_standbys(objects.iter().copied())? {
            let is_chosen = |operation: &Background| {
                let mut made = operation.objects.iter();
                made.any(|object| objects.contains(&object))
            };
            self.end_background(OperationKind::Standby, is_chosen)
                .await?;
            self.remove_retired(record).await?;
        }
        Ok(())
    }
}
