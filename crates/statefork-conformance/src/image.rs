//! The image that the cases run in, and images like it with other settings.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use statefork_runtime::Labels;

/// Where an archive is looked for when it is not at its usual place.
const ARCHIVE_VARIABLE: &str = "STATEFORK_TEST_IMAGE";

/// What the image's programs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestImage {
    /// None: the runtime itself knows the words of the fake's vocabulary
    /// ([the table](crate::fake#commands)).
    Vocabulary,
    /// Busybox, from the archive that `cargo xtask image` makes; the vocabulary is spoken by its
    /// shell.
    Busybox,
}

/// What the shell lacks of the vocabulary. Without the trap, process 1 would ignore a polite stop.
const SHELL_WORDS: &str = concat!(
    r#"write() { case $1 in */*) mkdir -p "${1%/*}/" ;; esac && printf %s "$2" > "$1"; }; "#,
    r#"warn() { echo "$*" >&2; }; crash() { echo "${*:-crashed}" >&2; exit 1; }; "#,
    r#"printenv() { eval "[ \${$1+set} ]" && eval "printf '%s\\n' \"\$$1\""; }; "#,
    "serve() { trap 'exit 0' TERM; echo serving; sleep 1000000 & wait $!; }; ",
);

/// Files that the cases rely on, in a layer of their own.
const FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    ("etc/motd", "welcome\n"),
    ("etc/old", "old\n"),
];

/// An image to be imported.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    /// Names with tags.
    pub(crate) names: Vec<String>,
    /// What differs from the base image's `config` (OCI image-spec 1.1, "Image configuration").
    pub(crate) config: Value,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Files of a layer of its own (paths without the leading slash).
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// A further layer as it is.
    pub(crate) layer: Option<Vec<u8>>,
}

/// What all images of the suite are made of.
pub(crate) struct Base {
    image: TestImage,
    architecture: String,
    layers: Vec<Vec<u8>>,
}

impl Base {
    /// Reads what the image is made of.
    pub(crate) fn load(image: TestImage) -> Result<Self, String> {
        let own = tar(&FILES).map_err(|error| error.to_string())?;
        match image {
            TestImage::Vocabulary => Ok(Self {
                image,
                architecture: "amd64".into(),
                layers: vec![own],
            }),
            TestImage::Busybox => {
                let path = archive_path();
                let (architecture, mut layers) = read_archive(&path).map_err(|error| {
                    format!(
                        "read the test image {}: {error} (cargo xtask image makes it; \
                         {ARCHIVE_VARIABLE} names another place)",
                        path.display()
                    )
                })?;
                layers.push(own);
                Ok(Self {
                    image,
                    architecture,
                    layers,
                })
            }
        }
    }

    /// The arguments that have the commands of `line` run, as words of the vocabulary, separated
    /// by blanks and, between commands, by a word `;`.
    pub(crate) fn argv(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace();
        match self.image {
            TestImage::Vocabulary => words.map(str::to_owned).collect(),
            TestImage::Busybox => {
                let quoted: Vec<String> = words
                    .map(|word| match word {
                        ";" => word.to_owned(),
                        _ => format!("'{}'", word.replace('\'', r"'\''")),
                    })
                    .collect();
                let script = format!("{SHELL_WORDS}{}", quoted.join(" "));
                vec!["/bin/sh".into(), "-c".into(), script]
            }
        }
    }

    /// The image's program, which is all of the shell's words; where there is one.
    pub(crate) fn program(&self) -> std::io::Result<Vec<u8>> {
        for entry in tar::Archive::new(self.layers[0].as_slice()).entries()? {
            let mut entry = entry?;
            if entry.path()? == Path::new("bin/busybox") {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                return Ok(content);
            }
        }
        Err(std::io::Error::other("there is no program in the image"))
    }

    /// An archive with an image (Docker Image Specification 1.2).
    pub(crate) fn archive(&self, draft: &Draft<'_>) -> std::io::Result<Vec<u8>> {
        let mut layers = self.layers.clone();
        if !draft.files.is_empty() {
            layers.push(tar(draft.files)?);
        }
        layers.extend(draft.layer.clone());
        let mut config = json!({
            "Cmd": self.argv("serve"),
            "Env": ["PATH=/bin", "BASE=base"],
            "WorkingDir": "/",
            "Labels": draft.labels,
        });
        if let (Some(all), Some(own)) = (config.as_object_mut(), draft.config.as_object()) {
            all.extend(own.clone());
        }
        let ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        let history: Vec<Value> = ids
            .iter()
            .map(|_| json!({"created": "1970-01-01T00:00:00Z", "created_by": "statefork"}))
            .collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {
                "type": "layers",
                "diff_ids": ids.iter().map(|id| format!("sha256:{id}")).collect::<Vec<_>>(),
            },
            "history": history,
        })
        .to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes()));
        let layer_names: Vec<String> = ids.iter().map(|id| format!("{id}.tar")).collect();
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": draft.names,
            "Layers": layer_names,
        }])
        .to_string();
        let mut entries = vec![
            ("manifest.json", manifest.as_bytes()),
            (config_name.as_str(), config.as_bytes()),
        ];
        for (name, layer) in layer_names.iter().zip(&layers) {
            entries.push((name, layer));
        }
        tar(&entries)
    }
}

fn archive_path() -> PathBuf {
    match std::env::var_os(ARCHIVE_VARIABLE) {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/xtask/busybox.tar"),
    }
}

/// The architecture and the layers of the one image of an archive.
fn read_archive(path: &Path) -> std::io::Result<(String, Vec<Vec<u8>>)> {
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(std::fs::File::open(path)?).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    let file = |name: &Value| {
        name.as_str()
            .and_then(|name| files.get(name))
            .ok_or_else(|| std::io::Error::other(format!("there is no file {name} in it")))
    };
    let manifest: Value = serde_json::from_slice(file(&json!("manifest.json"))?)?;
    let config: Value = serde_json::from_slice(file(&manifest[0]["Config"])?)?;
    let layers = manifest[0]["Layers"].as_array().into_iter().flatten();
    Ok((
        config["architecture"].as_str().unwrap_or("amd64").into(),
        layers
            .map(|name| file(name).cloned())
            .collect::<Result<_, _>>()?,
    ))
}

/// An archive of readable files.
pub(crate) fn tar(files: &[(&str, impl AsRef<[u8]>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let content = content.as_ref();
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content)?;
    }
    archive.into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
