//! Copying files out of a container and into it, in whatever state it is.
//!
//! While a container is up its files are reached through its first process, mounts and all. Else its
//! layers are mounted for this alone, attached nowhere, and what lies on a shared mount is taken from
//! where that comes from. Paths are resolved by the kernel as inside the container.

mod archive;
mod unpack;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use statefork_runtime::{
    ByteStream, ContainerId, MountSource, Result, RuntimeError, container_entry, container_path,
};
use tokio::sync::mpsc;

use crate::books::ContainerRecord;
use crate::captures::lock;
use crate::container::{look, wrong_state};
use crate::helper::overlay;
use crate::runtime::Inner;
use crate::storage::{blocking, system};
use crate::sys;

const OUT: &str = "copy files out of a container";
const IN: &str = "copy files into a container";
/// How many pieces may wait for whoever reads or writes them.
const PIECES: usize = 8;
/// How the kernel resolves a path inside a container.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// One file or folder as a tar stream.
pub(crate) async fn out(
    inner: Arc<Inner>,
    container: ContainerId,
    path: PathBuf,
) -> Result<ByteStream> {
    let (_, name) = container_entry(&path)?;
    let plain = PathBuf::from(container_path(&path)?);
    let shown = path.clone();
    let (place, folder, own) = blocking(OUT, move || {
        let record = inner.container(&container)?;
        let mut place = Place::of(&inner, &record, &plain, &shown)?;
        let own = place.split();
        let folder = place.open(OFlags::PATH | OFlags::DIRECTORY, &shown)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&folder, &own, flags, Mode::empty())
            .map_err(|errno| at_path(OUT, &shown, errno))?;
        Ok((place, folder, own))
    })
    .await?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    tokio::task::spawn_blocking(move || {
        let written = archive::write(&folder, &own, Path::new(&name), &sender);
        // The mount is needed until here.
        drop(place);
        if let Err(error) = written {
            // Whoever reads no longer does where this fails.
            let _gone = sender.blocking_send(Err(error));
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(pieces.boxed())
}

/// Unpacks a tar stream in a folder.
pub(crate) async fn into(
    inner: Arc<Inner>,
    container: ContainerId,
    folder: PathBuf,
    mut archive: ByteStream,
) -> Result<()> {
    let plain = container_path(&folder)?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let unpacking = blocking(IN, move || {
        let record = inner.container(&container)?;
        let place = Place::of(&inner, &record, Path::new(&plain), &folder)?;
        let opened = place.open(OFlags::RDONLY | OFlags::DIRECTORY, &folder)?;
        if place.read_only {
            return Err(at_path(IN, &folder, Errno::ROFS));
        }
        unpack::unpack(&opened, &folder, receiver)
    });
    let sending = async move {
        while let Some(piece) = archive.next().await {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
    };
    let (unpacked, ()) = tokio::join!(unpacking, sending);
    unpacked
}

/// Where a path of a container is on the host.
struct Place {
    root: OwnedFd,
    path: PathBuf,
    read_only: bool,
    /// Held while the layers of a container that is not up are mounted.
    _lock: Option<std::fs::File>,
}

impl Place {
    fn of(inner: &Inner, record: &ContainerRecord, path: &Path, shown: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
        let mount = record
            .spec
            .mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.target))
            .max_by_key(|mount| mount.target.components().count());
        let read_only = mount.is_some_and(|mount| mount.read_only);
        let life = look(&inner.storage, record)?;
        if let Some(init) = &life.init {
            let root = open(Path::new(&format!("/proc/{}/root", init.pid)));
            let alive = init.alive().map_err(|error| system(OUT, error))?;
            if let (Ok(root), true) = (root, alive) {
                return Ok(Self {
                    root,
                    path: path.to_owned(),
                    read_only,
                    _lock: None,
                });
            }
            // It has ended just now.
        }
        if let Some(mount) = mount {
            let source = match &mount.source {
                MountSource::Bind(source) => source.clone(),
                MountSource::Volume(name) => inner.storage.volume(name),
                // Memory is there while it runs only; what lies beneath is not what it sees.
                MountSource::Tmpfs { .. } => {
                    let op = "reach the memory (tmpfs) of";
                    // Where it has ended just now, that is what it is.
                    let state = look(&inner.storage, record)?.state;
                    return Err(wrong_state(op, &record.id, state));
                }
            };
            let rest = path.strip_prefix(&mount.target).unwrap_or(Path::new(""));
            // A file is mounted too, and is found in its folder.
            let (root, path) = match (source.is_dir(), source.parent(), source.file_name()) {
                (false, Some(parent), Some(name)) => (parent, Path::new("/").join(name)),
                _ => (source.as_path(), Path::new("/").join(rest)),
            };
            return Ok(Self {
                root: open(root).map_err(|errno| at_path(OUT, shown, errno))?,
                path,
                read_only,
                _lock: None,
            });
        }
        let folder = inner.storage.container(&record.id);
        let lock = lock(&folder)?;
        let layers = inner.storage.layers();
        let lower: Vec<PathBuf> = record
            .layers
            .iter()
            .rev()
            .map(|layer| layer.to_string().into())
            .collect();
        let mounted = sys::with_own_folder(move || {
            let folder = rustix::fs::open(&folder, flags, Mode::empty())?;
            overlay::mount_layers(&layers, &lower, &folder)
        });
        Ok(Self {
            root: mounted.map_err(|error| system(OUT, error))?,
            path: path.to_owned(),
            read_only,
            _lock: Some(lock),
        })
    }

    /// Goes from the entry to the folder that it lies in; its name there.
    fn split(&mut self) -> PathBuf {
        match self.path.file_name().map(PathBuf::from) {
            Some(name) => {
                self.path.pop();
                name
            }
            None => ".".into(),
        }
    }

    fn open(&self, flags: OFlags, shown: &Path) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, &self.path, flags, Mode::empty(), INSIDE)
            .map_err(|errno| at_path(OUT, shown, errno))
    }
}

/// What a failure at a path of the container means.
fn at_path(op: &'static str, path: &Path, errno: Errno) -> RuntimeError {
    let reason = match errno {
        Errno::NOENT => "there is no such file or folder",
        Errno::NOTDIR => "it is no folder, or one on the way is none",
        Errno::ROFS => "it lies on a read-only mount",
        Errno::LOOP => "too many symbolic links",
        Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => "a folder is in the place of a file",
        Errno::XDEV => "it leads out of the folder",
        other => return system(op, other.into()),
    };
    RuntimeError::Invalid {
        what: format!("path {}", path.display()),
        reason: reason.into(),
    }
}
