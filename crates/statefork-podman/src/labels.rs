//! The labels of a capture: exactly those that were asked for and those of the image that the
//! container was made from.
//!
//! Podman gives a committed image every label of the container, and a commit can set labels but
//! not take one away. Labels that only have another value are set to the right one by the commit
//! itself, which costs nothing; so it is with the labels that every container of ours has. Only
//! for a container with further labels is the image made a second time with another configuration:
//! the archive for that names the layers, which are there, and holds none of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use statefork_runtime::{Labels, Result, RuntimeError};

use crate::name::ImageName;

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// How to arrive at the labels of a capture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// All labels.
    pub(crate) labels: Labels,
    /// What the commit sets, in the syntax of its parameter `changes`.
    pub(crate) changes: Vec<String>,
    /// Whether the commit alone gets there.
    pub(crate) by_commit: bool,
}

impl Plan {
    /// Compares what a commit would inherit from the container with what is wanted.
    pub(crate) fn new(container: &Labels, base: &Labels, request: &Labels) -> Self {
        let mut labels = base.clone();
        labels.extend(request.clone());
        let inherits_more = container.keys().any(|key| !labels.contains_key(key));
        let set: Vec<_> = labels
            .iter()
            .filter(|(key, value)| container.get(*key) != Some(value))
            .collect();
        let awkward = set
            .iter()
            .any(|(key, _)| key.contains(|c: char| c == '=' || c == '"' || c.is_whitespace()));
        let changes = set
            .iter()
            // One pair of quotes is taken off the value; nothing in it is an escape.
            .map(|(key, value)| format!("LABEL {key}=\"{value}\""))
            .collect();
        Self {
            changes,
            by_commit: !inherits_more && !awkward,
            labels,
        }
    }
}

/// An archive without layers, and the id of the image that it makes.
pub(crate) struct Relabelled {
    pub(crate) id: String,
    pub(crate) archive: Bytes,
}

/// An image like `image` (the service's description of it) with other labels, under a name: an OCI
/// image layout (OCI image-spec 1.1, "Image Layout") of a Docker image manifest.
pub(crate) fn relabel(image: &Value, labels: &Labels, name: &ImageName) -> Result<Relabelled> {
    let layers = image["RootFS"]["Layers"].clone();
    let digests: Vec<&str> = layers
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut settings = image["Config"].clone();
    settings["Labels"] = json!(labels);
    if !image["HealthCheck"].is_null() {
        settings["Healthcheck"] = image["HealthCheck"].clone();
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
    Ok(Relabelled { id, archive })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_commit_sets_what_differs() {
        let base = labels(&[("vendor", "x"), ("type", "build")]);
        let container = labels(&[("vendor", "y"), ("type", "container")]);
        let request = labels(&[("type", "capture"), ("new", "a \"b\"")]);
        let plan = Plan::new(&container, &base, &request);
        assert!(plan.by_commit);
        assert_eq!(
            plan.changes,
            [
                "LABEL new=\"a \"b\"\"",
                "LABEL type=\"capture\"",
                "LABEL vendor=\"x\"",
            ]
        );
    }

    #[test]
    fn a_label_that_must_go_needs_more_than_a_commit() {
        let container = labels(&[("extra", "1")]);
        let plan = Plan::new(&container, &Labels::new(), &Labels::new());
        assert!(!plan.by_commit);
        assert_eq!(plan.labels, Labels::new());
    }
}
