//! The image of a capture with the configuration that it ought to have, where a commit cannot
//! give it that.
//!
//! The committed image is loaded a second time, from an archive with another configuration that
//! names the layers, which are there, and holds none of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use statefork_runtime::{Labels, Result, RuntimeError};

use crate::name::ImageName;

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An archive without layers, and the id of the image that it makes.
pub(crate) struct Rewritten {
    pub(crate) id: String,
    pub(crate) archive: Bytes,
}

/// An image with the layers of `image` and the settings of `base` (both as the service describes
/// images), with labels and a name: an OCI image layout (OCI image-spec 1.1, "Image Layout") of a
/// Docker image manifest.
pub(crate) fn rewrite(
    image: &Value,
    base: &Value,
    labels: &Labels,
    name: &ImageName<'_>,
) -> Result<Rewritten> {
    let layers = image["RootFS"]["Layers"].clone();
    let digests: Vec<&str> = layers
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut settings = base["Config"].clone();
    settings["Labels"] = json!(labels);
    if !base["Healthcheck"].is_null() {
        settings["Healthcheck"] = base["Healthcheck"].clone();
    }
    let config = json!({
        "architecture": image["Architecture"],
        "os": image["Os"],
        "created": image["Created"],
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": image["History"],
    })
    .to_string();
    let id = digest(&config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, &config),
        // The layers are found by their digests; nobody asks for their sizes.
        "layers": digests
            .iter()
            .map(|digest| json!({"mediaType": LAYER_TYPE, "digest": digest, "size": 0}))
            .collect::<Vec<_>>(),
    })
    .to_string();
    let mut root = descriptor(MANIFEST_TYPE, &manifest);
    root["annotations"] = json!({"org.opencontainers.image.ref.name": name.to_string()});
    let files = BTreeMap::from([
        (
            "oci-layout".to_owned(),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        ),
        (
            "index.json".to_owned(),
            json!({"schemaVersion": 2, "manifests": [root]}).to_string(),
        ),
        (blob(&config), config),
        (blob(&manifest), manifest),
    ]);
    let archive = archive(&files).map_err(|error| RuntimeError::Daemon {
        op: "write an image archive",
        status: None,
        message: "the archive could not be made".into(),
        source: Some(error.into()),
    })?;
    Ok(Rewritten { id, archive })
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn descriptor(media_type: &str, text: &str) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", digest(text)),
        "size": text.len(),
    })
}

fn blob(text: &str) -> String {
    format!("blobs/sha256/{}", digest(text))
}

fn archive(files: &BTreeMap<String, String>) -> std::io::Result<Bytes> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes())?;
    }
    tar.into_inner().map(Bytes::from)
}
