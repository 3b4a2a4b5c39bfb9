//! Captures: images made of a container's writable layer.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use statefork_runtime::{
    Boundary, Capture, CaptureRequest, Captured, Captures, Container, ContainerId, ContainerState,
    FlattenRequest, ImageId, Labels, LaunchRequest, ObjectKind, Phase, Phases, RebaseRequest,
    Result, RuntimeError,
};

use crate::books::{ImageRecord, LayerId, NewImage, StoredConfig, full_name};
use crate::cgroup::Cgroup;
use crate::container::{cgroup, cgroup_path, look};
use crate::drafts::Written;
use crate::runtime::Inner;
use crate::settings::check_image_name;
use crate::spawn::Guard;
use crate::storage::{self, blocking, system, system_at};
use crate::tree::capture::{Processes, Source, capture};
use crate::tree::{Manifest, merge};
use crate::{LAYER_LIMIT, NativeRuntime, launch, new_id};

/// Version of [`Stored`].
const FORMAT: u32 = 1;
const CAPTURE: &str = "capture a container";
const FLATTEN: &str = "flatten a chain of captures";
/// How long a freeze may take.
const FREEZE: Duration = Duration::from_secs(5);

/// The data of a capture.
#[derive(Serialize, Deserialize)]
struct Stored {
    image: ImageId,
    /// Whether it is ours to remove, and not an image that was there before.
    owned: bool,
}

impl Stored {
    fn read(capture: &Capture) -> Result<Self> {
        let damaged = |reason: String| RuntimeError::Damaged {
            what: "the data of a capture".into(),
            reason,
        };
        if capture.format != FORMAT {
            return Err(damaged(format!(
                "it is of format {}, and this program knows {FORMAT}",
                capture.format
            )));
        }
        serde_json::from_value(capture.data.clone()).map_err(|error| damaged(error.to_string()))
    }

    fn write(self) -> Capture {
        let Self { image, owned } = self;
        Capture {
            format: FORMAT,
            data: serde_json::json!({ "image": image, "owned": owned }),
        }
    }
}

fn lost(image: &ImageId) -> RuntimeError {
    RuntimeError::NotFound {
        object: ObjectKind::Capture,
        name: image.short().to_owned(),
    }
}

#[async_trait]
impl Captures for NativeRuntime {
    fn of_image(&self, image: &ImageId) -> Capture {
        Stored {
            image: image.clone(),
            owned: false,
        }
        .write()
    }

    async fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
        phases: &Phases,
    ) -> Result<Captured> {
        check_image_name(&request.name)?;
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        let container = container.clone();
        let (captured, took, pause) =
            blocking(CAPTURE, move || inner.capture(&container, &request)).await?;
        phases.add(Phase::Capture, took);
        if let Some(pause) = pause {
            phases.add(Phase::Pause, pause);
        }
        Ok(captured)
    }

    async fn launch(
        &self,
        capture: &Capture,
        request: &LaunchRequest,
        phases: &Phases,
    ) -> Result<Container> {
        let image = Stored::read(capture)?.image;
        launch::launch(&self.inner, &image, request, phases)
            .await
            .map_err(|error| match error {
                RuntimeError::NotFound {
                    object: ObjectKind::Image,
                    ..
                } => lost(&image),
                error => error,
            })
    }

    async fn layers(&self, capture: &Capture) -> Result<u32> {
        let record = self.inner.captured(capture)?;
        Ok(count(&record.layers))
    }

    async fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        check_image_name(&request.name)?;
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        let capture = capture.clone();
        blocking(FLATTEN, move || inner.flatten(&capture, &request)).await
    }

    async fn rebase(&self, capture: &Capture, request: &RebaseRequest) -> Result<Captured> {
        check_image_name(&request.name)?;
        let record = self.inner.captured(capture)?;
        let from = self.inner.captured(&request.from)?;
        let onto = self.inner.captured(&request.onto)?;
        let above = above(&record, &from)?;
        let layers = [onto.layers.as_slice(), above].concat();
        if layers.len() > LAYER_LIMIT as usize {
            return Err(too_many());
        }
        let size_bytes = self.inner.books()?.bytes_of(above)?;
        let config = labelled(&record.config, &request.labels);
        let image = self.inner.enter_image(&request.name, &config, &layers)?;
        Ok(Captured {
            capture: Stored { image, owned: true }.write(),
            size_bytes,
            layers: count(&layers),
        })
    }

    async fn verify_capture(&self, capture: &Capture) -> Result<bool> {
        let image = Stored::read(capture)?.image;
        let Some(record) = self.inner.books()?.image(image.as_str())? else {
            return Ok(false);
        };
        let folders = self.inner.folders(&record.layers);
        Ok(folders.iter().all(|folder| folder.is_dir()))
    }

    async fn remove_capture(&self, capture: &Capture) -> Result<()> {
        let stored = Stored::read(capture)?;
        if !stored.owned {
            return Ok(());
        }
        statefork_runtime::Images::remove_image(self, stored.image.as_str()).await
    }
}

fn count(layers: &[LayerId]) -> u32 {
    u32::try_from(layers.len()).unwrap_or(u32::MAX)
}

fn too_many() -> RuntimeError {
    RuntimeError::Unsupported {
        op: "add a layer to an image",
        reason: format!("an image has at most {LAYER_LIMIT} layers here"),
    }
}

/// The layers that `record` has above those of `base`. Errors: `Invalid` where it does not begin with them.
fn above<'a>(record: &'a ImageRecord, base: &ImageRecord) -> Result<&'a [LayerId]> {
    record
        .layers
        .strip_prefix(base.layers.as_slice())
        .ok_or_else(|| RuntimeError::Invalid {
            what: format!("image {} as a base", base.id.short()),
            reason: format!("image {} does not stand on it", record.id.short()),
        })
}

/// A configuration with further labels.
fn labelled(config: &StoredConfig, labels: &Labels) -> StoredConfig {
    let mut config = config.clone();
    config.image.labels.extend(labels.clone());
    config
}

impl Inner {
    /// The image of a capture. Errors: `NotFound(Capture)`, `Damaged`.
    fn captured(&self, capture: &Capture) -> Result<ImageRecord> {
        let image = Stored::read(capture)?.image;
        let found = self.books()?.image(image.as_str())?;
        found.ok_or_else(|| lost(&image))
    }

    /// Before anything is copied for a name that is taken. Errors: `Conflict`.
    fn expect_free_name(&self, name: &str) -> Result<()> {
        match self.books()?.image(name)? {
            None => Ok(()),
            Some(_) => Err(RuntimeError::Conflict {
                object: ObjectKind::Image,
                name: name.to_owned(),
                reason: "the name is taken".into(),
            }),
        }
    }

    fn enter_image(
        &self,
        name: &str,
        config: &StoredConfig,
        layers: &[LayerId],
    ) -> Result<ImageId> {
        let id = ImageId::new(new_id());
        self.books()?.add_image(&NewImage {
            id: &id,
            names: &[full_name(name)],
            move_names: false,
            config,
            layers,
            drafts: &[],
        })?;
        Ok(id)
    }

    /// The capture, how long it took, and how long the application was frozen.
    fn capture(
        &self,
        container: &ContainerId,
        request: &CaptureRequest,
    ) -> Result<(Captured, Duration, Option<Duration>)> {
        let begun = Instant::now();
        Boundary::Begin(Phase::Capture).pass();
        let id = self.container(container)?.id;
        let folder = self.storage.container(&id);
        // One after the other: each stores what differs from the one before.
        let _one_at_a_time = lock(&folder)?;
        let record = self.container(&id)?;
        let books = self.books()?;
        let image = books
            .image(record.image.as_str())?
            .ok_or_else(|| lost(&record.image))?;
        self.expect_free_name(&request.name)?;
        let manifest = |captures: u64| folder.join(format!("manifest.{captures}"));
        let before = read_manifest(&manifest(record.captures), record.captures)?;
        let base = match &before {
            Some(_) => record.captured.as_slice(),
            None => record.layers.as_slice(),
        };
        if base.len() >= LAYER_LIMIT as usize {
            return Err(too_many());
        }
        let life = look(&self.storage, &record)?;
        let pauses = request.pause && life.state == ContainerState::Running;
        let processes = match life.init {
            Some(_) => Some(Frozen::new(self, &id, pauses)?),
            None => None,
        };
        let mut pause = None;
        let config = labelled(&image.config, &request.labels);
        let captured = self.with_drafts(|drafts| {
            drafts.push(self.write_layer(CAPTURE, |layer, copies| {
                let upper = folder.join(crate::plan::file::UPPER);
                let made = capture(
                    &Source {
                        upper: &upper,
                        before: before.as_ref().unwrap_or(&Manifest::default()),
                        layer,
                        copies,
                    },
                    processes
                        .as_ref()
                        .map(|processes| processes as &dyn Processes),
                    pauses,
                )
                .map_err(|error| system(CAPTURE, error))?;
                pause = made.pause;
                let next = manifest(record.captures + 1);
                made.manifest
                    .write(&next)
                    .map_err(|error| system_at(CAPTURE, &next, error))?;
                Ok(Written {
                    bytes: made.bytes,
                    digest: None,
                })
            })?);
            let size_bytes = drafts[0].size_bytes;
            let layers = [base, &[drafts[0].layer]].concat();
            let image = ImageId::new(new_id());
            let new = NewImage {
                id: &image,
                names: &[full_name(&request.name)],
                move_names: false,
                config: &config,
                layers: &layers,
                drafts,
            };
            books.add_capture(&id, record.captures, &new)?;
            Ok(Captured {
                capture: Stored { image, owned: true }.write(),
                size_bytes,
                layers: count(&layers),
            })
        })?;
        let former = manifest(record.captures);
        match std::fs::remove_file(&former) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system_at(CAPTURE, &former, error));
            }
            _ => {}
        }
        let took = begun.elapsed();
        Boundary::End(Phase::Capture).pass();
        Ok((captured, took, pause))
    }

    fn flatten(&self, capture: &Capture, request: &FlattenRequest) -> Result<Captured> {
        let record = self.captured(capture)?;
        let base = self.captured(&request.base)?;
        let above = above(&record, &base)?;
        let books = self.books()?;
        self.expect_free_name(&request.name)?;
        let config = labelled(&record.config, &request.labels);
        self.with_drafts(|drafts| {
            if !above.is_empty() {
                let (above, below) = (self.folders(above), self.folders(&base.layers));
                drafts.push(self.write_layer(FLATTEN, |layer, copies| {
                    let bytes = merge::merge(&above, &below, layer, copies);
                    Ok(Written {
                        bytes: bytes.map_err(|error| system(FLATTEN, error))?,
                        digest: None,
                    })
                })?);
            }
            let mut layers = base.layers.clone();
            layers.extend(drafts.iter().map(|draft| draft.layer));
            let image = ImageId::new(new_id());
            books.add_image(&NewImage {
                id: &image,
                names: &[full_name(&request.name)],
                move_names: false,
                config: &config,
                layers: &layers,
                drafts,
            })?;
            Ok(Captured {
                capture: Stored { image, owned: true }.write(),
                size_bytes: drafts.iter().map(|draft| draft.size_bytes).sum(),
                layers: count(&layers),
            })
        })
    }
}

/// What the container held at its last capture. `None` before the first, and where that was not written
/// down whole: then everything is stored.
fn read_manifest(path: &Path, captures: u64) -> Result<Option<Manifest>> {
    if captures == 0 {
        return Ok(None);
    }
    match Manifest::read(path) {
        Ok(manifest) => Ok(manifest),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(system_at(CAPTURE, path, error)),
    }
}

/// Waits for whoever captures, starts or removes the container in `folder`.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    storage::lock(&folder.join("lock"))
}

/// The processes of a container, with a helper that thaws them if this process dies.
struct Frozen {
    cgroup: Cgroup,
    _guard: Option<Guard>,
}

impl Frozen {
    fn new(inner: &Inner, container: &ContainerId, pauses: bool) -> Result<Self> {
        let guard = pauses.then(|| Guard::start(&inner.helper, &cgroup_path(container)));
        Ok(Self {
            cgroup: cgroup(container).map_err(|error| system(CAPTURE, error))?,
            _guard: guard
                .transpose()
                .map_err(|error| system_at("start the helper", &inner.helper, error))?,
        })
    }
}

impl Processes for Frozen {
    fn pids(&self) -> io::Result<Vec<u32>> {
        let pids = self.cgroup.pids()?;
        let pids = pids
            .into_iter()
            .map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        Ok(pids.collect())
    }

    fn freeze(&self) -> io::Result<()> {
        Boundary::Begin(Phase::Pause).pass();
        self.cgroup.freeze(FREEZE)
    }

    fn thaw(&self) -> io::Result<()> {
        let thawed = self.cgroup.thaw();
        Boundary::End(Phase::Pause).pass();
        thawed
    }
}
