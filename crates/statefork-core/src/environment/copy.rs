//! `cp`: files into the branch's container and out of it. A target that is a folder takes the
//! source in under its own name; else it is the source's new name.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt};
use statefork_runtime::{ByteStream, ContainerId, RuntimeError, container_path};
use tar::EntryType;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio_util::io::ReaderStream;

use super::Environment;
use crate::archive::{Copied, pack, unpack};
use crate::error::{CoreError, Result};

/// Links that lead to links are followed as often as the kernel does.
const MOST_LINKS: usize = 40;
/// Of an archive's beginning: enough for the first entry's header with a long name.
const HEAD: usize = 16 * 1024;

/// What a path in a container is.
enum Found {
    Nothing,
    Folder(PathBuf),
    Other,
}

impl Environment {
    /// Copies a file, or a folder with all below, out of the branch's container. Holds no lock.
    ///
    /// A source that ends with `/.` stands for what lies in it. Owners become the caller. An error
    /// leaves what was copied before it.
    pub async fn copy_out(&self, source: &Path, target: &Path) -> Result<Copied> {
        let copied = async {
            let live = self.live().await?;
            let runtime = &self.runtime;
            let mut stream = runtime.copy_out(&live.container.id, source).await?;
            let (folder, name) = on_host(source, target)?;
            let io = |source| CoreError::Io {
                op: "write",
                path: folder.join(&name),
                source,
            };
            let (mut sender, receiver) = pipe::pipe().map_err(io)?;
            let archive = receiver.into_blocking_fd().map_err(io)?;
            let place = (folder.clone(), name.clone());
            let unpacking = tokio::task::spawn_blocking(move || {
                unpack(std::fs::File::from(archive), &place.0, &place.1)
            });
            let sending = async move {
                while let Some(piece) = stream.try_next().await? {
                    // Whoever unpacks has given up, and says why.
                    if sender.write_all(&piece).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            let (sent, unpacked) = tokio::join!(sending, unpacking);
            sent.map_err(io)?;
            let unpacked = unpacked.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            unpacked.map_err(io)
        };
        copied.await.map_err(|error: CoreError| {
            error.in_operation(format!("copy {} out of the container", source.display()))
        })
    }

    /// Copies a file, or a folder with all below, of the host into the branch's container. Holds no
    /// lock.
    ///
    /// A source that ends with `/.` stands for what lies in it. Owners become root. An error leaves
    /// what was copied before it.
    pub async fn copy_in(&self, source: &Path, target: &Path) -> Result<Copied> {
        let copied = async {
            let live = self.live().await?;
            let io = |error| CoreError::Io {
                op: "read",
                path: source.to_owned(),
                source: error,
            };
            source.symlink_metadata().map_err(io)?;
            let container = &live.container.id;
            let (folder, name) = self.in_container(container, source, target).await?;
            let (sender, receiver) = pipe::pipe().map_err(io)?;
            let out = sender.into_blocking_fd().map_err(io)?;
            let from = source.to_owned();
            let packing =
                tokio::task::spawn_blocking(move || pack(std::fs::File::from(out), &from, &name));
            let archive = ReaderStream::new(receiver).boxed();
            let copying = self.runtime.copy_in(container, &folder, archive);
            let (sent, packed) = tokio::join!(copying, packing);
            let packed = packed.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            match (sent, packed) {
                // The runtime went away from a stream that was not at its end.
                (Err(error), Err(broken)) if broken.kind() == io::ErrorKind::BrokenPipe => {
                    Err(error.into())
                }
                (_, Err(error)) => Err(io(error)),
                (sent, Ok(packed)) => Ok(sent.map(|()| packed)?),
            }
        };
        copied.await.map_err(|error: CoreError| {
            error.in_operation(format!("copy {} into the container", source.display()))
        })
    }

    /// A file, or a folder with all below, of the branch's container as a tar stream whose entries
    /// begin with its name. Holds no lock.
    pub async fn archive_out(&self, source: &Path) -> Result<ByteStream> {
        let opened = async {
            let live = self.live().await?;
            Ok(self.runtime.copy_out(&live.container.id, source).await?)
        };
        opened.await.map_err(|error: CoreError| {
            error.in_operation(format!("copy {} out of the container", source.display()))
        })
    }

    /// Unpacks a tar stream in a folder of the branch's container, owners included. Holds no lock.
    pub async fn archive_in(&self, archive: ByteStream, target: &Path) -> Result<()> {
        let copied = async {
            let live = self.live().await?;
            let copying = self.runtime.copy_in(&live.container.id, target, archive);
            Ok(copying.await?)
        };
        copied.await.map_err(|error: CoreError| {
            error.in_operation(format!(
                "unpack an archive in {} in the container",
                target.display()
            ))
        })
    }

    /// The folder of the container that takes a copy in, and the copy's name there.
    async fn in_container(
        &self,
        container: &ContainerId,
        source: &Path,
        target: &Path,
    ) -> Result<(PathBuf, PathBuf)> {
        let is_folder = source.metadata().is_ok_and(|found| found.is_dir());
        match self.look_at(container, target).await? {
            Found::Folder(folder) if is_contents(source) => Ok((folder, PathBuf::new())),
            Found::Folder(folder) => Ok((folder, own_name(source)?)),
            Found::Other if is_folder => Err(not_a_folder(target)),
            Found::Nothing if !is_folder && ends_with_slash(target) => Err(no_such_folder(target)),
            Found::Other | Found::Nothing => {
                let plain = PathBuf::from(container_path(target)?);
                let name = plain.file_name().map(PathBuf::from);
                let folder = plain.parent().map(Path::to_owned);
                Ok((folder.unwrap_or_default(), name.unwrap_or_default()))
            }
        }
    }

    async fn look_at(&self, container: &ContainerId, path: &Path) -> Result<Found> {
        let mut path = PathBuf::from(container_path(path)?);
        for _ in 0..MOST_LINKS {
            if path.parent().is_none() {
                return Ok(Found::Folder(path));
            }
            let archive = match self.runtime.copy_out(container, &path).await {
                Ok(archive) => archive,
                Err(RuntimeError::Invalid { .. }) => return Ok(Found::Nothing),
                Err(error) => return Err(error.into()),
            };
            match first_entry(archive).await? {
                (EntryType::Directory, _) => return Ok(Found::Folder(path)),
                (EntryType::Symlink, Some(link)) => path = followed(&path, &link),
                _ => return Ok(Found::Other),
            }
        }
        Err(invalid(&path, "too many links"))
    }
}

/// The kind of an archive's first entry, and where it leads if it is a link.
async fn first_entry(mut archive: ByteStream) -> Result<(EntryType, Option<PathBuf>)> {
    let mut head = Vec::new();
    let io = |source| CoreError::Io {
        op: "read the archive of",
        path: "a path in the container".into(),
        source,
    };
    while head.len() < HEAD
        && let Some(piece) = archive.try_next().await.map_err(io)?
    {
        head.extend_from_slice(&piece);
    }
    let read = || {
        let mut archive = tar::Archive::new(head.as_slice().take(HEAD as u64));
        let entry = archive.entries()?.next();
        let entry = entry.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
        let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
        Ok((entry.header().entry_type(), link))
    };
    read().map_err(io)
}

/// Where a link in a container leads, `..` taken as a step back.
fn followed(link: &Path, target: &Path) -> PathBuf {
    use std::path::Component;

    let mut path = link.parent().unwrap_or(Path::new("/")).to_owned();
    for part in target.components() {
        match part {
            Component::RootDir => path = PathBuf::from("/"),
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// The folder of the host that takes a copy in, and the copy's name there.
fn on_host(source: &Path, target: &Path) -> Result<(PathBuf, PathBuf)> {
    if target.is_dir() {
        let name = match is_contents(source) {
            true => PathBuf::new(),
            false => own_name(source)?,
        };
        return Ok((target.to_owned(), name));
    }
    if ends_with_slash(target) {
        return Err(no_such_folder(target));
    }
    let name = target.file_name().map(PathBuf::from);
    let name = name.ok_or_else(|| no_such_folder(target))?;
    let folder = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match folder.is_dir() {
        true => Ok((folder.to_owned(), name)),
        false => Err(no_such_folder(folder)),
    }
}

/// The name of a file or folder, of whichever spelling.
fn own_name(source: &Path) -> Result<PathBuf> {
    if let Some(name) = source.file_name() {
        return Ok(name.into());
    }
    let canonical = source.canonicalize().map_err(|error| CoreError::Io {
        op: "read",
        path: source.to_owned(),
        source: error,
    })?;
    let name = canonical.file_name().map(PathBuf::from);
    name.ok_or_else(|| invalid(source, "it has no name under which it could be copied"))
}

/// Whether a source stands for what lies in it.
fn is_contents(source: &Path) -> bool {
    let text = source.as_os_str().as_encoded_bytes();
    source.as_os_str() == OsStr::new(".") || text.ends_with(b"/.")
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn invalid(path: &Path, reason: &str) -> CoreError {
    CoreError::Runtime(RuntimeError::Invalid {
        what: format!("path {}", path.display()),
        reason: reason.to_owned(),
    })
}

fn not_a_folder(path: &Path) -> CoreError {
    invalid(path, "it is no folder")
}

fn no_such_folder(path: &Path) -> CoreError {
    invalid(path, "no such folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_in_and_everything_else_is_a_name() {
        let host = tempfile::tempdir().unwrap();
        let place = |source: &str, target: &str| {
            let placed = on_host(Path::new(source), &host.path().join(target)).ok()?;
            let folder = placed.0.strip_prefix(host.path()).ok()?.to_owned();
            Some((folder, placed.1))
        };
        std::fs::create_dir(host.path().join("folder")).unwrap();
        for (source, target, expected) in [
            ("/etc/motd", "folder", Some(("folder", "motd"))),
            ("/etc/", "folder", Some(("folder", "etc"))),
            ("/etc/.", "folder", Some(("folder", ""))),
            ("/etc/motd", "new", Some(("", "new"))),
            ("/etc/.", "new", Some(("", "new"))),
            ("/etc/motd", "new/", None),
            ("/etc/motd", "none/new", None),
        ] {
            let expected = expected.map(|(folder, name)| (folder.into(), name.into()));
            assert_eq!(place(source, target), expected, "{source} to {target}");
        }
    }

    #[test]
    fn a_link_leads_on_from_its_folder() {
        for (link, target, expected) in [
            ("/a/b", "c", "/a/c"),
            ("/a/b", "../c/./d", "/c/d"),
            ("/a/b", "/c", "/c"),
            ("/a", "../../c", "/c"),
        ] {
            let led = followed(Path::new(link), Path::new(target));
            assert_eq!(led, Path::new(expected), "{link} -> {target}");
        }
    }
}
