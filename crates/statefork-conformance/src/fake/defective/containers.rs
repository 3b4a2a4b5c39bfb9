//! What can be wrong with containers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use statefork_runtime::{
    Adoption, ByteStream, Change, ChangeKind, Container, ContainerId, ContainerState, Containers,
    Exec, ExecRequest, LogRequest, ObjectKind, OutputStream, Result, RuntimeError, Stream,
};

use super::{Defect, DefectiveRuntime};

impl DefectiveRuntime {
    pub(super) async fn state(&self, container: &ContainerId) -> Option<Container> {
        self.fake.inspect(container).await.ok().flatten()
    }

    /// Refuses the call if the container is in a state that `refused` names.
    pub(super) async fn refuse(
        &self,
        op: &'static str,
        container: &ContainerId,
        refused: impl Fn(ContainerState) -> bool,
    ) -> Result<()> {
        match self.state(container).await {
            Some(found) if refused(found.state) => Err(RuntimeError::WrongState {
                op,
                container: found.name,
                state: found.state,
            }),
            _ => Ok(()),
        }
    }

    /// Refuses to end a container where that is the defect.
    async fn refuse_end(&self, op: &'static str, container: &ContainerId) -> Result<()> {
        let is_exited = |state| matches!(state, ContainerState::Exited { .. });
        match self.defect {
            Defect::PausedCannotEnd => {
                let is_paused = |state| state == ContainerState::Paused;
                self.refuse(op, container, is_paused).await
            }
            Defect::ExitedCannotEnd if op != "remove" => {
                self.refuse(op, container, is_exited).await
            }
            _ => Ok(()),
        }
    }

    /// Refuses the call while another one is at it.
    pub(super) async fn alone(&self, defect: Defect, name: &str) -> Result<Option<Arc<()>>> {
        if !self.has(defect) {
            return Ok(None);
        }
        let turn = Arc::clone(&self.turn);
        if Arc::strong_count(&turn) > 2 {
            return Err(RuntimeError::Conflict {
                object: ObjectKind::Container,
                name: name.into(),
                reason: "another call is at it".into(),
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Some(turn))
    }

    async fn changes_as_asked(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let mut changes = self.fake.changes(container).await?;
        match self.defect {
            Defect::ChangesAreEmpty => changes.clear(),
            Defect::ChangesAreNotSorted => changes.reverse(),
            Defect::ChangesShowMounts => {
                let mounts = self.state(container).await.map(|found| found.mounts);
                changes.extend(mounts.unwrap_or_default().iter().map(|mount| Change {
                    path: mount.path.join("one"),
                    kind: ChangeKind::Added,
                }));
                changes.sort();
            }
            Defect::ChangesAddUp => {
                let image = self.state(container).await.map(|found| found.image);
                let memory = self.memory();
                let former = image.and_then(|image| memory.sources.get(&image));
                changes.extend(former.into_iter().flat_map(|(_, changes)| changes.clone()));
                changes.sort();
                changes.dedup_by(|a, b| a.path == b.path);
            }
            _ => {}
        }
        Ok(changes)
    }
}

#[async_trait]
impl Containers for DefectiveRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        let found = self.fake.inspect(container).await?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        match self.defect {
            Defect::InspectTakesIdsOnly if found.id != *container => return Ok(None),
            Defect::ExitCodesAreLost => {
                if let ContainerState::Exited { code } = &mut found.state {
                    *code = Some(0);
                }
            }
            Defect::PauseIsAWord if self.memory().paused.contains(&found.id) => {
                found.state = ContainerState::Paused;
            }
            Defect::MountsAreNotSorted => found.mounts.reverse(),
            _ => {}
        }
        Ok(Some(found))
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let state = self.state(container).await.map(|found| found.state);
        match (self.defect, state) {
            (Defect::StartDoesNothing, Some(ContainerState::Exited { .. })) => Ok(()),
            (Defect::StartResetsFiles, Some(ContainerState::Exited { .. })) => {
                self.fake.shared.write(|state| {
                    state.container_mut(container)?.tree.writable.clear();
                    Ok::<_, RuntimeError>(())
                })?;
                self.fake.start(container).await
            }
            (Defect::StartRestarts, Some(ContainerState::Running)) => {
                self.fake.kill(container).await?;
                self.fake.start(container).await
            }
            (Defect::StartThaws, Some(ContainerState::Paused)) => {
                self.fake.unpause(container).await
            }
            _ => self.spoiled(self.fake.start(container).await),
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        self.refuse_end("stop", container).await?;
        if self.has(Defect::StopKills) {
            return self.fake.kill(container).await;
        }
        let stopping = self.fake.stop(container, grace);
        let stopped = if self.has(Defect::StopOnlyAsks) {
            // Dropped before it would kill.
            let asked = tokio::time::timeout(grace / 2, stopping).await;
            asked.unwrap_or(Ok(()))
        } else {
            stopping.await
        };
        self.spoiled(stopped)
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        self.refuse_end("kill", container).await?;
        if self.has(Defect::KillReturnsEarly) && self.state(container).await.is_some() {
            let (fake, container) = (self.fake.clone(), container.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                fake.kill(&container).await
            });
            return Ok(());
        }
        self.spoiled(self.fake.kill(container).await)
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.refuse_end("remove", container).await?;
        let _turn = self
            .alone(Defect::RemovalsCollide, container.as_str())
            .await?;
        let found = self.state(container).await;
        match self.defect {
            Defect::RemoveOnlyKills if found.is_some() => return self.fake.kill(container).await,
            Defect::RemoveRefusesRunning => {
                let is_running = |state| state == ContainerState::Running;
                self.refuse("remove", container, is_running).await?;
            }
            Defect::RemoveNeedsOne if found.is_none() => {
                return Err(RuntimeError::NotFound {
                    object: ObjectKind::Container,
                    name: container.to_string(),
                });
            }
            Defect::CaptureGoesWithItsContainer => {
                if let Some(found) = found {
                    self.lose_captures_of(&found.id);
                }
            }
            _ => {}
        }
        self.fake.remove(container).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        let found = self.state(container).await;
        match (self.defect, found) {
            (Defect::PauseDoesNothing, Some(_)) => Ok(()),
            (Defect::PauseIsAWord, Some(found)) if found.pid.is_some() => {
                self.memory().paused.insert(found.id);
                Ok(())
            }
            (Defect::PauseOfExitedIsSuccess, Some(found)) if found.pid.is_none() => Ok(()),
            (Defect::PauseIsNotIdempotent, Some(_)) => {
                let is_paused = |state| state == ContainerState::Paused;
                self.refuse("pause", container, is_paused).await?;
                self.fake.pause(container).await
            }
            _ => self.spoiled(self.fake.pause(container).await),
        }
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        self.memory().paused.remove(container);
        self.spoiled(self.fake.unpause(container).await)
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        self.defective_exec(container, request).await
    }

    async fn logs(&self, container: &ContainerId, mut request: LogRequest) -> Result<OutputStream> {
        match self.defect {
            Defect::LogsIgnoreTheTail => request.tail = None,
            Defect::LogsForgetOldLines if request.tail.is_none() => request.tail = Some(1000),
            Defect::LogsDoNotFollow => request.follow = false,
            _ => {}
        }
        let stream = self.spoiled(self.fake.logs(container, request).await)?;
        let found = self.state(container).await;
        Ok(match self.defect {
            Defect::LogsMergeStreams => merged(stream),
            Defect::LogsEndWithTheContainer if found.is_some_and(|c| c.pid.is_none()) => {
                stream::empty().boxed()
            }
            Defect::LogsFollowForEver if request.follow => stream.chain(stream::pending()).boxed(),
            _ => stream,
        })
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        self.spoiled(self.changes_as_asked(container).await)
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream> {
        self.spoiled(self.defective_copy_out(container, path).await)
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let copied = self.defective_copy_in(container, folder, archive).await;
        self.spoiled(copied)
    }

    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        self.spoiled(self.defective_adopt(container).await)
    }
}

/// All output as standard output.
pub(super) fn merged(stream: OutputStream) -> OutputStream {
    stream
        .map(|output| {
            output.map(|mut output| {
                output.stream = Stream::Stdout;
                output
            })
        })
        .boxed()
}

/// Paths of the files of a folder of the host, for what a defect copies.
pub(super) fn files_of(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}
