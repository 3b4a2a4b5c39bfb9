//! An image with another configuration and the same layers.
//!
//! `docker load` finds layers that the daemon has by their digests, so an archive of the manifest
//! and the configuration alone makes an image in a few ten milliseconds, whatever its size.

use bollard::models::{ImageConfig, ImageInspect};
use serde_json::json;

use crate::describe;

/// An archive as `docker save` writes it, without any layer file: `image` with `config` in place
/// of its own, named `name`.
pub(crate) fn of_configuration(
    image: &ImageInspect,
    config: &ImageConfig,
    name: &str,
) -> std::io::Result<Vec<u8>> {
    let layers = describe::layers(image);
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
    // Names of layer files are needed, one per layer, and never opened.
    let files: Vec<_> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": files,
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in [("manifest.json", manifest), ("config.json", configuration)] {
        let content = content.to_string();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    archive.into_inner()
}
