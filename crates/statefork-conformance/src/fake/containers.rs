//! Containers of the fake.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use statefork_runtime::{
    Adoption, ByteStream, Change, Container, ContainerId, ContainerState, Containers, Exec,
    ExecExit, ExecRequest, LogRequest, Output, OutputStream, Result, RuntimeError, Support,
};

use super::exec::{self, KILLED, Run};
use super::program::{self, Lookup, Process};
use super::state::StoredContainer;
use super::{FakeRuntime, adopt, captures, copy, settings};

#[async_trait]
impl Containers for FakeRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        Ok(self
            .shared
            .read(|state| state.container(container).map(StoredContainer::describe)))
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        captures::start(&self.shared, container)
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        let left = self.shared.write(|state| {
            let container = state.container_mut(container)?;
            if !container.is_up() {
                return Ok(None);
            }
            // A frozen process cannot hear the signal: a polite stop thaws first.
            container.state = ContainerState::Running;
            if container.polite {
                container.end(0);
                return Ok(None);
            }
            Ok(Some((container.id.clone(), container.run)))
        })?;
        let Some((id, run)) = left else {
            return Ok(());
        };
        let over = self.shared.until(|state| {
            let up = state
                .container(&id)
                .is_some_and(|container| container.run == run && container.is_up());
            (!up).then_some(())
        });
        if tokio::time::timeout(grace, over).await.is_err() {
            self.shared.write(|state| {
                if let Ok(container) = state.container_mut(&id)
                    && container.run == run
                    && container.is_up()
                {
                    container.end(KILLED);
                }
            });
        }
        Ok(())
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        self.shared.write(|state| {
            let container = state.container_mut(container)?;
            if container.is_up() {
                container.end(KILLED);
            }
            Ok(())
        })
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.lose_container(container);
        Ok(())
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        self.shared.write(|state| {
            let support = state.pause.clone();
            let container = state.container_mut(container)?;
            match (container.state, support) {
                (_, Support::No { reason, .. }) => Err(RuntimeError::Unsupported {
                    op: "pause a container",
                    reason,
                }),
                (ContainerState::Running | ContainerState::Paused, Support::Yes) => {
                    container.state = ContainerState::Paused;
                    Ok(())
                }
                _ => Err(container.wrong_state("pause")),
            }
        })
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        self.shared.write(|state| {
            let container = state.container_mut(container)?;
            if !container.is_up() {
                return Err(container.wrong_state("unpause"));
            }
            container.state = ContainerState::Running;
            Ok(())
        })
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        if request.argv.is_empty() {
            return Err(RuntimeError::Invalid {
                what: "an empty command".into(),
                reason: "there is no program to run".into(),
            });
        }
        let (run, circumstances, lookup) = self.shared.write(|state| {
            let (container, volumes) = state.container_with_volumes(container)?;
            if container.state != ContainerState::Running {
                return Err(container.wrong_state("run a command in"));
            }
            let mut circumstances = container.circumstances.clone();
            settings::add_env(&mut circumstances.env, &request.env)?;
            if let Some(user) = &request.user {
                circumstances.uid = settings::uid(Some(user))?;
            }
            if let Some(path) = &request.workdir {
                circumstances.workdir = settings::workdir(path, &container.tree)?;
            }
            circumstances.terminal = request.terminal;
            circumstances.stdin = request.stdin;
            let run = Run {
                container: container.id.clone(),
                number: container.run,
            };
            let lookup = program::look_up(&request.argv, &container.tree, volumes);
            Ok((run, circumstances, lookup))
        })?;
        Ok(match lookup {
            Lookup::NotFound => exec::refused(ExecExit::NotFound, request.stdin),
            Lookup::NotExecutable => exec::refused(ExecExit::NotExecutable, request.stdin),
            Lookup::Found => {
                let process = Process::new(&request.argv, circumstances);
                exec::spawn(&self.shared, run, process, request)
            }
        })
    }

    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream> {
        let (id, lines) = self.shared.write(|state| {
            let container = state.container_mut(container)?;
            Ok((container.id.clone(), container.log.len()))
        })?;
        let first = request
            .tail
            .map_or(0, |tail| lines.saturating_sub(tail as usize));
        let last = if request.follow { usize::MAX } else { lines };
        let shared = Arc::clone(&self.shared);
        let next = move |at: usize| {
            let (shared, id) = (Arc::clone(&shared), id.clone());
            async move {
                if at >= last {
                    return None;
                }
                let output: Option<Output> = shared
                    .until(|state| match state.container(&id) {
                        None => Some(None),
                        Some(container) => match container.log.get(at) {
                            Some(line) => Some(Some(line.clone())),
                            None => (!container.is_up()).then_some(None),
                        },
                    })
                    .await;
                Some((Ok(output?), at + 1))
            }
        };
        Ok(stream::unfold(first, next).boxed())
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        self.shared
            .write(|state| Ok(state.container_mut(container)?.tree.changes()))
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream> {
        let archive = self
            .shared
            .write(|state| copy::out(state, container, path))?;
        Ok(stream::iter([Ok(archive)]).boxed())
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let folder = self
            .shared
            .write(|state| copy::target(state, container, folder))?;
        let bytes: Vec<Bytes> =
            archive
                .try_collect()
                .await
                .map_err(|error| RuntimeError::Daemon {
                    op: "read the archive",
                    status: None,
                    message: "its source broke".into(),
                    source: Some(error.into()),
                })?;
        let files = copy::unpack(&folder, &bytes.concat())?;
        self.shared
            .write(|state| copy::write(state, container, &folder, files))
    }

    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        self.shared.read(|state| adopt::adopt(state, container))
    }
}
