//! Reading an image archive as `docker save` writes it (Docker Image Specification 1.2, "Combined
//! image JSON + filesystem changeset format").

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use statefork_runtime::{ContainerPort, EnvVar, ImageConfig, Protocol, Result, RuntimeError};

use super::files::Layer;
use super::names;

/// Prefix of the name of an entry that deletes a file of a lower layer (OCI image-spec 1.1,
/// "Whiteouts").
const WHITEOUT: &str = ".wh.";

/// An image as its archive describes it.
pub(super) struct Archive {
    /// Names in full.
    pub(super) names: Vec<String>,
    /// The configuration as it was stored: the image's identity.
    pub(super) config_bytes: Vec<u8>,
    /// The parts of it that count.
    pub(super) config: ImageConfig,
    /// Its regular files, lowest layer first.
    pub(super) layers: Vec<Arc<Layer>>,
}

fn invalid(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Invalid {
        what: "image archive".into(),
        reason: reason.into(),
    }
}

impl Archive {
    /// Reads the archive of one image.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let files = regular_files(bytes)?;
        let file = |name: &str| {
            files
                .get(Path::new(name))
                .ok_or_else(|| invalid(format!("no entry {name}")))
        };
        let manifest = json(file("manifest.json")?)?;
        let Some([image]) = manifest.as_array().map(Vec::as_slice) else {
            return Err(invalid("not exactly one image in it"));
        };
        let config_bytes = file(
            image["Config"]
                .as_str()
                .ok_or_else(|| invalid("no configuration named"))?,
        )?
        .clone();
        let config = config(&json(&config_bytes)?["config"])?;
        let names = texts(&image["RepoTags"])
            .iter()
            .map(|name| names::new_image_name(name))
            .collect::<Result<_>>()?;
        let layers = texts(&image["Layers"])
            .iter()
            .map(|name| layer(file(name)?))
            .collect::<Result<_>>()?;
        Ok(Self {
            names,
            config_bytes,
            config,
            layers,
        })
    }
}

fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))
}

fn regular_files(bytes: &[u8]) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let read = || -> std::io::Result<_> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries()? {
            let mut entry = entry?;
            if entry.header().entry_type().is_file() {
                let path = entry.path()?.into_owned();
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                files.insert(path, content);
            }
        }
        Ok(files)
    };
    read().map_err(|error| invalid(error.to_string()))
}

fn layer(bytes: &[u8]) -> Result<Arc<Layer>> {
    let mut layer = Layer::new();
    for (path, content) in regular_files(bytes)? {
        let path = Path::new("/").join(path);
        let hidden = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(WHITEOUT))
            .map(|name| path.with_file_name(name));
        match hidden {
            Some(path) => layer.insert(path, None),
            None => layer.insert(path, Some(Bytes::from(content))),
        };
    }
    Ok(Arc::new(layer))
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn keys(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(|map| map.keys())
}

fn config(config: &Value) -> Result<ImageConfig> {
    let text = |key: &str| {
        config[key]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let env = texts(&config["Env"])
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| EnvVar {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect();
    let mut exposed_ports = keys(&config["ExposedPorts"])
        .map(|text| port(text).ok_or_else(|| invalid(format!("no port: {text:?}"))))
        .collect::<Result<Vec<_>>>()?;
    exposed_ports.sort();
    Ok(ImageConfig {
        entrypoint: texts(&config["Entrypoint"]),
        command: texts(&config["Cmd"]),
        env,
        user: text("User"),
        workdir: text("WorkingDir").map(PathBuf::from),
        exposed_ports,
        volumes: keys(&config["Volumes"]).map(PathBuf::from).collect(),
        labels: config["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
    })
}

fn port(text: &str) -> Option<ContainerPort> {
    let (port, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((port, "udp")) => (port, Protocol::Udp),
        Some(_) => return None,
    };
    Some(ContainerPort {
        port: port.parse().ok()?,
        protocol,
    })
}
