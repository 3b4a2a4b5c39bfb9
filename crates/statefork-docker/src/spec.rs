//! From the contract's settings to a create request.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount as ApiMount, MountTmpfsOptions, MountType, PortBinding,
};
use statefork_runtime::{
    ContainerSpec, EnvVar, LaunchRequest, Limits, Mount, MountSource, NO_NEW_PRIVILEGES, Network,
    Protocol, Result, RuntimeError,
};

use crate::names;

/// Networks that the daemon has by itself.
const RESERVED: [&str; 4] = ["default", "bridge", "none", "host"];

/// The create request for a container of `image`. What only the daemon can judge (does the bind
/// source exist, are there so many processors) is left to it.
pub(crate) fn create_body(image: &str, request: &LaunchRequest) -> Result<ContainerCreateBody> {
    let spec = &request.spec;
    // Without a name the daemon makes one up.
    if !names::can_name_a_container(&request.name) {
        return Err(invalid(
            format!("container name {:?}", request.name),
            "not [a-zA-Z0-9][a-zA-Z0-9_.-]+",
        ));
    }
    if let Some(hostname) = &spec.hostname
        && !(1..=64).contains(&hostname.len())
    {
        return Err(invalid(
            format!("host name {hostname:?}"),
            "not 1 to 64 bytes",
        ));
    }
    let ports = ports(request)?;
    let labels = request.labels.clone();
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        env: Some(variables(&spec.env)?),
        user: spec.user.clone(),
        working_dir: spec.workdir.as_deref().map(text).transpose()?,
        hostname: spec.hostname.clone(),
        labels: Some(labels.into_iter().collect()),
        // A port is only published if it is exposed, too.
        exposed_ports: Some(ports.keys().cloned().collect()),
        host_config: Some(HostConfig {
            mounts: Some(spec.mounts.iter().map(mount).collect::<Result<_>>()?),
            network_mode: Some(network(spec)?.to_owned()),
            port_bindings: Some(ports),
            memory: memory(spec.limits)?,
            nano_cpus: nano_cpus(spec.limits)?,
            init: spec.init.then_some(true),
            security_opt: spec
                .no_new_privileges
                .map(|on| vec![format!("{NO_NEW_PRIVILEGES}={on}")]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// `NAME=VALUE` for each variable.
pub(crate) fn variables(env: &[EnvVar]) -> Result<Vec<String>> {
    let spelled = |EnvVar { name, value }: &EnvVar| {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid(
                format!("environment variable {name:?}"),
                "its name is empty, or there is NUL in it or = in its name",
            ));
        }
        Ok(format!("{name}={value}"))
    };
    env.iter().map(spelled).collect()
}

/// A path as the API takes it.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| invalid(format!("path {}", path.display()), "not UTF-8"))
}

fn mount(mount: &Mount) -> Result<ApiMount> {
    let (typ, source) = match &mount.source {
        MountSource::Bind(path) => (MountType::BIND, Some(text(path)?)),
        MountSource::Volume(name) => (MountType::VOLUME, Some(name.clone())),
        MountSource::Tmpfs { .. } => (MountType::TMPFS, None),
    };
    Ok(ApiMount {
        typ: Some(typ),
        source,
        tmpfs_options: tmpfs_options(&mount.source)?,
        target: Some(text(&mount.target)?),
        read_only: Some(mount.read_only),
        ..ApiMount::default()
    })
}

/// The size of a tmpfs, where it has one.
fn tmpfs_options(source: &MountSource) -> Result<Option<MountTmpfsOptions>> {
    let MountSource::Tmpfs { size: Some(size) } = source else {
        return Ok(None);
    };
    let bytes = i64::try_from(*size).ok().filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| invalid(format!("tmpfs of {size} bytes"), "out of range"))?;
    Ok(Some(MountTmpfsOptions {
        size_bytes: Some(bytes),
        ..MountTmpfsOptions::default()
    }))
}

fn network(spec: &ContainerSpec) -> Result<&str> {
    Ok(match &spec.network {
        Network::Bridge => "bridge",
        Network::None => "none",
        Network::Host => "host",
        // The daemon has other meanings for these, and for what has a colon in it.
        Network::Named(name)
            if RESERVED.contains(&name.as_str()) || !names::can_name_a_container(name) =>
        {
            return Err(invalid(
                format!("network {name:?}"),
                "not the name of a network that somebody made",
            ));
        }
        Network::Named(name) => name,
    })
}

fn ports(request: &LaunchRequest) -> Result<HashMap<String, Option<Vec<PortBinding>>>> {
    let bind = |port: &statefork_runtime::ContainerPort| {
        let what = || format!("port {port}");
        if port.protocol != Protocol::Tcp || port.port == 0 {
            return Err(invalid(what(), "not a TCP port"));
        }
        if !request.spec.network.has_addresses() {
            return Err(invalid(
                what(),
                "a container without an address of its own publishes no ports",
            ));
        }
        let any_free_port = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some("0".to_owned()),
        };
        Ok((port.to_string(), Some(vec![any_free_port])))
    };
    request.publish.iter().map(bind).collect()
}

fn memory(limits: Limits) -> Result<Option<i64>> {
    let convert = |bytes: u64| {
        i64::try_from(bytes)
            .ok()
            // 0 is the API's word for no limit.
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| invalid(format!("memory limit of {bytes} bytes"), "out of range"))
    };
    limits.memory.map(convert).transpose()
}

fn nano_cpus(limits: Limits) -> Result<Option<i64>> {
    let convert = |cpus: f64| {
        let nano = (cpus * 1e9).round();
        // Also false for NaN. 2^53: beyond it, f64 does not hold every integer.
        if (1.0..9e15).contains(&nano) {
            Ok(nano as i64)
        } else {
            Err(invalid(
                format!("limit of {cpus} processors"),
                "out of range",
            ))
        }
    };
    limits.cpus.map(convert).transpose()
}

fn invalid(what: String, reason: &str) -> RuntimeError {
    RuntimeError::Invalid {
        what,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statefork_runtime::{ContainerPort, ErrorKind};

    fn request(spec: ContainerSpec) -> LaunchRequest {
        LaunchRequest {
            name: "c".into(),
            spec,
            labels: Default::default(),
            publish: Vec::new(),
        }
    }

    #[test]
    fn impossible_values_are_named() {
        let limits = |memory, cpus| ContainerSpec {
            limits: Limits { memory, cpus },
            ..ContainerSpec::default()
        };
        for (spec, word) in [
            (limits(Some(0), None), "memory"),
            (limits(None, Some(f64::NAN)), "processors"),
            (limits(None, Some(0.0)), "processors"),
            (
                ContainerSpec {
                    hostname: Some("a".repeat(65)),
                    ..ContainerSpec::default()
                },
                "host name",
            ),
        ] {
            let error = create_body("i", &request(spec)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn one_and_a_half_processors() {
        let limits = Limits {
            memory: None,
            cpus: Some(1.5),
        };
        assert_eq!(nano_cpus(limits).unwrap(), Some(1_500_000_000));
    }

    #[test]
    fn ports_are_published_on_loopback_only() {
        let mut request = request(ContainerSpec::default());
        request.publish.push(ContainerPort::tcp(80));
        let ports = ports(&request).unwrap();
        let binding = &ports["80/tcp"].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        request.spec.network = Network::None;
        assert!(create_body("i", &request).is_err());
    }
}
