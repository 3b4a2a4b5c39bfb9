//! Copying files out of a container and into it (libpod API, `containers/{}/archive`).
//!
//! Podman does some things otherwise than the contract asks, so that a path is looked at first:
//!
//! | Podman | Here |
//! |---|---|
//! | follows a link at the end of a path | the link is taken from the archive of its folder |
//! | makes a folder that does not exist | refused |
//! | names what is below a mount point from the root, if the container does not run | renamed |
//! | gives all that is copied out to the container's user | the contract allows it |

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use hyper::Method;
use statefork_runtime::{
    ByteStream, ContainerId, Containers, Result, RuntimeError, container_entry, container_path,
};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::PodmanRuntime;
use crate::archive;
use crate::cause::{self, Cause};
use crate::client::no_container;
use crate::fault::Fault;
use crate::raw::{Payload, encode, query};

const OUT: &str = "copy from a container";
const IN: &str = "copy into a container";

fn invalid(path: &str, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Invalid {
        what: format!("path {path}"),
        reason: reason.into(),
    }
}

fn no_such(path: &str) -> RuntimeError {
    invalid(path, "no such file or folder in the container")
}

fn url(container: &ContainerId, pairs: &[(&str, &str)]) -> String {
    let id = encode(container.as_str());
    format!("/containers/{id}/archive{}", query(pairs))
}

impl PodmanRuntime {
    /// The archive of one file or folder.
    pub(crate) async fn archive_of(
        &self,
        container: &ContainerId,
        path: &Path,
    ) -> Result<ByteStream> {
        let (folder, name) = container_entry(path)?;
        let path = container_path(path)?;
        let stat = self.stat(OUT, container, &path).await?;
        if stat.is_link() {
            let archive = self.get_archive(container, &folder).await?;
            return self.link(archive, folder, name, path).await;
        }
        let mut archive = self.get_archive(container, &path).await?;
        let first = self
            .client
            .call(async { archive.try_next().await.map_err(Fault::broken) });
        let first = first.await.map_err(|fault| self.client.error(OUT, fault))?;
        let is_rooted = first.as_ref().is_some_and(|first| first.starts_with(b"/"));
        let archive = stream::iter(first.map(Ok)).chain(archive).boxed();
        Ok(if is_rooted {
            archive::below(archive, name)
        } else {
            archive
        })
    }

    /// Unpacks an archive in a folder.
    pub(crate) async fn unpack_in(
        &self,
        container: &ContainerId,
        folder: &Path,
        archive: ByteStream,
    ) -> Result<()> {
        let folder = container_path(folder)?;
        let stat = self.stat(IN, container, &folder).await?;
        if !stat.is_dir {
            return Err(invalid(&folder, "not a folder"));
        }
        let url = url(
            container,
            &[
                ("path", folder.as_str()),
                // With it, owners would be replaced by the container's user.
                ("copyUIDGID", "false"),
                ("noOverwriteDirNonDir", "true"),
            ],
        );
        // Takes as long as the archive's source.
        let sent = self
            .client
            .raw
            .send(Method::PUT, &url, Payload::Tar(archive));
        match sent.await {
            Ok(_) => Ok(()),
            Err(fault) => Err(self.refused_path(IN, container, &folder, fault)),
        }
    }

    /// What lies at a path, which must be there. Of a link whose target is missing, the link.
    async fn stat(
        &self,
        op: &'static str,
        container: &ContainerId,
        path: &str,
    ) -> Result<crate::raw::PathStat> {
        let url = url(container, &[("path", path)]);
        match self.client.call(self.client.raw.stat(&url)).await {
            Ok(Some(stat)) => Ok(stat),
            Ok(None) => {
                // The answer does not say what is missing.
                let found = self.inspect(container).await?;
                found.ok_or_else(|| no_container(container))?;
                Err(no_such(path))
            }
            Err(fault) => Err(self.refused_path(op, container, path, fault)),
        }
    }

    async fn get_archive(&self, container: &ContainerId, path: &str) -> Result<ByteStream> {
        let url = url(container, &[("path", path)]);
        let call = self.client.raw.send(Method::GET, &url, Payload::Empty);
        let response = match self.client.call(call).await {
            Ok(response) => response,
            Err(Fault::Refused {
                status: 404,
                cause: Cause::Setting | Cause::Other,
                ..
            }) => return Err(no_such(path)),
            Err(fault) => return Err(self.refused_path(OUT, container, path, fault)),
        };
        let body = response.into_body().into_data_stream();
        Ok(body.map_err(std::io::Error::other).boxed())
    }

    /// The archive of a link alone, from that of its folder, read up to the link.
    async fn link(
        &self,
        archive: ByteStream,
        folder: String,
        name: String,
        path: String,
    ) -> Result<ByteStream> {
        let reader = SyncIoBridge::new(StreamReader::new(archive));
        let found = tokio::task::spawn_blocking(move || {
            let depth = if folder == "/" { 1 } else { 2 };
            archive::one_link(reader, depth, &name)
        });
        let found = self
            .client
            .call(async { found.await.map_err(Fault::broken)?.map_err(Fault::broken) })
            .await;
        match found {
            Ok(Some(archive)) => Ok(stream::iter([Ok(Bytes::from(archive))]).boxed()),
            Ok(None) => Err(no_such(&path)),
            Err(fault) => Err(self.client.error(OUT, fault)),
        }
    }

    /// What a failed copy says: about a container that is not there, about the path or what was to
    /// be unpacked there, or about neither.
    fn refused_path(
        &self,
        op: &'static str,
        container: &ContainerId,
        path: &str,
        fault: Fault,
    ) -> RuntimeError {
        match fault.cause() {
            Cause::NoContainer => no_container(container),
            Cause::StorageFull => self.client.error(op, fault),
            _ if matches!(fault, Fault::Refused { .. }) => {
                invalid(path, cause::without_request(&fault.message()))
            }
            _ => self.client.error(op, fault),
        }
    }
}
