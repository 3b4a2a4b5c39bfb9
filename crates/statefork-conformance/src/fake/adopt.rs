//! Adopting a container of the fake: the settings that it was launched with.

use statefork_runtime::{Adoption, ContainerId, ContainerPort, PortMapping, Protocol, Result};

use super::images;
use super::state::{State, StoredContainer};

/// A container with its settings.
pub(super) fn adopt(state: &State, container: &ContainerId) -> Result<Option<Adoption>> {
    let Some(container) = state.container(container) else {
        return Ok(None);
    };
    let image = state.images.get(&container.image);
    let config = &image
        .ok_or_else(|| images::not_found(&container.image))?
        .config;
    let mut spec = container.spec.clone();
    if spec.entrypoint.as_ref() == Some(&config.entrypoint) {
        spec.entrypoint = None;
    }
    if spec.entrypoint.is_none() && spec.command.as_ref() == Some(&config.command) {
        spec.command = None;
    }
    spec.env.retain(|variable| !config.env.contains(variable));
    if spec.user == config.user {
        spec.user = None;
    }
    if spec.workdir == config.workdir {
        spec.workdir = None;
    }
    spec.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(Some(Adoption {
        container: container.describe(),
        // The fake launches from captures, which know ids alone.
        image_name: None,
        spec,
        published: published(container),
        obstacles: Vec::new(),
    }))
}

fn published(container: &StoredContainer) -> Vec<PortMapping> {
    let asked = |port: &ContainerPort| PortMapping {
        ip: std::net::Ipv4Addr::LOCALHOST.into(),
        host: 0,
        container: port.port,
    };
    let taken = container.describe().published;
    let is_tcp = |port: &ContainerPort| port.protocol == Protocol::Tcp;
    let mut published: Vec<_> = if container.is_up() {
        let taken = taken.iter().filter(|(port, _)| is_tcp(port));
        taken
            .map(|(port, address)| PortMapping {
                ip: address.ip(),
                host: address.port(),
                container: port.port,
            })
            .collect()
    } else {
        let ports = container.publish.iter().filter(|port| is_tcp(port));
        ports.map(asked).collect()
    };
    published.sort();
    published
}
