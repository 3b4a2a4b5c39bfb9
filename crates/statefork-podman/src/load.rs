//! Loading image archives, again where something else was in the way.
//!
//! The service takes layers that it has already from other images. If the last of these is removed
//! meanwhile, it takes the layer along, and the load fails. So an archive is kept until it is loaded.

use std::io;

use futures_util::StreamExt;
use hyper::Method;
use serde::Deserialize;
use statefork_runtime::{ByteStream, RuntimeError};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::PodmanRuntime;
use crate::cause::Cause;
use crate::fault::Fault;
use crate::raw::Payload;
use crate::stack::temporary_file;

/// How often an archive is loaded until it succeeds.
const ATTEMPTS: u32 = 5;

/// The answer to `images/load`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Loaded {
    /// Of the images.
    pub(crate) names: Vec<String>,
}

/// Why an archive was not loaded.
pub(crate) enum NotLoaded {
    /// It could not be read.
    Source(io::Error),
    /// It could not be kept.
    Kept(io::Error),
    /// The service did not take it.
    Refused(Fault),
}

impl PodmanRuntime {
    /// Loads an archive, without a limit of time: it takes as long as its source does.
    pub(crate) async fn load(&self, mut archive: ByteStream) -> Result<Loaded, NotLoaded> {
        let mut kept = File::from_std(temporary_file().map_err(NotLoaded::Kept)?);
        while let Some(bytes) = archive.next().await {
            let bytes = bytes.map_err(NotLoaded::Source)?;
            kept.write_all(&bytes).await.map_err(NotLoaded::Kept)?;
        }
        kept.flush().await.map_err(NotLoaded::Kept)?;
        let mut attempt = 1;
        loop {
            kept.rewind().await.map_err(NotLoaded::Kept)?;
            let again = kept.try_clone().await.map_err(NotLoaded::Kept)?;
            let archive = Payload::Tar(ReaderStream::new(again).boxed());
            let raw = &self.client.raw;
            match raw.json(Method::POST, "/images/load", archive).await {
                Err(fault) if fault.cause() == Cause::NoLayer && attempt < ATTEMPTS => attempt += 1,
                loaded => return loaded.map_err(NotLoaded::Refused),
            }
        }
    }

    /// The error for an archive that could not be kept.
    pub(crate) fn not_kept(op: &'static str, error: &io::Error) -> RuntimeError {
        RuntimeError::Daemon {
            op,
            status: None,
            message: format!("keep the archive in a temporary file: {error}"),
            source: None,
        }
    }
}
