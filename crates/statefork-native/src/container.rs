//! A container as it is now: what the books say and what the kernel says.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use statefork_runtime::{
    Container, ContainerId, ContainerMount, ContainerState, MountKind, MountSource, ObjectKind,
    Result, RuntimeError,
};

use crate::books::ContainerRecord;
use crate::cgroup::Cgroup;
use crate::plan::{Exit, ProcessRef, Run, file};
use crate::process::boot_id;
use crate::storage::{Storage, system_at};

/// How long the parent of a first process that has ended may take to write down how.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two looks whether it has.
const BETWEEN: Duration = Duration::from_millis(1);

/// What runs of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Its state.
    pub(crate) state: ContainerState,
    /// Its first process, while it runs or is paused.
    pub(crate) init: Option<ProcessRef>,
}

/// The path of a container's cgroup below the root of each hierarchy.
pub(crate) fn cgroup_path(container: &ContainerId) -> PathBuf {
    Path::new("statefork").join(container.as_str())
}

/// The cgroup of a container.
pub(crate) fn cgroup(container: &ContainerId) -> io::Result<Cgroup> {
    Cgroup::new(&cgroup_path(container))
}

/// What runs of the container in `folder`. Waits up to two seconds for the end of one that has just ended
/// to be written down.
pub(crate) fn life(container: &ContainerId, folder: &Path) -> Result<Life> {
    const OP: &str = "look at a container";
    let failed = |error| system_at(OP, folder, error);
    let begun = Instant::now();
    loop {
        let Some(run) = read::<Run>(&folder.join(file::RUN)).map_err(failed)? else {
            return Ok(ended(ContainerState::Created));
        };
        let is_of_this_boot = run.boot == boot_id().map_err(failed)?;
        if is_of_this_boot && run.init.alive().map_err(failed)? {
            let frozen = cgroup(container).and_then(|cgroup| cgroup.is_frozen());
            let state = match frozen {
                Ok(true) => ContainerState::Paused,
                Ok(false) => ContainerState::Running,
                // Its cgroup goes with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => ContainerState::Running,
                Err(error) => return Err(failed(error)),
            };
            return Ok(Life {
                state,
                init: Some(run.init),
            });
        }
        let exit = read::<Exit>(&folder.join(file::EXIT)).map_err(failed)?;
        let expected = is_of_this_boot && run.monitor.alive().map_err(failed)?;
        if exit.is_some() || !expected || begun.elapsed() > LAST_WORDS {
            return Ok(ended(ContainerState::Exited {
                code: exit.map(|exit| exit.code),
            }));
        }
        std::thread::sleep(BETWEEN);
    }
}

fn ended(state: ContainerState) -> Life {
    Life { state, init: None }
}

/// What the helper wrote down; `None` where it has not.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(io::Error::from)
}

/// As the contract describes it.
pub(crate) fn describe(record: &ContainerRecord, life: Life) -> Container {
    let mut mounts: Vec<ContainerMount> = record
        .spec
        .mounts
        .iter()
        .map(|mount| ContainerMount {
            path: mount.target.clone(),
            kind: match mount.source {
                MountSource::Bind(_) => MountKind::Bind,
                MountSource::Volume(_) => MountKind::Volume,
                MountSource::Tmpfs { .. } => MountKind::Tmpfs,
            },
            writable: !mount.read_only,
        })
        .collect();
    mounts.sort_by(|one, two| one.path.cmp(&two.path));
    Container {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.image.clone(),
        state: life.state,
        pid: life.init.map(|init| init.pid),
        address: life.init.and(record.address).map(Into::into),
        published: Vec::new(),
        mounts,
        labels: record.labels.clone(),
    }
}

/// The folder of a container and what runs of it.
pub(crate) fn look(storage: &Storage, record: &ContainerRecord) -> Result<Life> {
    life(&record.id, &storage.container(&record.id))
}

/// There is no such container.
pub(crate) fn not_found(container: &ContainerId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Container,
        name: container.to_string(),
    }
}

/// Its state does not allow it.
pub(crate) fn wrong_state(
    op: &'static str,
    container: &ContainerId,
    state: ContainerState,
) -> RuntimeError {
    RuntimeError::WrongState {
        op,
        container: container.short().to_owned(),
        state,
    }
}
