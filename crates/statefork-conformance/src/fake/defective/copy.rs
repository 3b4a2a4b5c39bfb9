//! What can be wrong with copying and with adopting.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use statefork_runtime::{
    Adoption, ByteStream, ContainerId, ContainerState, Containers, ErrorKind, ObjectKind, Result,
    RuntimeError,
};

use super::super::copy;
use super::{Defect, DefectiveRuntime};

fn one_piece(bytes: Vec<u8>) -> ByteStream {
    stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

fn broken(error: io::Error) -> RuntimeError {
    RuntimeError::Daemon {
        op: "spoil an archive",
        status: None,
        message: error.to_string(),
        source: None,
    }
}

/// The same archive with other names, without the entries that get none.
fn renamed(bytes: &[u8], name: impl Fn(&Path) -> Option<PathBuf>) -> io::Result<Vec<u8>> {
    let mut own = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let mut header = entry.header().clone();
        if let Some(name) = name(&entry.path()?) {
            own.append_data(&mut header, name, &content[..])?;
        }
    }
    own.into_inner()
}

impl DefectiveRuntime {
    async fn refuse_unless_running(&self, op: &'static str, of: &ContainerId) -> Result<()> {
        let stands = |state| state != ContainerState::Running;
        self.refuse(op, of, stands).await
    }

    pub(super) async fn defective_copy_out(
        &self,
        container: &ContainerId,
        path: &Path,
    ) -> Result<ByteStream> {
        if self.has(Defect::CopyWantsRunning) {
            self.refuse_unless_running("copy from", container).await?;
        }
        if self.has(Defect::CopyOutLeavesMountsOut) {
            let mounts = self.state(container).await.map(|found| found.mounts);
            if mounts.iter().flatten().any(|m| path.starts_with(&m.path)) {
                return Ok(one_piece(vec![0; 1024]));
            }
        }
        let archive = match self.fake.copy_out(container, path).await {
            Err(error)
                if self.has(Defect::CopyOutOfNothingIsEmpty)
                    && error.kind() == ErrorKind::Invalid =>
            {
                return Ok(one_piece(vec![0; 1024]));
            }
            archive => archive?,
        };
        let bytes: Vec<Bytes> = archive.try_collect().await.map_err(broken)?;
        let bytes = bytes.concat();
        let spoiled = match self.defect {
            Defect::CopyOutIsFlat => renamed(&bytes, |name| {
                (name.components().count() == 1).then(|| name.to_owned())
            }),
            Defect::CopyOutNamesThePath => {
                let folder = path.parent().unwrap_or(path);
                let folder = folder.strip_prefix("/").unwrap_or(folder);
                renamed(&bytes, |name| Some(folder.join(name)))
            }
            _ => Ok(bytes),
        };
        spoiled.map(one_piece).map_err(broken)
    }

    pub(super) async fn defective_copy_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        if self.has(Defect::CopyWantsRunning) {
            self.refuse_unless_running("copy to", container).await?;
        }
        if self.has(Defect::CopyInDoesNothing) {
            let shared = &self.fake.shared;
            let target = shared.write(|state| copy::target(state, container, folder));
            return target.map(drop);
        }
        let bytes: Vec<Bytes> = archive.try_collect().await.map_err(broken)?;
        let bytes = bytes.concat();
        let again = one_piece(bytes.clone());
        let copied = self.fake.copy_in(container, folder, again).await;
        let kind = copied.as_ref().err().map(RuntimeError::kind);
        match (self.defect, kind) {
            (Defect::CopyInClearsTheFolder, None) => {
                let unpacked = copy::unpack(folder, &bytes)?;
                self.fake.shared.write(|state| {
                    let tree = &mut state.container_mut(container)?.tree;
                    tree.writable.retain(|path, _| {
                        let inside = path.strip_prefix(folder);
                        inside.map_or(true, |inside| unpacked.contains_key(inside))
                    });
                    Ok(())
                })
            }
            (Defect::CopyInTakesAnything, Some(ErrorKind::Invalid))
                if copy::unpack(folder, &bytes).is_err() =>
            {
                Ok(())
            }
            (
                Defect::CopyInMakesFolders | Defect::CopyInWritesReadOnly,
                Some(ErrorKind::Invalid),
            ) => self.force(container, folder, &bytes),
            (Defect::CopyInClimbs, Some(ErrorKind::Invalid)) => {
                let outside = |path: &Path| path.strip_prefix("..").ok().map(Path::to_owned);
                let files = renamed(&bytes, outside).map_err(broken)?;
                let outside = folder.parent().unwrap_or(folder);
                let files = copy::unpack(outside, &files)?;
                self.fake
                    .shared
                    .write(|state| copy::write(state, container, outside, files))
            }
            _ => copied,
        }
    }

    /// Unpacks where the fake refuses to.
    fn force(&self, container: &ContainerId, folder: &Path, bytes: &[u8]) -> Result<()> {
        let files = copy::unpack(folder, bytes)?;
        self.fake.shared.write(|state| {
            let tree = &mut state.container_mut(container)?.tree;
            let is_read_only = tree.is_read_only(folder);
            if is_read_only != self.has(Defect::CopyInWritesReadOnly) {
                return Err(broken(io::ErrorKind::Unsupported.into()));
            }
            for mount in &mut tree.mounts {
                mount.read_only = false;
            }
            copy::write(state, container, folder, files)
        })
    }

    pub(super) async fn defective_adopt(
        &self,
        container: &ContainerId,
    ) -> Result<Option<Adoption>> {
        match self.defect {
            Defect::AdoptWantsRunning => self.refuse_unless_running("adopt", container).await?,
            Defect::AdoptRestarts if self.state(container).await.is_some() => {
                self.fake.kill(container).await?;
                self.fake.start(container).await?;
            }
            _ => {}
        }
        let Some(mut adoption) = self.fake.adopt(container).await? else {
            return match self.defect {
                Defect::AdoptNeedsOne => Err(RuntimeError::NotFound {
                    object: ObjectKind::Container,
                    name: container.to_string(),
                }),
                _ => Ok(None),
            };
        };
        let spec = &mut adoption.spec;
        match self.defect {
            Defect::AdoptRepeatsTheImage => self.fake.shared.read(|state| {
                if let Some(image) = state.images.get(&adoption.container.image) {
                    spec.env.extend(image.config.env.clone());
                    spec.command
                        .get_or_insert_with(|| image.config.command.clone());
                }
            }),
            Defect::AdoptForgetsVariables => spec.env.clear(),
            Defect::AdoptForgetsReadOnly => {
                for mount in &mut spec.mounts {
                    mount.read_only = false;
                }
            }
            Defect::AdoptForgetsPorts => adoption.published.clear(),
            Defect::AdoptAlwaysObjects => adoption.obstacles.push("its habits".into()),
            _ => {}
        }
        Ok(Some(adoption))
    }
}
