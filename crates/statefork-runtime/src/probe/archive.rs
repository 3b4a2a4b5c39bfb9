//! The probe's image: an archive as `docker save` writes it, made in memory.

use sha2::{Digest, Sha256};

use crate::Labels;

/// An archive with one image of one layer that holds `program` as `/probe`.
pub(super) fn docker_archive(
    program: &[u8],
    architecture: &str,
    name: &str,
    labels: &Labels,
) -> std::io::Result<Vec<u8>> {
    let layer = tar(&[("probe", 0o755, program)])?;
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["/probe"], "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "statefork probe" }],
    })
    .to_string();
    let manifest = serde_json::json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": ["layer.tar"],
    }])
    .to_string();
    tar(&[
        ("manifest.json", 0o644, manifest.as_bytes()),
        ("config.json", 0o644, config.as_bytes()),
        ("layer.tar", 0o644, &layer),
    ])
}

/// A build context whose Dockerfile puts a label on `base`.
pub(super) fn build_context(base: &str) -> std::io::Result<Vec<u8>> {
    let dockerfile = format!("FROM {base}\nLABEL built=yes\n");
    tar(&[("Dockerfile", 0o644, dockerfile.as_bytes())])
}

fn tar(files: &[(&str, u32, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, *content)?;
    }
    archive.into_inner()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}
