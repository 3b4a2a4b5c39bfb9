//! What `docker save` writes: `manifest.json` names the configuration and the layers of each image.

use std::path::Path;

use serde::Deserialize;

use super::archive::{Found, verify};
use super::blobs::Blobs;
use super::bounds::digest;
use super::config::{Config, is_sha256};
use super::error::ImportError;

const MANIFEST: &str = "manifest.json";

/// An image in [`MANIFEST`].
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The image; `None` where the files are not of this form.
pub(super) fn find(blobs: &Blobs) -> Result<Option<Found>, ImportError> {
    let Some(manifest) = blobs.document(MANIFEST)? else {
        return Ok(None);
    };
    let entries = serde_json::from_slice(&manifest);
    let entries: Vec<Entry> =
        entries.map_err(|error| ImportError::malformed(MANIFEST, error.to_string()))?;
    let [entry] = &entries[..] else {
        return match entries.is_empty() {
            true => Err(ImportError::malformed(MANIFEST, "it names no image")),
            false => Err(ImportError::Several {
                images: entries.iter().map(name).collect(),
            }),
        };
    };
    let Some(raw) = blobs.document(&entry.config)? else {
        let what = entry.config.clone();
        return Err(ImportError::Missing { what });
    };
    // Files are named after their digests, the older ones of layers after something else.
    if let Some(expected) = named_digest(&entry.config) {
        verify(entry.config.clone(), &expected, digest(&raw))?;
    }
    let layers = entry.layers.iter().flatten();
    Ok(Some(Found {
        names: entry.repo_tags.clone().unwrap_or_default(),
        config: Config::parse(raw)?,
        layers: layers
            .map(|path| (path.clone(), blob_digest(path)))
            .collect(),
    }))
}

/// What an image is called in an error.
fn name(entry: &Entry) -> String {
    match entry.repo_tags.iter().flatten().next() {
        Some(name) => name.clone(),
        None => entry.config.clone(),
    }
}

/// The digest in the name of a configuration: `HEX.json` or `blobs/sha256/HEX`.
fn named_digest(path: &str) -> Option<String> {
    let stem = Path::new(path).file_stem()?.to_str()?;
    is_sha256(stem).then(|| stem.to_owned())
}

/// The digest in the name of a layer that lies as in an OCI layout.
fn blob_digest(path: &str) -> Option<String> {
    let hex = path.strip_prefix("blobs/sha256/")?;
    is_sha256(hex).then(|| hex.to_owned())
}
