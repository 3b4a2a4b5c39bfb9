//! What the service says of a container (libpod API, `ContainerInspectLibpod`), in our words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use statefork_runtime::{
    Container, ContainerId, ContainerMount, ContainerPort, ContainerState, ImageId, Labels,
    MountKind, Protocol,
};

/// The parts of the answer that are used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    pub(crate) id: String,
    name: String,
    image: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    args: Vec<String>,
    state: State,
    config: Config,
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
    #[serde(default)]
    network_settings: Option<Network>,
    #[serde(default)]
    host_config: Option<HostConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    pid: i64,
    #[serde(default)]
    exit_code: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Words>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    working_dir: String,
}

/// Podman 4 joins the words of an entry point, Podman 5 lists them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Joined(String),
    Listed(Vec<String>),
}

/// What a commit takes over from a container.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) labels: Labels,
    pub(crate) env: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) user: String,
    pub(crate) workdir: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    tmpfs: Option<BTreeMap<PathBuf, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    r#type: String,
    destination: PathBuf,
    #[serde(rename = "RW")]
    writable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default, rename = "IPAddress")]
    ip_address: String,
    #[serde(default)]
    networks: Option<BTreeMap<String, Endpoint>>,
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<HostPort>>>>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(default, rename = "IPAddress")]
    ip_address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPort {
    #[serde(default)]
    host_ip: String,
    host_port: String,
}

impl Inspected {
    /// Whether the service found it by the id or name that was asked for, not by a part of an id.
    pub(crate) fn is(&self, container: &ContainerId) -> bool {
        self.id == container.as_str() || self.name == container.as_str()
    }

    pub(crate) fn state(&self) -> ContainerState {
        let state = &self.state;
        match state.status.as_str() {
            _ if state.paused => ContainerState::Paused,
            _ if state.running => ContainerState::Running,
            "stopping" => ContainerState::Running,
            "created" | "configured" | "initialized" => ContainerState::Created,
            // The status of a stopped container that is not cleaned up yet is empty.
            _ => ContainerState::Exited {
                code: (state.exit_code >= 0).then_some(state.exit_code),
            },
        }
    }

    /// The program and its arguments.
    pub(crate) fn command(&self) -> String {
        // Without arguments the program is listed as its own argument.
        let args = match self.args.as_slice() {
            [only] if *only == self.path => &[],
            args => args,
        };
        let path = std::slice::from_ref(&self.path);
        [path, args].concat().join(" ")
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// What a commit takes over.
    pub(crate) fn settings(self) -> Settings {
        let config = self.config;
        Settings {
            labels: config.labels.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            entrypoint: match config.entrypoint {
                Some(Words::Joined(text)) if !text.is_empty() => vec![text],
                Some(Words::Listed(words)) => words,
                _ => Vec::new(),
            },
            user: config.user,
            workdir: config.working_dir,
        }
    }

    /// Its mounts, sorted by path.
    pub(crate) fn mounts(&self) -> Vec<ContainerMount> {
        let listed = self.mounts.iter().flatten().map(|mount| ContainerMount {
            path: mount.destination.clone(),
            kind: match mount.r#type.as_str() {
                "volume" => MountKind::Volume,
                "tmpfs" => MountKind::Tmpfs,
                _ => MountKind::Bind,
            },
            writable: mount.writable,
        });
        let tmpfs = self.host_config.iter().flat_map(|host| &host.tmpfs);
        let in_memory = tmpfs.flatten().map(|(path, options)| ContainerMount {
            path: path.clone(),
            kind: MountKind::Tmpfs,
            writable: !options.split(',').any(|option| option == "ro"),
        });
        let mut mounts: Vec<_> = listed.chain(in_memory).collect();
        mounts.sort_by(|a, b| a.path.cmp(&b.path));
        mounts.dedup_by(|a, b| a.path == b.path);
        mounts
    }

    /// The container in the contract's words.
    pub(crate) fn describe(self) -> Container {
        let state = self.state();
        let up = matches!(state, ContainerState::Running | ContainerState::Paused);
        let network = self.network_settings.as_ref();
        Container {
            state,
            pid: u32::try_from(self.state.pid)
                .ok()
                .filter(|&pid| up && pid > 0),
            // Until it is cleaned up, one that has ended is told the address that it had.
            address: network.filter(|_| up).and_then(Network::address),
            published: network
                .filter(|_| up)
                .map(Network::published)
                .unwrap_or_default(),
            mounts: self.mounts(),
            labels: self.config.labels.unwrap_or_default(),
            id: ContainerId::new(self.id),
            name: self.name,
            image: ImageId::new(self.image),
        }
    }
}

impl Network {
    fn address(&self) -> Option<IpAddr> {
        let own = std::iter::once(&self.ip_address);
        let joined = self.networks.iter().flat_map(BTreeMap::values);
        own.chain(joined.map(|endpoint| &endpoint.ip_address))
            .find_map(|text| text.parse().ok())
    }

    fn published(&self) -> Vec<(ContainerPort, SocketAddr)> {
        let mut published = Vec::new();
        for (port, hosts) in self.ports.iter().flatten() {
            for host in hosts.iter().flatten() {
                let ip = if host.host_ip.is_empty() {
                    "0.0.0.0"
                } else {
                    &host.host_ip
                };
                if let Some(port) = port_of(port)
                    && let (Ok(ip), Ok(number)) = (ip.parse::<IpAddr>(), host.host_port.parse())
                {
                    published.push((port, SocketAddr::new(ip, number)));
                }
            }
        }
        published.sort();
        published
    }
}

/// Values of variables are not shown.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("labels", &self.labels)
            .field("command", &self.command)
            .field("entrypoint", &self.entrypoint)
            .field("user", &self.user)
            .field("workdir", &self.workdir)
            .finish_non_exhaustive()
    }
}

/// Reads `80/tcp`; `None` for a protocol that no image of ours declares.
pub(crate) fn port_of(text: &str) -> Option<ContainerPort> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(ContainerPort {
        port: port.parse().ok()?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: &str) -> ContainerState {
        let text = format!(r#"{{"Id":"i","Name":"n","Image":"m","Config":{{}},"State":{json}}}"#);
        serde_json::from_str::<Inspected>(&text).unwrap().state()
    }

    #[test]
    fn every_status_is_a_state() {
        for (json, expected) in [
            (
                r#"{"Status":"running","Running":true}"#,
                ContainerState::Running,
            ),
            (
                r#"{"Status":"paused","Paused":true}"#,
                ContainerState::Paused,
            ),
            (r#"{"Status":"initialized"}"#, ContainerState::Created),
            (
                r#"{"Status":"","ExitCode":137}"#,
                ContainerState::Exited { code: Some(137) },
            ),
            (
                r#"{"Status":"exited","ExitCode":-1}"#,
                ContainerState::Exited { code: None },
            ),
        ] {
            assert_eq!(state(json), expected, "{json}");
        }
    }
}
