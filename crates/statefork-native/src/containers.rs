//! Containers: look at them, run them, stop them, read what they wrote and changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use statefork_runtime::{
    Adoption, ByteStream, Change, Container, ContainerId, ContainerState, Containers, Exec,
    ExecRequest, ImageConfig, LogRequest, ObjectKind, OutputStream, Result, RuntimeError,
};

use crate::books::ContainerRecord;
use crate::container::{Life, cgroup, cgroup_path, describe, look, not_found, wrong_state};
use crate::plan::{ExecPlan, ProcessPlan, ProcessRef, file};
use crate::runtime::Inner;
use crate::settings::{hostname, no_new_privileges, own, user, variables, workdir};
use crate::storage::{blocking, lock_if_there, remove_tree, system, system_at};
use crate::tree::changes;
use crate::{NativeRuntime, copy, launch, logs, network, spawn};

/// How long killed processes may take to be gone.
const DEATH: Duration = Duration::from_secs(10);
/// How long a freeze may take.
const FREEZE: Duration = Duration::from_secs(5);
/// The paths that the runtime itself mounts, where an image may lack them.
const OWN: [&str; 6] = [
    "/dev",
    "/proc",
    "/sys",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
];

#[async_trait]
impl Containers for NativeRuntime {
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>> {
        let (inner, container) = (Arc::clone(&self.inner), container.clone());
        blocking("look at a container", move || {
            let Some(record) = inner.books()?.container(&container)? else {
                return Ok(None);
            };
            let life = look(&inner.storage, &record)?;
            Ok(Some(describe(&record, life)))
        })
        .await
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let (record, life) = self.inner.look_at(container).await?;
        match life.state {
            ContainerState::Running => Ok(()),
            ContainerState::Paused => Err(wrong_state("start", container, life.state)),
            ContainerState::Created | ContainerState::Exited { .. } => {
                launch::start(&self.inner, &record).await
            }
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<()> {
        const OP: &str = "stop a container";
        let (record, life) = self.inner.look_at(container).await?;
        let Some(init) = life.init else {
            return Ok(());
        };
        let signal = self.inner.stop_signal(&record)?;
        let failed = |error| system(OP, error);
        init.signal(signal).map_err(failed)?;
        if life.state == ContainerState::Paused {
            // It learns of the signal only then.
            self.inner.thaw(OP, &record.id).await?;
        }
        if init.wait_end(grace).await.map_err(failed)? {
            return Ok(());
        }
        self.inner.kill(OP, &record.id, init).await
    }

    async fn kill(&self, container: &ContainerId) -> Result<()> {
        let (record, life) = self.inner.look_at(container).await?;
        match life.init {
            Some(init) => self.inner.kill("kill a container", &record.id, init).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.inner.remove_container(container).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        let (record, life) = self.inner.look_at(container).await?;
        match life.state {
            ContainerState::Paused => Ok(()),
            ContainerState::Running => {
                blocking("pause a container", move || {
                    let cgroup = cgroup(&record.id);
                    cgroup
                        .and_then(|cgroup| cgroup.freeze(FREEZE))
                        .map_err(|error| system("pause a container", error))
                })
                .await
            }
            state => Err(wrong_state("pause", container, state)),
        }
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        let (record, life) = self.inner.look_at(container).await?;
        match life.state {
            ContainerState::Running => Ok(()),
            ContainerState::Paused => self.inner.thaw("unpause a container", &record.id).await,
            state => Err(wrong_state("unpause", container, state)),
        }
    }

    async fn exec(&self, container: &ContainerId, request: &ExecRequest) -> Result<Exec> {
        if request.argv.is_empty() {
            return Err(RuntimeError::Invalid {
                what: "an empty command".into(),
                reason: "there is nothing to run".into(),
            });
        }
        let (record, life) = self.inner.look_at(container).await?;
        let Some(init) = life.init.filter(|_| life.state == ContainerState::Running) else {
            return Err(wrong_state("run a command in", container, life.state));
        };
        let plan = self.inner.exec_plan(&record, init, request)?;
        let helper = &self.inner.helper;
        let begun = spawn::exec(helper, plan, request.stdin, request.terminal).await;
        begun.map_err(|error| launch::refused("run a command in a container", &request.argv, error))
    }

    async fn logs(&self, container: &ContainerId, request: LogRequest) -> Result<OutputStream> {
        let id = self.inner.container(container)?.id;
        let folder = self.inner.storage.container(&id);
        logs::read(id, folder, request).await
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let (inner, container) = (Arc::clone(&self.inner), container.clone());
        blocking("list the changes of a container", move || {
            inner.changes(&container)
        })
        .await
    }

    async fn copy_out(&self, container: &ContainerId, path: &Path) -> Result<ByteStream> {
        let (inner, container) = (Arc::clone(&self.inner), container.clone());
        copy::out(inner, container, path.to_owned()).await
    }

    async fn copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let (inner, container) = (Arc::clone(&self.inner), container.clone());
        copy::into(inner, container, folder.to_owned(), archive).await
    }

    async fn adopt(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        let Some(record) = self.inner.books()?.container(container)? else {
            return Ok(None);
        };
        let image = self.inner.books()?.image(record.image.as_str())?;
        let image = image.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: record.image.to_string(),
        })?;
        let (_, life) = self.inner.look_at(&record.id).await?;
        Ok(Some(Adoption {
            container: describe(&record, life),
            image_name: image.names.first().cloned(),
            spec: own(&record.spec, &image.config.image),
            published: Vec::new(),
            obstacles: Vec::new(),
        }))
    }
}

impl Inner {
    async fn look_at(self: &Arc<Self>, container: &ContainerId) -> Result<(ContainerRecord, Life)> {
        let (inner, container) = (Arc::clone(self), container.clone());
        blocking("look at a container", move || {
            let record = inner.container(&container)?;
            let life = look(&inner.storage, &record)?;
            Ok((record, life))
        })
        .await
    }

    fn image_config(&self, record: &ContainerRecord) -> Result<ImageConfig> {
        // An image stays as long as a container was made from it.
        let image = self.books()?.image(record.image.as_str())?;
        Ok(image.map(|image| image.config.image).unwrap_or_default())
    }

    fn stop_signal(&self, record: &ContainerRecord) -> Result<Signal> {
        let image = self.books()?.image(record.image.as_str())?;
        let number = image.and_then(|image| image.config.stop_signal);
        Ok(number
            .and_then(Signal::from_named_raw)
            .unwrap_or(Signal::TERM))
    }

    async fn thaw(&self, op: &'static str, container: &ContainerId) -> Result<()> {
        let container = container.clone();
        blocking(op, move || {
            let thawed = cgroup(&container).and_then(|cgroup| cgroup.thaw());
            thawed.map_err(|error| system(op, error))
        })
        .await
    }

    /// Kills all processes; on return the first one has ended, and how is written down.
    async fn kill(
        self: &Arc<Self>,
        op: &'static str,
        container: &ContainerId,
        init: ProcessRef,
    ) -> Result<()> {
        let id = container.clone();
        blocking(op, move || {
            let killed = cgroup(&id).and_then(|cgroup| cgroup.kill());
            killed.map_err(|error| system(op, error))
        })
        .await?;
        let ended = init.wait_end(DEATH).await;
        if !ended.map_err(|error| system(op, error))? {
            return Err(RuntimeError::TimedOut { op, after: DEATH });
        }
        self.look_at(container).await.map(drop)
    }

    /// Removes a container with all that is of it. Absent is success.
    pub(crate) async fn remove_container(self: &Arc<Self>, container: &ContainerId) -> Result<()> {
        const OP: &str = "remove a container";
        let Some(record) = self.books()?.container(container)? else {
            // Nothing else would ask again whether the host still does anything for nobody.
            return self.strike_off(container).await;
        };
        let life = {
            let (inner, record) = (Arc::clone(self), record.clone());
            blocking(OP, move || look(&inner.storage, &record)).await?
        };
        if let Some(init) = life.init {
            match self.kill(OP, &record.id, init).await {
                // Somebody else has removed it meanwhile.
                Err(error) if error.kind() == not_found(container).kind() => {}
                killed => killed?,
            }
        }
        let (inner, id) = (Arc::clone(self), record.id.clone());
        blocking(OP, move || {
            let removed = cgroup(&id).and_then(|cgroup| cgroup.remove());
            removed.map_err(|error| system(OP, error))?;
            let folder = inner.storage.container(&id);
            let Some(_one_at_a_time) = lock_if_there(&folder.join("lock"))? else {
                return Ok(());
            };
            remove_tree(&folder).map_err(|error| system_at(OP, &folder, error))
        })
        .await?;
        self.strike_off(&record.id).await?;
        let inner = Arc::clone(self);
        blocking(OP, move || inner.sweep()).await
    }

    /// Takes a container off the books. Before that it removes the rules and the route of the host, if
    /// no other container needs them: a container with whose removal that failed, or was cut off, is
    /// found again, and then it is done.
    async fn strike_off(self: &Arc<Self>, container: &ContainerId) -> Result<()> {
        const OP: &str = "remove the rules of the network";
        let books = self.books()?;
        let Some(subnet) = launch::known_subnet(books)? else {
            return books.remove_container(container);
        };
        let inner = Arc::clone(self);
        // Until it is off the books: of two that are the last, one must see that.
        let _lock = blocking(OP, move || inner.storage.lock_network()).await?;
        if books.addressed_beside(container)? == 0 {
            let table = network::table(self.storage.root());
            let disabled = network::disable_outbound(&table).await;
            let disabled = disabled.map_err(|error| system(OP, error));
            let released = network::release(&subnet).await;
            let released = released.map_err(|error| system("remove a route", error));
            match disabled {
                Ok(()) => released?,
                Err(first) => return Err(first.and_then(released)),
            }
        }
        books.remove_container(container)
    }

    fn exec_plan(
        &self,
        record: &ContainerRecord,
        init: ProcessRef,
        request: &ExecRequest,
    ) -> Result<ExecPlan> {
        let image = self.image_config(record)?;
        let hostname = hostname(&record.id, &record.spec)?;
        let mut env = record.spec.env.clone();
        env.extend(request.env.iter().cloned());
        let own_user = user(&record.spec, &image);
        let own_workdir = workdir(&record.spec, &image);
        Ok(ExecPlan {
            init,
            cgroup: cgroup_path(&record.id),
            process: ProcessPlan {
                argv: request.argv.clone(),
                env: variables(&image.env, &env, &hostname),
                workdir: request.workdir.clone().unwrap_or(own_workdir),
                user: request.user.clone().unwrap_or(own_user),
                no_new_privileges: no_new_privileges(&record.spec),
            },
            terminal: request.terminal.is_some(),
        })
    }

    fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let record = self.container(container)?;
        let upper = self.storage.container(&record.id).join(file::UPPER);
        let below = self.folders(&record.layers);
        let mut changes = changes::changes(&upper, &below)
            .map_err(|error| system_at("list the changes of a container", &upper, error))?;
        let mounts = &record.spec.mounts;
        changes.retain(|change| {
            let path = change.path.as_path();
            let is_own = OWN.iter().any(|own| path == Path::new(own));
            !is_own && !mounts.iter().any(|mount| path.starts_with(&mount.target))
        });
        Ok(changes)
    }
}
