//! The configuration of an image (OCI image-spec 1.1, "Image configuration"), which Docker's is
//! too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use statefork_runtime::{ContainerPort, EnvVar, ImageConfig, Protocol};

use super::bounds::digest;
use super::error::ImportError;
use super::signal;

/// What the digests of this format begin with; others are not read.
const SHA256: &str = "sha256:";
/// What an image of this machine is for.
const SYSTEM: &str = "linux";

/// An image's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Its bytes, whose digest is the image's id.
    raw: Vec<u8>,
    document: Document,
    /// The digests of the unpacked layers, hex, the lowest first.
    diff_ids: Vec<String>,
}

/// What is read of it.
#[derive(Clone, Debug, Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Settings,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<String>,
}

/// How a container of the image runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
}

/// Tools written in Go write `null` for what is empty.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Config {
    /// Reads a configuration. Errors: `Malformed`.
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Self, ImportError> {
        let what = "the image's configuration";
        let document = serde_json::from_slice(&raw);
        let document: Document =
            document.map_err(|error| ImportError::malformed(what, error.to_string()))?;
        let diff_ids = document.rootfs.diff_ids.iter();
        let diff_ids = diff_ids
            .map(|id| sha256(id, what))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            raw,
            document,
            diff_ids,
        })
    }

    /// The id of the image: the SHA-256 of these bytes, 64 hex digits.
    pub(crate) fn id(&self) -> String {
        digest(&self.raw)
    }

    /// The digests of the unpacked layers, 64 hex digits each, the lowest layer first.
    pub(crate) fn diff_ids(&self) -> &[String] {
        &self.diff_ids
    }

    /// The processor's name, as Go names it, and the system's; empty where it is not said.
    pub(super) fn platform(&self) -> (&str, &str) {
        (&self.document.os, &self.document.architecture)
    }

    /// Errors: `Platform` if the image is for other machines than this one.
    pub(super) fn check_platform(&self) -> Result<(), ImportError> {
        let (os, architecture) = self.platform();
        let fits = |given: &str, own: &str| given.is_empty() || given == own;
        if fits(os, SYSTEM) && fits(architecture, own_architecture()) {
            return Ok(());
        }
        Err(ImportError::Platform {
            wanted: own_platform(),
            found: format!("{os}/{architecture}"),
        })
    }

    /// The settings as the contract has them. A port of a protocol that the contract does not know
    /// and a variable without a value, which stands for none, are left out.
    ///
    /// Errors: `Setting`.
    pub(crate) fn to_contract(&self) -> Result<ImageConfig, ImportError> {
        let settings = &self.document.config;
        let entry = |field, words: &[String]| {
            let words = words.iter().map(|word| without_zero(field, word));
            words.collect::<Result<Vec<_>, _>>()
        };
        let mut ports = Vec::new();
        for port in settings.exposed_ports.keys() {
            ports.extend(container_port(port)?);
        }
        ports.sort_unstable();
        ports.dedup();
        let mut env = Vec::new();
        for entry in &settings.env {
            env.extend(variable(entry)?);
        }
        let not_empty = |text: &String| !text.is_empty();
        let workdir = Some(&settings.working_dir).filter(|text| not_empty(text));
        let user = Some(&settings.user).filter(|text| not_empty(text));
        let volumes = settings
            .volumes
            .keys()
            .map(|path| absolute("Volumes", path));
        let mut volumes = volumes.collect::<Result<Vec<_>, _>>()?;
        volumes.sort_unstable();
        Ok(ImageConfig {
            entrypoint: entry("Entrypoint", &settings.entrypoint)?,
            command: entry("Cmd", &settings.cmd)?,
            env,
            user: user.map(|user| without_zero("User", user)).transpose()?,
            workdir: workdir
                .map(|path| absolute("WorkingDir", path))
                .transpose()?,
            exposed_ports: ports,
            volumes,
            labels: settings.labels.clone(),
        })
    }

    /// The number of the signal that asks the container's first process to end; `None` where the
    /// image does not say.
    ///
    /// Errors: `Setting` for what is no signal.
    pub(crate) fn stop_signal(&self) -> Result<Option<i32>, ImportError> {
        let text = &self.document.config.stop_signal;
        if text.is_empty() {
            return Ok(None);
        }
        match signal::number(text) {
            Some(number) => Ok(Some(number)),
            None => setting("StopSignal", text, "it is no signal"),
        }
    }
}

/// `linux/ARCHITECTURE` of this machine.
pub(super) fn own_platform() -> String {
    format!("{SYSTEM}/{}", own_architecture())
}

/// This machine's processor as Go names it (OCI image-spec 1.1, `architecture`).
pub(super) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The hex digits of a digest. Errors: `Malformed`, about `what`.
pub(super) fn sha256(text: &str, what: &str) -> Result<String, ImportError> {
    let hex = text.strip_prefix(SHA256).filter(|hex| is_sha256(hex));
    let hex = hex.map(str::to_owned);
    hex.ok_or_else(|| ImportError::malformed(what, format!("{text:?} is no digest by SHA-256")))
}

/// Whether these are the hex digits of a digest.
pub(super) fn is_sha256(hex: &str) -> bool {
    hex.len() == 64
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn setting<T>(field: &'static str, value: &str, reason: &'static str) -> Result<T, ImportError> {
    Err(ImportError::Setting {
        field,
        value: value.to_owned(),
        reason,
    })
}

fn without_zero(field: &'static str, text: &str) -> Result<String, ImportError> {
    match text.contains('\0') {
        true => setting(field, text, "there is a byte 0 in it"),
        false => Ok(text.to_owned()),
    }
}

fn absolute(field: &'static str, text: &str) -> Result<PathBuf, ImportError> {
    let text = without_zero(field, text)?;
    match Path::new(&text).is_absolute() {
        true => Ok(PathBuf::from(text)),
        false => setting(field, &text, "it is no absolute path"),
    }
}

/// A variable. The error does not show the value.
fn variable(entry: &str) -> Result<Option<EnvVar>, ImportError> {
    let Some((name, value)) = entry.split_once('=') else {
        without_zero("Env", entry)?;
        return Ok(None);
    };
    if name.is_empty() {
        return setting("Env", "=…", "it has no name");
    }
    if entry.contains('\0') {
        return setting("Env", name, "there is a byte 0 in it");
    }
    Ok(Some(EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
    }))
}

fn container_port(text: &str) -> Result<Option<ContainerPort>, ImportError> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = match port.parse() {
        Ok(0) | Err(_) => return setting("ExposedPorts", text, "it is no number from 1 to 65535"),
        Ok(port) => port,
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Ok(None),
        _ => return setting("ExposedPorts", text, "its protocol is not known"),
    };
    Ok(Some(ContainerPort { port, protocol }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(settings: Value) -> Config {
        let document = json!({
            "architecture": own_architecture(), "os": "linux", "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "0a".repeat(32))]},
        });
        Config::parse(document.to_string().into_bytes()).unwrap()
    }

    #[test]
    fn all_settings_are_read() {
        let config = config(json!({
            "Env": ["PATH=/bin", "EMPTY=", "A=b=c", "NONE"],
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["run"],
            "User": "1000:staff", "WorkingDir": "/srv",
            "ExposedPorts": {"443/tcp": {}, "80": {}, "53/udp": {}, "9/sctp": {}},
            "Volumes": {"/var/lib": {}, "/data": {}},
            "Labels": {"a": "b"}, "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["NONE"]},
        }));
        let found = config.to_contract().unwrap();
        let env: Vec<_> = found.env.iter().map(|v| (&*v.name, &*v.value)).collect();
        assert_eq!(env, [("PATH", "/bin"), ("EMPTY", ""), ("A", "b=c")]);
        assert_eq!(found.entrypoint, ["/bin/sh", "-c"]);
        assert_eq!(found.command, ["run"]);
        assert_eq!(found.user.as_deref(), Some("1000:staff"));
        assert_eq!(found.workdir.as_deref(), Some(Path::new("/srv")));
        let ports: Vec<_> = found
            .exposed_ports
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "443/tcp"]);
        assert_eq!(found.volumes, [Path::new("/data"), Path::new("/var/lib")]);
        assert_eq!(found.labels["a"], "b");
        assert_eq!(config.stop_signal().unwrap(), Some(3));
        assert_eq!(config.diff_ids(), ["0a".repeat(32)]);
        config.check_platform().unwrap();
        assert_eq!(config.id(), digest(&config.raw));
    }

    #[test]
    fn nothing_and_null_are_the_default() {
        for settings in [
            json!(null),
            json!({}),
            json!({"Env": null, "Cmd": null, "Entrypoint": null, "ExposedPorts": null,
                   "Volumes": null, "Labels": null, "User": "", "WorkingDir": ""}),
        ] {
            let config = config(settings);
            assert_eq!(config.to_contract().unwrap(), ImageConfig::default());
            assert_eq!(config.stop_signal().unwrap(), None);
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (settings, field) in [
            (json!({"Env": ["=secret"]}), "Env"),
            (json!({"Env": ["A=\u{0}"]}), "Env"),
            (json!({"WorkingDir": "srv"}), "WorkingDir"),
            (json!({"Volumes": {"data": {}}}), "Volumes"),
            (json!({"ExposedPorts": {"http": {}}}), "ExposedPorts"),
            (json!({"ExposedPorts": {"0/tcp": {}}}), "ExposedPorts"),
            (json!({"ExposedPorts": {"1/xyz": {}}}), "ExposedPorts"),
            (json!({"Cmd": ["a\u{0}b"]}), "Cmd"),
            (json!({"StopSignal": "SIGNONE"}), "StopSignal"),
        ] {
            let config = config(settings);
            let error = config.to_contract().map(drop);
            let error = error.and(config.stop_signal().map(drop)).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            match error {
                ImportError::Setting { field: found, .. } => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn other_machines_and_other_documents_are_refused() {
        let raw = r#"{"architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": null}}"#;
        let error = Config::parse(raw.into()).unwrap().check_platform();
        let ImportError::Platform { wanted, found } = error.unwrap_err() else {
            panic!("not refused as another platform");
        };
        assert_eq!((wanted, &*found), (own_platform(), "linux/s390x"));
        for raw in [
            "",
            "[]",
            "{}",
            r#"{"rootfs": {"diff_ids": ["sha512:00"]}}"#,
            r#"{"rootfs": {"diff_ids": ["sha256:../../x"]}}"#,
        ] {
            let error = Config::parse(raw.into()).unwrap_err();
            assert!(
                matches!(error, ImportError::Malformed { .. }),
                "{raw}: {error:?}"
            );
        }
    }
}
