//! From the daemon's descriptions to the contract's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum as Status, ImageConfig as ApiImageConfig,
    ImageInspect, NetworkSettings, PortMap,
};
use statefork_runtime::{
    Container, ContainerId, ContainerMount, ContainerPort, ContainerState, EnvVar, Image,
    ImageConfig, ImageId, MountKind, Protocol,
};

use crate::names;

/// A container.
pub(crate) fn container(found: ContainerInspectResponse) -> Container {
    let state = state(&found);
    let up = matches!(state, ContainerState::Running | ContainerState::Paused);
    let pid = found.state.as_ref().and_then(|state| state.pid);
    let labels = found.config.as_ref().and_then(|c| c.labels.clone());
    let network = found.network_settings.as_ref();
    Container {
        name: name(&found).to_owned(),
        state,
        pid: pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| up && *pid > 0),
        address: network.and_then(address),
        published: network
            .and_then(|network| network.ports.as_ref())
            .map(published)
            .unwrap_or_default(),
        mounts: mounts(&found),
        labels: labels.unwrap_or_default().into_iter().collect(),
        id: ContainerId::new(found.id.unwrap_or_default()),
        image: ImageId::new(found.image.unwrap_or_default()),
    }
}

/// A container's name, without the leading slash.
pub(crate) fn name(found: &ContainerInspectResponse) -> &str {
    let name = found.name.as_deref().unwrap_or_default();
    name.strip_prefix('/').unwrap_or(name)
}

/// A container's state. One that is being removed, or whose removal failed, has ended.
pub(crate) fn state(found: &ContainerInspectResponse) -> ContainerState {
    let state = found.state.as_ref();
    match state.and_then(|state| state.status) {
        Some(Status::CREATED) => ContainerState::Created,
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running,
        Some(Status::PAUSED) => ContainerState::Paused,
        _ => ContainerState::Exited {
            code: state
                .and_then(|state| state.exit_code)
                .and_then(|code| i32::try_from(code).ok()),
        },
    }
}

/// The command line of a container's first process.
pub(crate) fn command(found: &ContainerInspectResponse) -> String {
    let arguments = found.args.iter().flatten();
    let words: Vec<&str> = found
        .path
        .iter()
        .chain(arguments)
        .map(String::as_str)
        .collect();
    words.join(" ")
}

/// The address on the first network by name; an IPv6 one where there is no other.
fn address(network: &NetworkSettings) -> Option<IpAddr> {
    let mut networks: Vec<_> = network.networks.iter().flatten().collect();
    networks.sort_by_key(|(name, _)| *name);
    let of = |pick: fn(&bollard::models::EndpointSettings) -> Option<&String>| {
        networks
            .iter()
            .find_map(|(_, endpoint)| pick(endpoint)?.parse().ok())
    };
    of(|endpoint| endpoint.ip_address.as_ref())
        .or_else(|| of(|endpoint| endpoint.global_ipv6_address.as_ref()))
}

fn published(ports: &PortMap) -> Vec<(ContainerPort, SocketAddr)> {
    let mut published = Vec::new();
    for (port, bindings) in ports {
        let Some(port) = container_port(port) else {
            continue;
        };
        for binding in bindings.iter().flatten() {
            let ip = binding.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            let host = binding.host_port.as_deref().and_then(|p| p.parse().ok());
            if let (Some(ip), Some(host)) = (ip, host) {
                published.push((port, SocketAddr::new(ip, host)));
            }
        }
    }
    published.sort_unstable();
    published
}

/// Mounts that are not the daemon's own, which it does not list (`/etc/hosts`, `/proc`, …).
fn mounts(found: &ContainerInspectResponse) -> Vec<ContainerMount> {
    let listed = found.mounts.iter().flatten().filter_map(|mount| {
        Some(ContainerMount {
            path: PathBuf::from(mount.destination.as_ref()?),
            kind: match mount.typ.as_deref() {
                Some("volume") => MountKind::Volume,
                Some("tmpfs") => MountKind::Tmpfs,
                _ => MountKind::Bind,
            },
            writable: mount.rw.unwrap_or(true),
        })
    });
    // Those of `--tmpfs` are only in the settings.
    let tmpfs = found.host_config.iter().flat_map(|host| &host.tmpfs);
    let tmpfs = tmpfs.flatten().map(|(path, options)| ContainerMount {
        path: PathBuf::from(path),
        kind: MountKind::Tmpfs,
        writable: !options.split(',').any(|option| option == "ro"),
    });
    let mut mounts: Vec<_> = listed.chain(tmpfs).collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    mounts.dedup_by(|a, b| a.path == b.path);
    mounts
}

/// An image.
pub(crate) fn image(found: ImageInspect) -> Image {
    let mut names: Vec<String> = found
        .repo_tags
        .iter()
        .flatten()
        .filter_map(|name| names::image_reference(name))
        .collect();
    names.sort();
    let size = found.size.and_then(|size| u64::try_from(size).ok());
    Image {
        id: ImageId::new(found.id.clone().unwrap_or_default()),
        names,
        size_bytes: size.unwrap_or_default(),
        layers: u32::try_from(layers(&found).len()).unwrap_or(u32::MAX),
        config: image_config(found.config.unwrap_or_default()),
    }
}

/// The digests of an image's unpacked layers.
pub(crate) fn layers(image: &ImageInspect) -> &[String] {
    let layers = image.root_fs.as_ref().and_then(|fs| fs.layers.as_deref());
    layers.unwrap_or_default()
}

/// How many layers an image has.
pub(crate) fn layer_count(image: &ImageInspect) -> u32 {
    u32::try_from(layers(image).len()).unwrap_or(u32::MAX)
}

fn image_config(config: ApiImageConfig) -> ImageConfig {
    let not_empty = |text: &String| !text.is_empty();
    let mut exposed_ports: Vec<_> = config
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|port| container_port(port))
        .collect();
    exposed_ports.sort_unstable();
    let mut volumes: Vec<_> = config.volumes.into_iter().flatten().collect();
    volumes.sort_unstable();
    ImageConfig {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        env: config
            .env
            .iter()
            .flatten()
            .filter_map(|entry| variable(entry))
            .collect(),
        user: config.user.filter(not_empty),
        workdir: config.working_dir.filter(not_empty).map(PathBuf::from),
        exposed_ports,
        volumes: volumes.into_iter().map(PathBuf::from).collect(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
    }
}

/// A variable; `None` for a name alone, which takes a variable away (see `commit`).
pub(crate) fn variable(entry: &str) -> Option<EnvVar> {
    let (name, value) = entry.split_once('=')?;
    Some(EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// Reads `80/tcp`; `None` for a protocol that the contract does not know.
pub(crate) fn container_port(text: &str) -> Option<ContainerPort> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(ContainerPort {
        port: port.parse().ok()?,
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_with_and_without_a_protocol() {
        assert_eq!(container_port("80/tcp"), Some(ContainerPort::tcp(80)));
        assert_eq!(container_port("80"), Some(ContainerPort::tcp(80)));
        assert_eq!(container_port("80/sctp"), None);
    }

    #[test]
    fn a_name_without_a_value_is_no_variable() {
        assert_eq!(variable("A"), None);
        assert_eq!(variable("A=b=c").unwrap().value, "b=c");
    }
}
