//! Importing images: archives, OCI layouts, root file systems.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use statefork_runtime::{
    EnvVar, ErrorKind, Image, ImageConfig, ImageId, ObjectKind, Result, RuntimeError,
};

use crate::books::{Draft, LayerId, NewImage, StoredConfig, full_name};
use crate::drafts::Written;
use crate::import::{self, Archive, Bounds, ImportError, LayerRef, Unpacked};
use crate::runtime::Inner;
use crate::settings::check_image_name;
use crate::storage::{blocking, system, system_at};
use crate::{NativeRuntime, new_id};

pub(crate) const IMPORT: &str = "import an image";
/// How often an image is entered.
const ATTEMPTS: u32 = 10;
/// The file that makes a folder an OCI image layout (OCI image-spec 1.1, "Image Layout").
const LAYOUT: &str = "oci-layout";
/// Where the programs of a root file system are looked for, which says nothing about it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl NativeRuntime {
    /// Imports an image from a file or folder of this machine: an archive as `docker save` writes it, an OCI
    /// archive or layout, or a root file system as a tar archive or a folder. Archives may be
    /// compressed by gzip or zstd.
    ///
    /// `name` takes the place of the names that an archive has; a root file system has none and needs
    /// one. The image of a root file system says nothing about what to run.
    ///
    /// Errors: `Invalid` for what is none of these, for a name that is none or missing; `StorageFull`.
    pub async fn import_from(&self, path: &Path, name: Option<&str>) -> Result<Image> {
        if let Some(name) = name {
            check_image_name(name)?;
        }
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        let name = name.map(full_name);
        blocking(IMPORT, move || inner.import_from(&path, name)).await
    }
}

/// A root file system.
enum RootFiles {
    /// A tar archive.
    Archive(File),
    Folder(PathBuf),
}

impl Inner {
    /// Imports an archive under the names that it has.
    pub(crate) fn import(&self, file: &File) -> Result<ImageId> {
        let archive = import::read(file, self.storage.root(), &Bounds::default());
        let archive = archive.map_err(refused)?;
        self.enter_archive(&archive, None)
    }

    /// Enters the image of an archive, once more where a layer that another image had went with that.
    fn enter_archive(&self, archive: &Archive, name: Option<String>) -> Result<ImageId> {
        let mut attempt = 1;
        loop {
            let entered = self.with_drafts(|drafts| self.enter(archive, name.clone(), drafts));
            match entered {
                Err(error)
                    if error.kind() == ErrorKind::NotFound(ObjectKind::Image)
                        && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                entered => return entered,
            }
        }
    }

    fn import_from(&self, path: &Path, name: Option<String>) -> Result<Image> {
        let failed = |error| system_at(IMPORT, path, error);
        let file = File::open(path).map_err(failed)?;
        let archive = if !file.metadata().map_err(failed)?.is_dir() {
            match import::read(&file, self.storage.root(), &Bounds::default()) {
                Err(ImportError::NoImage) => Err(RootFiles::Archive(file)),
                archive => Ok(archive),
            }
        } else if path.join(LAYOUT).exists() {
            Ok(import::read_folder(path))
        } else {
            Err(RootFiles::Folder(path.to_owned()))
        };
        let id = match archive {
            Ok(archive) => {
                let archive = archive.map_err(refused)?;
                self.enter_archive(&archive, name)
            }
            Err(root) => {
                let name = name.ok_or_else(|| RuntimeError::Invalid {
                    what: format!("{} as an image", path.display()),
                    reason: "a root file system has no name: one has to be given".into(),
                })?;
                self.with_drafts(|drafts| self.enter_root(&root, name, drafts))
            }
        }?;
        let image = self.books()?.image(id.as_str())?;
        let image = image.ok_or_else(|| RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: id.to_string(),
        })?;
        self.describe(image)
    }

    /// Enters an image of one layer.
    fn enter_root(
        &self,
        root: &RootFiles,
        name: String,
        drafts: &mut Vec<Draft>,
    ) -> Result<ImageId> {
        let draft = self.write_layer(IMPORT, |folder, _| {
            let unpacked = make_durable(folder, |target| match root {
                RootFiles::Archive(file) => import::unpack(file, target, &Bounds::default()),
                RootFiles::Folder(source) => {
                    import::root_from_folder(source, target, &Bounds::default())
                }
            })?;
            Ok(Written {
                bytes: unpacked.bytes,
                digest: None,
            })
        })?;
        let layers = [draft.layer];
        drafts.push(draft);
        let config = StoredConfig {
            image: ImageConfig {
                env: vec![EnvVar {
                    name: "PATH".into(),
                    value: PATH.into(),
                }],
                ..ImageConfig::default()
            },
            stop_signal: None,
        };
        let id = ImageId::new(new_id());
        self.books()?.add_image(&NewImage {
            id: &id,
            names: &[name],
            move_names: true,
            config: &config,
            layers: &layers,
            drafts,
        })?;
        Ok(id)
    }

    /// Enters the image of an archive, under `name` where that is given.
    fn enter(
        &self,
        archive: &Archive,
        name: Option<String>,
        drafts: &mut Vec<Draft>,
    ) -> Result<ImageId> {
        let books = self.books()?;
        let config = StoredConfig {
            image: archive.config.to_contract().map_err(refused)?,
            stop_signal: archive.config.stop_signal().map_err(refused)?,
        };
        let id = ImageId::new(archive.config.id());
        let names: Vec<String> = match name {
            Some(name) => vec![name],
            None => archive.names.iter().map(|name| full_name(name)).collect(),
        };
        let mut layers: Vec<LayerId> = Vec::new();
        if books.image(id.as_str())?.is_none() {
            for layer in &archive.layers {
                if let Some(known) = books.layer_of_digest(&layer.diff_id)? {
                    layers.push(known);
                    continue;
                }
                let mut hides_all = false;
                let draft = self.write_layer(IMPORT, |folder, _| {
                    let unpacked = unpack(archive, layer, folder)?;
                    hides_all = unpacked.hides_all;
                    Ok(Written {
                        bytes: unpacked.bytes,
                        // Which layers are below decides what one means that hides them.
                        digest: (!hides_all).then_some(unpacked.digest),
                    })
                })?;
                if hides_all {
                    layers.clear();
                }
                layers.push(draft.layer);
                drafts.push(draft);
            }
            if layers.is_empty() {
                // An overlay has at least one.
                let draft = self.write_layer(IMPORT, |_, _| {
                    Ok(Written {
                        bytes: 0,
                        digest: None,
                    })
                })?;
                layers.push(draft.layer);
                drafts.push(draft);
            }
        }
        books.add_image(&NewImage {
            id: &id,
            names: &names,
            move_names: true,
            config: &config,
            layers: &layers,
            drafts,
        })?;
        Ok(id)
    }
}

/// Unpacks a layer into its folder and makes it durable.
fn unpack(archive: &Archive, layer: &LayerRef, folder: &Path) -> Result<Unpacked> {
    make_durable(folder, |target| {
        archive.unpack(layer, target, &Bounds::default())
    })
}

/// Has `write` fill a folder, and makes that durable.
fn make_durable(
    folder: &Path,
    write: impl FnOnce(BorrowedFd<'_>) -> Result<Unpacked, ImportError>,
) -> Result<Unpacked> {
    let failed = |error| system_at(IMPORT, folder, error);
    let opened = File::open(folder).map_err(failed)?;
    let unpacked = write(opened.as_fd()).map_err(refused)?;
    rustix::fs::syncfs(&opened).map_err(|errno| failed(errno.into()))?;
    Ok(unpacked)
}

/// What an archive that cannot be imported means.
fn refused(error: ImportError) -> RuntimeError {
    match error {
        ImportError::StorageFull { .. } => system(IMPORT, io::ErrorKind::StorageFull.into()),
        ImportError::Write { path, source } => system_at(IMPORT, Path::new(&path), source),
        ImportError::Read { source, .. } if source.raw_os_error().is_some() => {
            system(IMPORT, source)
        }
        other => RuntimeError::Invalid {
            what: "the archive as an image".into(),
            reason: other.to_string(),
        },
    }
}
