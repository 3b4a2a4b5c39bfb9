//! Copying files out of a container and into it (Docker Engine API, `/containers/{id}/archive`).

use std::path::Path;

use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use statefork_runtime::{
    ByteStream, ContainerId, Result, RuntimeError, container_entry, container_path,
};

use crate::failure::{Cause, Failure};
use crate::{DockerRuntime, containers, message};

const OUT: &str = "copy from the container";
const IN: &str = "copy into the container";

impl DockerRuntime {
    /// The archive of one file or folder.
    pub(crate) async fn archive_of(
        &self,
        container: &ContainerId,
        path: &Path,
    ) -> Result<ByteStream> {
        container_entry(path)?;
        // Without a slash at its end, so that a link there is not followed.
        let path = container_path(path)?;
        let target = self.target(container).await?;
        let options = DownloadFromContainerOptions { path: path.clone() };
        let docker = self.client.docker()?;
        let mut pieces = docker
            .download_from_container(&target, Some(options))
            .boxed();
        // The answer's head comes with its first piece.
        let first = self.client.bounded(OUT, pieces.try_next()).await;
        let first = match first {
            Ok(first) => first,
            Err(failure) => return Err(self.refused_path(container, &path, failure).await),
        };
        let first = stream::iter(first.map(Ok));
        Ok(first.chain(pieces).map_err(std::io::Error::other).boxed())
    }

    /// Unpacks an archive in a folder.
    pub(crate) async fn unpack_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let folder = container_path(folder)?;
        let target = self.target(container).await?;
        let options = UploadToContainerOptions {
            path: folder.clone(),
            no_overwrite_dir_non_dir: Some("true".to_owned()),
            // With it, owners would be replaced by the container's user.
            copy_uidgid: Some("false".to_owned()),
        };
        let docker = self.client.docker()?;
        let body = bollard::body_try_stream(archive);
        // Takes as long as the archive's source.
        match docker
            .upload_to_container(&target, Some(options), body)
            .await
        {
            Ok(()) => Ok(()),
            Err(error) => {
                let failure = self.client.failure(IN, Cause::Api(error));
                Err(self.refused_path(container, &folder, failure).await)
            }
        }
    }

    /// What a failed copy says: about a container that is not there, about the path or what was to
    /// be unpacked there, or about neither.
    async fn refused_path(
        &self,
        container: &ContainerId,
        path: &str,
        failure: Failure,
    ) -> RuntimeError {
        if !failure.is_refusal() {
            return failure.into();
        }
        match self.look(container).await {
            Ok(Some(_)) => {}
            Ok(None) => return containers::not_found(container),
            Err(failure) => return failure.into(),
        }
        RuntimeError::Invalid {
            what: format!("path {path}"),
            reason: match failure.status() {
                Some(404) => "no such file or folder in the container".to_owned(),
                _ => message::without_helper(failure.said().unwrap_or_default()).to_owned(),
            },
        }
    }
}
