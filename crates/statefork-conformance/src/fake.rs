//! A runtime in memory, for unit tests and as the reference of the conformance suite.
//!
//! [`FakeRuntime`] implements the whole contract and is stricter than the real runtimes: names are
//! checked, states are checked, nothing is completed or forgiven. It runs no programs but a fixed
//! vocabulary of commands ([the table](#commands)); what needs real programs, a network or limits
//! is a capability that it lacks.
//!
//! # Commands
//!
//! A command is one word with arguments; further ones follow after an argument `;`.
//!
//! | Command | What it does |
//! |---|---|
//! | `true`, `false`, `exit N` | ends with 0, 1, N; `exit` skips what follows |
//! | `echo TEXT…`, `warn TEXT…` | a line on standard output, on standard error |
//! | `seq FIRST LAST` | the numbers, a line each |
//! | `cat PATH`, `cat` | a file, or standard input, to standard output |
//! | `write PATH TEXT`, `rm PATH` | replaces a file (its folders are implied), deletes it |
//! | `sleep SECONDS` | waits; as process 1 it ignores a polite stop, as real ones do |
//! | `serve` | says `serving` and stays up; ends with 0 on a polite stop |
//! | `crash [TEXT]` | says TEXT (default `crashed`) on standard error, exits with 1 |
//! | `printenv NAME`, `pwd`, `id -u`, `hostname`, `stty size` | what they say everywhere |
//!
//! Users are numbers, `root` and `nobody`. A bind mount is a path of the real host. A published
//! port is a real listening socket that accepts and never answers. A capture keeps the image's
//! configuration, not the container's settings: who launches it gives the settings again.

mod adopt;
mod archive;
mod captures;
mod containers;
mod copy;
pub mod defective;
mod exec;
mod files;
mod flatten;
mod images;
mod names;
mod program;
mod settings;
mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use statefork_runtime::{
    Capabilities, Capture, Container, ContainerId, Found, HomeId, Image, ImageConfig, ImageId,
    LABEL_HOME, LABEL_OBJECT, LABEL_TYPE, Labels, ObjectId, ObjectType, Result, Runtime,
    RuntimeIdentity, Stream, Support,
};

use self::files::Layer;
use self::state::{Shared, State, StoredImage};

/// How many layers an image of the fake can have, as with the daemons.
const LAYER_LIMIT: u32 = 125;

/// The runtime in memory. Clones share everything.
#[derive(Clone, Debug)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// A runtime with nothing in it.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared::new()),
        }
    }

    /// Takes the ability to pause away.
    pub fn without_pause(self, reason: &str) -> Self {
        self.shared.write(|state| state.pause = Support::no(reason));
        self
    }

    /// Sets how many layers an image can have.
    pub fn with_layer_limit(self, limit: u32) -> Self {
        self.shared.write(|state| state.layer_limit = Some(limit));
        self
    }

    /// Registers an image of one layer that holds `files` (absolute paths).
    ///
    /// # Panics
    ///
    /// If `name` is no image name.
    pub fn add_image(&self, name: &str, config: ImageConfig, files: &[(&str, &str)]) -> ImageId {
        let name = names::qualified(name).expect("an image name");
        let layer: Layer = files
            .iter()
            .map(|&(path, text)| (path.into(), Some(Bytes::from(text.to_owned()))))
            .collect();
        self.shared.write(|state| {
            let number = state.issue();
            let id = images::image_id(&[b"add", &number.to_le_bytes()]);
            let image = StoredImage {
                names: BTreeSet::new(),
                config,
                layers: vec![Arc::new(layer)],
            };
            state.images.insert(id.clone(), image);
            state.name_image(&id, name);
            id
        })
    }

    /// The content of a container's file, as a process in it would read it; `None` if there is no
    /// such file or container. Works in any state.
    pub fn file(&self, container: &ContainerId, path: &str) -> Option<Bytes> {
        self.shared.read(|state| {
            let container = state.container(container)?;
            container.tree.read(&state.volumes, Path::new(path)).ok()
        })
    }

    /// Removes a container behind the back of whoever uses the runtime; `false` if there is none.
    pub fn lose_container(&self, container: &ContainerId) -> bool {
        self.shared.write(
            |state| match state.container(container).map(|c| c.id.clone()) {
                Some(id) => state.containers.remove(&id).is_some(),
                None => false,
            },
        )
    }

    /// Removes what a capture needs behind the back of whoever uses the runtime; `false` if it is
    /// gone already.
    pub fn lose_capture(&self, capture: &Capture) -> bool {
        match captures::Stored::read(capture) {
            Ok(stored) => self
                .shared
                .write(|state| state.images.remove(&stored.image).is_some()),
            Err(_) => false,
        }
    }

    /// Has the first process of a container end by itself; `false` if it does not run.
    pub fn end(&self, container: &ContainerId, code: i32) -> bool {
        self.shared
            .write(|state| match state.container_mut(container) {
                Ok(container) if container.is_up() => {
                    container.end(code);
                    true
                }
                _ => false,
            })
    }

    /// Has the first process of a container write a line; `false` if it does not run.
    pub fn say(&self, container: &ContainerId, stream: Stream, text: &str) -> bool {
        self.shared
            .write(|state| match state.container_mut(container) {
                Ok(container) if container.is_up() => {
                    container.write_log(stream, &Bytes::from(format!("{text}\n")));
                    true
                }
                _ => false,
            })
    }

    /// All containers, in no particular order.
    pub fn containers(&self) -> Vec<Container> {
        self.shared.read(|state| {
            state
                .containers
                .values()
                .map(state::StoredContainer::describe)
                .collect()
        })
    }

    /// All images, in no particular order; those of captures are among them.
    pub fn images(&self) -> Vec<Image> {
        self.shared.read(|state| {
            state
                .images
                .iter()
                .map(|(id, image)| image.describe(id))
                .collect()
        })
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn identify(&self) -> Result<RuntimeIdentity> {
        let capabilities = self.shared.read(capabilities);
        Ok(RuntimeIdentity {
            version: "1".into(),
            endpoint: "memory:".into(),
            fingerprint: format!(
                "fake 1 pause={} layers={:?}",
                capabilities.pause.is_yes(),
                capabilities.layer_limit
            ),
        })
    }

    async fn probe(&self, _: &ObjectId) -> Result<Capabilities> {
        Ok(self.shared.read(capabilities))
    }

    async fn find(&self, home: &HomeId) -> Result<Vec<Found>> {
        let is_of_home =
            |labels: &Labels| labels.get(LABEL_HOME).map(String::as_str) == Some(home.as_str());
        let mut found = self.shared.read(|state| {
            let mut found = Vec::new();
            for container in state.containers.values() {
                if is_of_home(&container.labels) {
                    found.push(Found::Container {
                        id: container.id.clone(),
                        kind: kind_of(&container.labels),
                        object: object_of(&container.labels),
                    });
                }
            }
            for (id, image) in &state.images {
                if !is_of_home(&image.config.labels) {
                    continue;
                }
                let untagged = image.names.is_empty().then(|| id.to_string());
                for name in image.names.iter().cloned().chain(untagged) {
                    found.push(Found::Image {
                        name,
                        kind: kind_of(&image.config.labels),
                        object: object_of(&image.config.labels),
                    });
                }
            }
            found
        });
        found.sort();
        Ok(found)
    }
}

fn kind_of(labels: &Labels) -> Option<ObjectType> {
    ObjectType::parse(labels.get(LABEL_TYPE)?)
}

fn object_of(labels: &Labels) -> Option<ObjectId> {
    labels.get(LABEL_OBJECT).map(ObjectId::new)
}

fn capabilities(state: &State) -> Capabilities {
    Capabilities {
        filesystem: Support::Yes,
        pause: state.pause.clone(),
        limits: Support::no("the fake runs no processes that could be limited"),
        build: Support::no("the fake has no builder"),
        reachable: Support::no("the fake's containers have no network"),
        publish: Support::Yes,
        programs: Support::no("the fake runs a fixed vocabulary of commands only"),
        init: Support::no("the fake runs no processes"),
        layer_limit: state.layer_limit,
    }
}
