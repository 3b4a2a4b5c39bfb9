//! Archives of images whose layers the daemon has, all or all but the uppermost.
//!
//! `docker load` finds layers that the daemon has by their digests, so an archive of the manifest
//! and the configuration alone makes an image in a few ten milliseconds, whatever its size.

use bollard::models::{ImageConfig, ImageInspect};
use serde_json::json;

use crate::describe;

/// The path of a layer's file in an archive; those that the daemon has are never opened.
pub(crate) fn layer_path(number: usize) -> String {
    format!("{number}/layer.tar")
}

/// The documents of an archive as `docker save` writes it, by path: an image named `name` with
/// `config` and `layers`, and else like `image`.
pub(crate) fn documents(
    image: &ImageInspect,
    config: &ImageConfig,
    layers: &[String],
    name: &str,
) -> [(String, Vec<u8>); 2] {
    let history = json!({
        "created": image.created,
        "created_by": format!("layer of {}", image.id.as_deref().unwrap_or_default()),
    });
    // OCI image-spec 1.1, "Image configuration". One entry of history per layer: the daemon
    // matches them by number.
    let mut configuration = json!({
        "architecture": image.architecture,
        "os": image.os,
        "created": image.created,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": layers },
        "history": vec![history; layers.len()],
    });
    for (key, value) in [("variant", &image.variant), ("author", &image.author)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            configuration[key] = json!(value);
        }
    }
    let files: Vec<_> = (0..layers.len()).map(layer_path).collect();
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": files,
    }]);
    [("manifest.json", manifest), ("config.json", configuration)]
        .map(|(path, content)| (path.to_owned(), content.to_string().into_bytes()))
}

/// An archive without any layer file: `image` with `config` in place of its own, named `name`.
pub(crate) fn of_configuration(
    image: &ImageInspect,
    config: &ImageConfig,
    name: &str,
) -> std::io::Result<Vec<u8>> {
    of_documents(&documents(image, config, describe::layers(image), name))
}

/// An archive of documents alone.
pub(crate) fn of_documents(documents: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in documents {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    archive.into_inner()
}
