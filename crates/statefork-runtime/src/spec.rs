//! A container's settings, as a snapshot records them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the only one that a branch publishes.
    Tcp,
    /// UDP: an image may declare it.
    Udp,
}

/// A port inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerPort {
    /// The number, 1 to 65535.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl ContainerPort {
    /// A TCP port.
    pub fn tcp(port: u16) -> Self {
        Self {
            port,
            protocol: Protocol::Tcp,
        }
    }
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{}/{protocol}", self.port)
    }
}

/// An environment variable. Its value never appears in `Debug` output, logs or JSON of the CLI.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name, not empty, without `=` and NUL.
    pub name: String,
    /// Its value, without NUL.
    pub value: String,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=<hidden>", self.name)
    }
}

/// Where a mount's files come from. None of them are part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the host, absolute.
    Bind(PathBuf),
    /// A volume of the runtime, by name; made by the runtime where it does not exist, and never
    /// removed by us.
    Volume(String),
    /// Memory of the container's own, empty whenever it starts (where the image has files at the
    /// target, Podman copies them there). Set-user-id bits and devices have no effect in it.
    Tmpfs {
        /// How much it may hold, in bytes, at least 1; `None`: as much as the kernel says, which
        /// is half of the machine's memory.
        size: Option<u64>,
    },
}

/// A mount that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the files come from.
    pub source: MountSource,
    /// The absolute path in the container.
    pub target: PathBuf,
    /// Whether the container cannot write there.
    pub read_only: bool,
}

impl Mount {
    /// Whether two containers with it would write in the same place.
    fn is_shared_writable(&self) -> bool {
        !self.read_only && !matches!(self.source, MountSource::Tmpfs { .. })
    }
}

/// The network of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// An own network namespace, joined to the runtime's default bridge.
    #[default]
    Bridge,
    /// An own network namespace with the loopback interface only.
    None,
    /// The host's network. Two such containers of one environment never run at once.
    Host,
    /// An own network namespace, joined to this one network of the runtime, which somebody made
    /// (never the default bridge). Its address there is the container's address. A network that
    /// does not exist is [`Invalid`](crate::ErrorKind::Invalid) to launch.
    Named(String),
}

impl Network {
    /// Whether a container has an address of its own on it, and the runtime can publish its ports.
    pub fn has_addresses(&self) -> bool {
        matches!(self, Self::Bridge | Self::Named(_))
    }
}

/// Resource limits; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processors, as a share: 1.5 is one and a half.
    pub cpus: Option<f64>,
}

/// Everything that decides how a container runs, besides its files. `None` and empty mean: as the
/// image says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command (the arguments of its entry point).
    pub command: Option<Vec<String>>,
    /// Added to the image's environment variables, by name.
    pub env: Vec<EnvVar>,
    /// `USER[:GROUP]`, names or numbers.
    pub user: Option<String>,
    /// Absolute path.
    pub workdir: Option<PathBuf>,
    /// At most 64 bytes (Linux `HOST_NAME_MAX`).
    pub hostname: Option<String>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// The network.
    pub network: Network,
    /// Resource limits.
    pub limits: Limits,
    /// Whether process 1 is one of the runtime's own, which starts the program, passes signals on to
    /// it, reaps what others leave and ends with the program's exit code.
    pub init: bool,
    /// Whether no process gets more rights by what it executes, as by `sudo` (prctl(2),
    /// `PR_SET_NO_NEW_PRIVS`); `None`: as the runtime does by itself.
    pub no_new_privileges: Option<bool>,
}

impl ContainerSpec {
    /// Whether two containers with these settings may run at the same time: no writable shared
    /// mount, and not the host's network.
    pub fn can_run_twice(&self) -> bool {
        self.network != Network::Host && self.shared_writable().is_none()
    }

    /// A mount in which two containers with these settings would write in the same place, if there is
    /// one.
    pub fn shared_writable(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.is_shared_writable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_environment_variable_is_not_shown() {
        let spec = ContainerSpec {
            env: vec![EnvVar {
                name: "TOKEN".into(),
                value: "s3cret".into(),
            }],
            ..ContainerSpec::default()
        };
        let shown = format!("{spec:?}");
        assert!(
            shown.contains("TOKEN") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_network_keeps_its_spelling() {
        for (network, text) in [
            (Network::Bridge, r#""bridge""#),
            (Network::None, r#""none""#),
            (Network::Host, r#""host""#),
            (Network::Named("shop".into()), r#"{"named":"shop"}"#),
        ] {
            assert_eq!(serde_json::to_string(&network).unwrap(), text);
            assert_eq!(serde_json::from_str::<Network>(text).unwrap(), network);
        }
        let named = ContainerSpec {
            network: Network::Named("shop".into()),
            ..ContainerSpec::default()
        };
        assert!(named.can_run_twice() && named.network.has_addresses());
    }

    #[test]
    fn a_writable_shared_mount_excludes_a_second_container() {
        let mut spec = ContainerSpec::default();
        assert!(spec.can_run_twice());
        spec.mounts.push(Mount {
            source: MountSource::Volume("data".into()),
            target: "/data".into(),
            read_only: true,
        });
        assert!(spec.can_run_twice());
        spec.mounts[0].read_only = false;
        assert!(!spec.can_run_twice());
    }

    #[test]
    fn memory_is_a_container_s_own() {
        let spec = ContainerSpec {
            mounts: vec![Mount {
                source: MountSource::Tmpfs { size: None },
                target: "/run".into(),
                read_only: false,
            }],
            ..ContainerSpec::default()
        };
        assert!(spec.can_run_twice());
    }
}
