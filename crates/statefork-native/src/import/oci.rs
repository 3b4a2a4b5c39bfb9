//! OCI image layouts (OCI image-spec 1.1, "Image Layout", "Image Index", "Image Manifest"): the index
//! names manifests, or further indexes, and a manifest names a configuration and layers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::archive::{Found, verify};
use super::blobs::Blobs;
use super::bounds::digest;
use super::config::{Config, own_architecture, own_platform, sha256};
use super::error::ImportError;

const INDEX: &str = "index.json";
/// What an image is called, by containerd's word and by the specification's.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];
/// On what describes another manifest and is no image itself.
const ATTACHED: &str = "vnd.docker.reference.type";
/// Indexes that may lie in each other.
const DEPTH_LIMIT: u32 = 4;
/// Manifests that may be looked at: an index of a thousand names nothing that is to be imported.
const MANIFESTS_LIMIT: usize = 1000;
/// The variants of a processor that mean any of its kind.
const BASE_VARIANTS: [&str; 3] = ["", "v1", "v8"];

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    artifact_type: Option<String>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// An index or a manifest. One that could be taken for either is refused: what a tool that looked
/// at the media type alone would see in it is something else.
#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// An image that the index names.
struct Candidate {
    /// Of its manifest, hex.
    digest: String,
    names: Vec<String>,
    /// `None` where only its configuration says.
    platform: Option<Platform>,
}

/// The image of this machine's platform; `None` where the files are not of this form.
pub(super) fn find(blobs: &Blobs) -> Result<Option<Found>, ImportError> {
    let Some(index) = blobs.document(INDEX)? else {
        return Ok(None);
    };
    let index: Node = parse(&index, INDEX)?;
    let Some(manifests) = index.manifests else {
        return Err(ImportError::malformed(INDEX, "it names no manifests"));
    };
    let mut candidates = Vec::new();
    collect(blobs, manifests, &[], 0, &mut candidates)?;
    if candidates.is_empty() {
        return Err(ImportError::malformed(INDEX, "it names no image"));
    }
    let chosen = choose(blobs, candidates)?;
    let (config, layers) = manifest(blobs, &chosen.digest)?;
    let layer = |layer: Descriptor| {
        let hex = sha256(&layer.digest, "a layer's digest")?;
        Ok((path(&hex), Some(hex)))
    };
    Ok(Some(Found {
        names: chosen.names,
        config,
        layers: layers
            .into_iter()
            .map(layer)
            .collect::<Result<_, ImportError>>()?,
    }))
}

/// Adds the images that descriptors name, those of further indexes too.
fn collect(
    blobs: &Blobs,
    descriptors: Vec<Descriptor>,
    names: &[String],
    depth: u32,
    candidates: &mut Vec<Candidate>,
) -> Result<(), ImportError> {
    for descriptor in descriptors {
        let own = name(&descriptor);
        let names: Vec<String> = names.iter().cloned().chain(own).collect();
        let platform = descriptor.platform.clone();
        let is_unknown = platform.as_ref().is_some_and(|p| p.os == "unknown");
        let annotations = descriptor.annotations.as_ref();
        let is_attached = annotations.is_some_and(|all| all.contains_key(ATTACHED));
        if is_unknown || is_attached || descriptor.artifact_type.is_some() {
            continue;
        }
        let digest = sha256(&descriptor.digest, "a manifest's digest")?;
        // Of other platforms, the archive need not hold the manifest.
        if platform.as_ref().is_none_or(fits) {
            let node: Node = parse(&verified(blobs, &digest)?, &path(&digest))?;
            if let Some(manifests) = node.manifests {
                if node.config.is_some() || node.layers.is_some() {
                    let reason = "it is an index and a manifest";
                    return Err(ImportError::malformed(path(&digest), reason));
                }
                if depth == DEPTH_LIMIT {
                    let reason = "too many indexes in each other";
                    return Err(ImportError::malformed(INDEX, reason));
                }
                collect(blobs, manifests, &names, depth + 1, candidates)?;
                continue;
            }
        }
        if candidates.len() == MANIFESTS_LIMIT {
            return Err(ImportError::malformed(INDEX, "it names too many manifests"));
        }
        match candidates.iter_mut().find(|known| known.digest == digest) {
            Some(known) => known.names.extend(names),
            None => candidates.push(Candidate {
                digest,
                names,
                platform,
            }),
        }
    }
    Ok(())
}

/// The one image for this machine.
fn choose(blobs: &Blobs, candidates: Vec<Candidate>) -> Result<Candidate, ImportError> {
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for mut candidate in candidates {
        let platform = match candidate.platform.take() {
            Some(platform) => platform,
            None => {
                let (config, _) = manifest(blobs, &candidate.digest)?;
                let (os, architecture) = config.platform();
                Platform {
                    os: os.to_owned(),
                    architecture: architecture.to_owned(),
                    variant: String::new(),
                }
            }
        };
        match fits(&platform) {
            true => fitting.push((candidate, platform)),
            false => others.push(format!("{}/{}", platform.os, platform.architecture)),
        }
    }
    if fitting.len() > 1 {
        let is_base = |platform: &Platform| BASE_VARIANTS.contains(&&*platform.variant);
        if fitting
            .iter()
            .filter(|(_, platform)| is_base(platform))
            .count()
            == 1
        {
            fitting.retain(|(_, platform)| is_base(platform));
        }
    }
    match fitting.pop() {
        Some((chosen, _)) if fitting.is_empty() => Ok(chosen),
        Some((last, _)) => {
            let all = fitting.into_iter().map(|(candidate, _)| candidate);
            let shown = |candidate: Candidate| match candidate.names.first() {
                Some(name) => name.clone(),
                None => format!("sha256:{}", candidate.digest),
            };
            Err(ImportError::Several {
                images: all.chain([last]).map(shown).collect(),
            })
        }
        None => {
            others.sort_unstable();
            others.dedup();
            Err(ImportError::Platform {
                wanted: own_platform(),
                found: others.join(", "),
            })
        }
    }
}

/// Whether this machine is of the platform; what is not said fits.
fn fits(platform: &Platform) -> bool {
    let fits = |given: &str, own: &str| given.is_empty() || given == own;
    fits(&platform.os, "linux") && fits(&platform.architecture, own_architecture())
}

/// The configuration and the layers that a manifest names.
fn manifest(blobs: &Blobs, digest: &str) -> Result<(Config, Vec<Descriptor>), ImportError> {
    let node: Node = parse(&verified(blobs, digest)?, &path(digest))?;
    let Some(config) = node.config else {
        return Err(ImportError::malformed(
            path(digest),
            "it names no configuration",
        ));
    };
    let config = sha256(&config.digest, "a configuration's digest")?;
    let config = Config::parse(verified(blobs, &config)?)?;
    Ok((config, node.layers.unwrap_or_default()))
}

fn name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    NAMES
        .iter()
        .find_map(|name| annotations.get(*name))
        .cloned()
}

/// Where the file of that digest is.
fn path(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}

/// A document, by its digest.
fn verified(blobs: &Blobs, hex: &str) -> Result<Vec<u8>, ImportError> {
    let what = path(hex);
    let Some(document) = blobs.document(&what)? else {
        return Err(ImportError::Missing { what });
    };
    verify(what, hex, digest(&document))?;
    Ok(document)
}

fn parse<T: DeserializeOwned>(document: &[u8], what: &str) -> Result<T, ImportError> {
    let parsed = serde_json::from_slice(document);
    parsed.map_err(|error| ImportError::malformed(what, error.to_string()))
}
