//! Images whose layers are there, all or all but the uppermost: archives that name the layers and do not
//! hold them. So a capture gets the configuration that it ought to have, where a commit cannot give
//! it that, and a flattened or rebased one is loaded.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use statefork_runtime::{ByteStream, Labels};

use crate::name::ImageName;

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An image that is to be loaded.
pub(crate) struct Draft {
    /// As the service describes images: whose architecture and time of creation it gets.
    pub(crate) image: Value,
    /// Its settings (OCI image-spec 1.1, "Image configuration", object `config`).
    pub(crate) settings: Value,
    /// The digests of its layers, lowest first.
    pub(crate) layers: Vec<String>,
    /// Bytes of the uppermost ones, lowest first, which the archive is to hold; the others are
    /// there.
    pub(crate) upper_bytes: Vec<u64>,
    /// Its history.
    pub(crate) history: Value,
}

/// The files of an archive without layers, and the id of the image that it makes.
pub(crate) struct Documents {
    pub(crate) id: String,
    pub(crate) files: [(String, Vec<u8>); 4],
}

/// The settings of an image, as the service describes it, with labels in place of its own.
pub(crate) fn settings(image: &Value, labels: &Labels) -> Value {
    let mut settings = image["Config"].clone();
    settings["Labels"] = json!(labels);
    if !image["Healthcheck"].is_null() {
        settings["Healthcheck"] = image["Healthcheck"].clone();
    }
    settings
}

/// The digests of an image's layers, lowest first, as the service describes it.
pub(crate) fn layers(image: &Value) -> Vec<String> {
    let layers = image["RootFS"]["Layers"].as_array().into_iter().flatten();
    let layers = layers.filter_map(|layer| layer.as_str());
    layers.map(str::to_owned).collect()
}

/// An OCI image layout (OCI image-spec 1.1, "Image Layout") of a Docker image manifest.
pub(crate) fn documents(draft: &Draft, name: &ImageName<'_>) -> Documents {
    let image = &draft.image;
    let config = json!({
        "architecture": image["Architecture"],
        "os": image["Os"],
        "created": image["Created"],
        "config": draft.settings,
        "rootfs": {"type": "layers", "diff_ids": draft.layers},
        "history": draft.history,
    })
    .to_string();
    let id = digest(&config);
    let kept = draft.layers.len().saturating_sub(draft.upper_bytes.len());
    // Layers that are there are found by their digests; nobody asks for their sizes.
    let size = |number: usize| {
        let upper = number.checked_sub(kept);
        upper.map_or(0, |upper| draft.upper_bytes[upper])
    };
    let layers = draft.layers.iter().enumerate().map(
        |(number, digest)| json!({"mediaType": LAYER_TYPE, "digest": digest, "size": size(number)}),
    );
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, &config),
        "layers": layers.collect::<Vec<_>>(),
    })
    .to_string();
    let mut root = descriptor(MANIFEST_TYPE, &manifest);
    root["annotations"] = json!({"org.opencontainers.image.ref.name": name.to_string()});
    let layout = json!({"imageLayoutVersion": "1.0.0"});
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    let files = [
        ("oci-layout".to_owned(), layout.to_string()),
        ("index.json".to_owned(), index.to_string()),
        (blob(&id), config),
        (blob(&digest(&manifest)), manifest),
    ];
    Documents {
        id,
        files: files.map(|(path, text)| (path, text.into_bytes())),
    }
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

/// The path of a file with this digest (`sha256:…`, or its digits alone).
pub(crate) fn blob(digest: &str) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    format!("blobs/sha256/{digits}")
}

/// An archive of documents alone, as a stream.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> std::io::Result<ByteStream> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_slice())?;
    }
    let archive = Bytes::from(tar.into_inner()?);
    Ok(stream::iter([Ok(archive)]).boxed())
}
