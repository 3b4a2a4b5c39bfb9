//! The fake with one thing wrong, to find out whether the suite would notice.

mod captures;
mod containers;
mod copy;
mod exec;
mod flatten;
mod images;
mod launch;
mod list;
mod rebase;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use statefork_runtime::{
    Capabilities, Change, ContainerId, Found, HomeId, ImageId, ObjectId, ObjectType, Result,
    Runtime, RuntimeError, RuntimeIdentity,
};
use tokio::io::DuplexStream;

pub use self::list::Defect;
use super::FakeRuntime;

/// What a defect has to remember between calls.
#[derive(Default)]
struct Memory {
    /// Containers that are paused in words only.
    paused: BTreeSet<ContainerId>,
    /// Which container each capture was made of, and what had changed in it.
    sources: BTreeMap<ImageId, (ContainerId, Vec<Change>)>,
    /// Inputs that are never closed.
    inputs: Vec<DuplexStream>,
}

/// The fake with one defect.
pub struct DefectiveRuntime {
    fake: FakeRuntime,
    defect: Defect,
    memory: Mutex<Memory>,
    /// Held by every call that lets no other in.
    turn: Arc<()>,
}

impl DefectiveRuntime {
    /// A fake of its own, with `defect`.
    pub fn new(defect: Defect) -> Self {
        Self {
            fake: FakeRuntime::new(),
            defect,
            memory: Mutex::default(),
            turn: Arc::new(()),
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spoils an error, where that is the defect.
    fn spoiled<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match (self.defect, error) {
            (Defect::ErrorsHaveNoKind, error) => RuntimeError::Daemon {
                op: "do it",
                status: Some(500),
                message: error.to_string(),
                source: None,
            },
            (Defect::ErrorsNameNothing, RuntimeError::NotFound { object, .. }) => {
                RuntimeError::NotFound {
                    object,
                    name: "it".into(),
                }
            }
            (_, error) => error,
        })
    }
}

#[async_trait]
impl Runtime for DefectiveRuntime {
    fn name(&self) -> &'static str {
        "defective"
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        self.fake.identify().await
    }

    async fn probe(&self, object: &ObjectId) -> Result<Capabilities> {
        self.fake.probe(object).await
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        let mut found = self.fake.find(home).await?;
        match self.defect {
            Defect::FindLeavesExitedOut => {
                let up: Vec<ContainerId> = self
                    .fake
                    .containers()
                    .into_iter()
                    .filter(|container| container.pid.is_some())
                    .map(|container| container.id)
                    .collect();
                found.retain(
                    |found| !matches!(found, Found::Container { id, .. } if !up.contains(id)),
                );
            }
            Defect::FindLeavesImagesOut => {
                found.retain(|found| matches!(found, Found::Container { .. }));
            }
            Defect::FindLeavesUntaggedOut => found.retain(
                |found| !matches!(found, Found::Image { name, .. } if name.starts_with("sha256:")),
            ),
            Defect::FindLeavesInheritedOut => found.retain(|found| {
                !matches!(found, Found::Container { kind, .. }
                    if *kind != Some(ObjectType::Container))
            }),
            Defect::FindIsNotSorted => found.reverse(),
            Defect::FindMatchesBeginnings => {
                let labels = self.fake.containers().into_iter().map(|c| c.labels);
                let homes = labels.filter_map(|mut l| l.remove(statefork_runtime::LABEL_HOME));
                let matching = homes.filter(|own| own.starts_with(home.as_str()));
                for own in matching.collect::<BTreeSet<_>>() {
                    found.extend(self.fake.find(&HomeId::new(own)).await?);
                }
                found.sort();
                found.dedup();
            }
            _ => {}
        }
        Ok(found)
    }
}
