//! What the fake knows, behind one lock, and how its tasks learn of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use statefork_runtime::{
    Container, ContainerId, ContainerMount, ContainerPort, ContainerSpec, ContainerState, Image,
    ImageConfig, ImageId, Labels, ObjectKind, Output, Result, RuntimeError, Stream, Support,
};
use tokio::sync::watch;

use super::files::{Layer, Tree, Volumes, layer_bytes};
use super::names::qualified;
use super::program::Circumstances;

/// An image.
#[derive(Debug)]
pub(super) struct StoredImage {
    pub(super) names: BTreeSet<String>,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Arc<Layer>>,
}

impl StoredImage {
    pub(super) fn describe(&self, id: &ImageId) -> Image {
        Image {
            id: id.clone(),
            names: self.names.iter().cloned().collect(),
            config: self.config.clone(),
            size_bytes: self.layers.iter().map(|layer| layer_bytes(layer)).sum(),
            layers: u32::try_from(self.layers.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A container.
#[derive(Debug)]
pub(super) struct StoredContainer {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) image: ImageId,
    pub(super) labels: Labels,
    /// What it was launched with.
    pub(super) spec: ContainerSpec,
    pub(super) argv: Vec<String>,
    pub(super) circumstances: Circumstances,
    pub(super) tree: Tree,
    pub(super) publish: Vec<ContainerPort>,
    /// Held open while it runs, so that a published port is really taken and accepts.
    pub(super) listeners: Vec<(ContainerPort, TcpListener)>,
    pub(super) state: ContainerState,
    /// Counts its starts: a task that drives an earlier run knows that it is over.
    pub(super) run: u64,
    pub(super) pid: Option<u32>,
    /// Whether its first process ends on a polite stop.
    pub(super) polite: bool,
    /// What its first process wrote, a line each.
    pub(super) log: Vec<Output>,
}

impl StoredContainer {
    pub(super) fn describe(&self) -> Container {
        let mut mounts: Vec<_> = self
            .tree
            .mounts
            .iter()
            .map(|mount| ContainerMount {
                path: mount.path.clone(),
                kind: mount.kind(),
                writable: !mount.read_only,
            })
            .collect();
        mounts.sort_by(|a, b| a.path.cmp(&b.path));
        Container {
            id: self.id.clone(),
            name: self.name.clone(),
            image: self.image.clone(),
            state: self.state,
            pid: self.pid,
            address: None,
            published: self
                .listeners
                .iter()
                .filter_map(|(port, listener)| Some((*port, listener.local_addr().ok()?)))
                .collect(),
            mounts,
            labels: self.labels.clone(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }

    pub(super) fn write_log(&mut self, stream: Stream, bytes: &Bytes) {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let end = rest
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(rest.len(), |at| at + 1);
            let bytes = rest.split_to(end);
            self.log.push(Output { stream, bytes });
        }
    }

    /// Its first process is gone, and what it held with it.
    pub(super) fn end(&mut self, code: i32) {
        self.state = ContainerState::Exited { code: Some(code) };
        self.pid = None;
        self.polite = false;
        self.listeners.clear();
    }

    pub(super) fn wrong_state(&self, op: &'static str) -> RuntimeError {
        RuntimeError::WrongState {
            op,
            container: self.name.clone(),
            state: self.state,
        }
    }
}

/// Everything that the fake knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) images: BTreeMap<ImageId, StoredImage>,
    pub(super) containers: BTreeMap<ContainerId, StoredContainer>,
    pub(super) volumes: Volumes,
    pub(super) pause: Support,
    pub(super) layer_limit: Option<u32>,
    issued: u32,
}

impl State {
    /// A number that was not given out before.
    pub(super) fn issue(&mut self) -> u32 {
        self.issued += 1;
        self.issued
    }

    /// A digest of `parts`, as identifiers are spelled.
    pub(super) fn digest(parts: &[&[u8]]) -> String {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The container of this id or name.
    pub(super) fn container(&self, id: &ContainerId) -> Option<&StoredContainer> {
        self.containers.get(id).or_else(|| {
            self.containers
                .values()
                .find(|container| container.name == id.as_str())
        })
    }

    /// The container of this id or name, which must be there.
    pub(super) fn container_mut(&mut self, id: &ContainerId) -> Result<&mut StoredContainer> {
        Ok(self.container_with_volumes(id)?.0)
    }

    /// The same, with the volumes that it may have mounted.
    pub(super) fn container_with_volumes(
        &mut self,
        id: &ContainerId,
    ) -> Result<(&mut StoredContainer, &mut Volumes)> {
        let found = self.container(id).map(|container| container.id.clone());
        found
            .and_then(|id| self.containers.get_mut(&id))
            .map(|container| (container, &mut self.volumes))
            .ok_or_else(|| RuntimeError::NotFound {
                object: ObjectKind::Container,
                name: id.to_string(),
            })
    }

    /// The image of this id or name.
    pub(super) fn image_id(&self, name: &str) -> Option<ImageId> {
        let id = ImageId::new(name);
        if self.images.contains_key(&id) {
            return Some(id);
        }
        let name = qualified(name)?;
        self.images
            .iter()
            .find(|(_, image)| image.names.contains(&name))
            .map(|(id, _)| id.clone())
    }

    /// Gives an image a name, which is taken off the one that had it, as an import does.
    pub(super) fn name_image(&mut self, id: &ImageId, name: String) {
        for image in self.images.values_mut() {
            image.names.remove(&name);
        }
        if let Some(image) = self.images.get_mut(id) {
            image.names.insert(name);
        }
    }

    /// A container that was made from the image, in whatever state.
    pub(super) fn user_of(&self, image: &ImageId) -> Option<&StoredContainer> {
        self.containers
            .values()
            .find(|container| container.image == *image)
    }
}

/// The state, shared by all handles and tasks.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                images: BTreeMap::new(),
                containers: BTreeMap::new(),
                volumes: Volumes::new(),
                pause: Support::Yes,
                layer_limit: Some(super::LAYER_LIMIT),
                issued: 0,
            }),
            changed: watch::Sender::new(()),
        }
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state, then wakes all who wait for a change.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// Waits until `ready` gives something; it is asked again after each change.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(result) = self.read(&mut ready) {
                return result;
            }
            // The sender is ours, so it cannot be gone: only a change ends the wait.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
