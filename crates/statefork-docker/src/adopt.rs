//! From the daemon's description of a container to the settings that it was made with.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, EndpointSettings, HostConfig,
    ImageConfig as ApiImageConfig, ImageInspect, MountPoint, MountType, PortMap, SystemInfo,
};
use statefork_runtime::{
    Adoption, ContainerId, ContainerSpec, ContainerState, Limits, Mount, MountSource, Network,
    ObjectKind, PortMapping, Protocol, Result, RuntimeError, TmpfsOptions,
};

use crate::{DockerRuntime, describe, names, obstacles};

/// Where the kernel says the machine's name (proc(5)).
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What the API takes for the period of a processor quota that was given none, in µs.
const CPU_PERIOD: i64 = 100_000;

/// What a container's settings are read from.
pub(crate) struct Made<'a> {
    pub(crate) found: &'a ContainerInspectResponse,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) host: &'a HostConfig,
    /// The settings of its image.
    pub(crate) base: &'a ApiImageConfig,
    /// The daemon's defaults.
    pub(crate) info: &'a SystemInfo,
}

impl DockerRuntime {
    /// A container with the settings that it was made with.
    pub(crate) async fn adoption(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        let docker = self.client.docker()?;
        let info = self
            .client
            .bounded("ask the daemon for its defaults", docker.info());
        let (found, info) = tokio::join!(self.look(container), info);
        let (Some(found), info) = (found?, info?) else {
            return Ok(None);
        };
        let id = found.image.clone().unwrap_or_default();
        let image = self.base_image(&id).await?;
        let image = image.ok_or(RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: id,
        })?;
        let adoption = read(&found, &image, &info);
        Ok(Some(Adoption {
            container: describe::container(found),
            ..adoption
        }))
    }
}

fn read(found: &ContainerInspectResponse, image: &ImageInspect, info: &SystemInfo) -> Adoption {
    let (config, host, base) = (
        found.config.clone().unwrap_or_default(),
        found.host_config.clone().unwrap_or_default(),
        image.config.clone().unwrap_or_default(),
    );
    let made = Made {
        found,
        config: &config,
        host: &host,
        base: &base,
        info,
    };
    let asked = config.image.as_deref().unwrap_or_default();
    let is_id = names::is_id(asked) || names::may_begin_an_id(asked);
    let network = network(&made);
    Adoption {
        container: describe::container(found.clone()),
        image_name: names::image_reference(asked).filter(|_| !is_id),
        published: published(&made),
        obstacles: obstacles::of(&made, &network),
        spec: settings(&made, network),
    }
}

fn settings(made: &Made<'_>, network: Network) -> ContainerSpec {
    let Made { config, base, .. } = made;
    let own = |own: &Option<String>, images: &Option<String>| {
        let given = own.clone().filter(|own| !own.is_empty());
        given.filter(|given| Some(given) != images.as_ref())
    };
    let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let (entrypoint, command) = (words(&config.entrypoint), words(&config.cmd));
    let other_entrypoint = entrypoint != words(&base.entrypoint);
    let other_command = command != words(&base.cmd);
    let images: BTreeSet<&String> = base.env.iter().flatten().collect();
    let env = config.env.iter().flatten();
    ContainerSpec {
        // One that is given takes the image's command away.
        command: (if other_entrypoint {
            !command.is_empty()
        } else {
            other_command
        })
        .then_some(command),
        entrypoint: other_entrypoint.then_some(entrypoint),
        env: env
            .filter(|entry| !images.contains(entry))
            .filter_map(|entry| describe::variable(entry))
            .collect(),
        user: own(&config.user, &base.user),
        workdir: own(&config.working_dir, &base.working_dir).map(PathBuf::from),
        hostname: hostname(made, &network),
        mounts: mounts(made),
        limits: limits(made.host),
        init: made.host.init == Some(true),
        no_new_privileges: made
            .host
            .security_opt
            .iter()
            .flatten()
            .find_map(|option| statefork_runtime::no_new_privileges(option)),
        network,
    }
}

/// The host name, if it was given: the daemon makes one of the id, or takes the machine's.
fn hostname(made: &Made<'_>, network: &Network) -> Option<String> {
    let name = made
        .config
        .hostname
        .clone()
        .filter(|name| !name.is_empty())?;
    let id = made.found.id.as_deref().unwrap_or_default();
    let is_made = id.starts_with(&name) && name.len() == 12;
    let is_of_host = || {
        let host = std::fs::read_to_string(HOST_NAME);
        host.is_ok_and(|host| host.trim_end() == name)
    };
    let shares = *network == Network::Host || made.host.uts_mode.as_deref() == Some("host");
    if is_made || (shares && is_of_host()) {
        return None;
    }
    Some(name)
}

fn mounts(made: &Made<'_>) -> Vec<Mount> {
    let mount = |point: &MountPoint| {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Some(Mount {
            source: match point.typ.as_deref() {
                Some("bind") => MountSource::Bind(text(&point.source)?.into()),
                Some("volume") => MountSource::Volume(text(&point.name)?),
                _ => return None,
            },
            target: text(&point.destination)?.into(),
            read_only: !point.rw.unwrap_or(true),
        })
    };
    let listed = made.found.mounts.iter().flatten().filter_map(mount);
    let mut mounts: Vec<_> = listed.chain(tmpfs(made)).collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts
}

/// Memory that is mounted: of `--mount` and of `--tmpfs`, which are told in two places.
fn tmpfs(made: &Made<'_>) -> impl Iterator<Item = Mount> {
    let mounts = made.host.mounts.iter().flatten();
    let mounts = mounts.filter(|mount| mount.typ == Some(MountType::TMPFS));
    let of_mount = mounts.filter_map(|mount| {
        let size = mount.tmpfs_options.as_ref().and_then(|o| o.size_bytes);
        Some(Mount {
            source: MountSource::Tmpfs {
                // 0 is no limit.
                size: size
                    .and_then(|size| u64::try_from(size).ok())
                    .filter(|size| *size > 0),
            },
            target: mount.target.clone()?.into(),
            read_only: mount.read_only == Some(true),
        })
    });
    let of_map = made.host.tmpfs.iter().flatten();
    let of_map = of_map.map(|(target, options)| {
        let options = tmpfs_options(options);
        Mount {
            source: MountSource::Tmpfs { size: options.size },
            target: target.into(),
            read_only: options.read_only,
        }
    });
    of_mount.chain(of_map)
}

/// The options of `--tmpfs`.
pub(crate) fn tmpfs_options(text: &str) -> TmpfsOptions {
    TmpfsOptions::parse(text, &["noexec"])
}

fn limits(host: &HostConfig) -> Limits {
    let given = |number: Option<i64>| number.filter(|number| *number > 0);
    let by_quota = || {
        let quota = given(host.cpu_quota)?;
        Some(quota as f64 / given(host.cpu_period).unwrap_or(CPU_PERIOD) as f64)
    };
    Limits {
        memory: given(host.memory).and_then(|bytes| u64::try_from(bytes).ok()),
        cpus: given(host.nano_cpus)
            .map(|nano| nano as f64 / 1e9)
            .or_else(by_quota),
    }
}

/// The networks that a container has joined, by name.
pub(crate) fn networks<'a>(made: &Made<'a>) -> Vec<(&'a str, &'a EndpointSettings)> {
    let settings = made.found.network_settings.as_ref();
    let joined = settings.and_then(|settings| settings.networks.as_ref());
    let mut joined: Vec<_> = joined
        .into_iter()
        .flat_map(HashMap::iter)
        .map(|(name, endpoint)| (name.as_str(), endpoint))
        .collect();
    joined.sort_by_key(|(name, _)| *name);
    joined
}

/// The network that a container was made with, or the first by name if it has left that.
fn network(made: &Made<'_>) -> Network {
    if made.config.network_disabled == Some(true) {
        return Network::None;
    }
    let mode = made.host.network_mode.as_deref().unwrap_or_default();
    let mode = if mode == "default" { "bridge" } else { mode };
    let joined = networks(made);
    // The mode may be the network's id.
    let own = joined
        .iter()
        .find(|(name, endpoint)| *name == mode || endpoint.network_id.as_deref() == Some(mode));
    let name = own.or(joined.first()).map_or(mode, |(name, _)| name);
    match name {
        "none" => Network::None,
        "host" => Network::Host,
        "" | "bridge" => Network::Bridge,
        // What it shares with another container is an obstacle.
        name if name.starts_with("container:") => Network::Bridge,
        name => Network::Named(name.to_owned()),
    }
}

/// Its ports on the host, as the daemon lists them for a running container and as they were asked
/// for.
pub(crate) fn bindings<'a>(made: &Made<'a>) -> impl Iterator<Item = &'a PortMap> {
    let state = describe::state(made.found);
    let is_up = matches!(state, ContainerState::Running | ContainerState::Paused);
    let settings = made.found.network_settings.as_ref().filter(|_| is_up);
    let now = settings.and_then(|settings| settings.ports.as_ref());
    let asked = made.host.port_bindings.as_ref();
    now.or(asked).into_iter()
}

fn published(made: &Made<'_>) -> Vec<PortMapping> {
    let mut published = Vec::new();
    for (port, hosts) in bindings(made).flatten() {
        let port = describe::container_port(port);
        let Some(port) = port.filter(|port| port.protocol == Protocol::Tcp) else {
            continue;
        };
        for host in hosts.iter().flatten() {
            let ip = host.host_ip.as_deref().filter(|ip| !ip.is_empty());
            let ip = match ip.map(str::parse) {
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Some(Ok(ip)) => ip,
                Some(Err(_)) => continue,
            };
            let number = host.host_port.as_deref().unwrap_or_default();
            published.push(PortMapping {
                ip,
                // Nothing, or a range to choose from, until it runs.
                host: number.parse().unwrap_or_default(),
                container: port.port,
            });
        }
    }
    published.sort_unstable();
    published.dedup();
    published
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(config: &str, host: &str, base: &str) -> Adoption {
        let found = format!(
            r#"{{"Id":"{}","Image":"i","Config":{config},"HostConfig":{host}}}"#,
            "0a".repeat(32)
        );
        let image = format!(r#"{{"Config":{base}}}"#);
        read(
            &serde_json::from_str(&found).unwrap(),
            &serde_json::from_str(&image).unwrap(),
            &SystemInfo::default(),
        )
    }

    #[test]
    fn a_processor_quota_is_a_share() {
        let limits = |host: &str| adopted("{}", host, "{}").spec.limits;
        assert_eq!(limits(r#"{"CpuQuota":50000}"#).cpus, Some(0.5));
        let given = limits(r#"{"CpuQuota":50000,"CpuPeriod":25000,"Memory":1024}"#);
        assert_eq!((given.cpus, given.memory), (Some(2.0), Some(1024)));
        assert_eq!(limits(r#"{"Memory":0,"CpuQuota":-1}"#), Limits::default());
    }

    #[test]
    fn the_commands_of_image_and_container_are_told_apart() {
        let base = r#"{"Entrypoint":["e"],"Cmd":["c"]}"#;
        let words = |config: &str| {
            let spec = adopted(config, "{}", base).spec;
            (spec.entrypoint, spec.command)
        };
        let some = |word: &str| Some(vec![word.to_owned()]);
        let same = words(r#"{"Entrypoint":["e"],"Cmd":["c"]}"#);
        assert_eq!(same, (None, None));
        let none = words(r#"{"Entrypoint":["e"],"Cmd":null}"#);
        assert_eq!(none, (None, Some(Vec::new())));
        let own = words(r#"{"Entrypoint":["x"],"Cmd":["c"]}"#);
        assert_eq!(own, (some("x"), some("c")));
        let cleared = words(r#"{"Entrypoint":null,"Cmd":["c"]}"#);
        assert_eq!(cleared, (Some(Vec::new()), some("c")));
        assert_eq!(words(r#"{"Entrypoint":["x"]}"#), (some("x"), None));
    }

    #[test]
    fn the_image_is_named_as_it_was_asked_for() {
        let name = |image: &str| {
            let config = format!(r#"{{"Image":"{image}"}}"#);
            adopted(&config, "{}", "{}").image_name
        };
        let full = name("shop:1");
        assert_eq!(full.as_deref(), Some("docker.io/library/shop:1"));
        assert_eq!(name(&format!("sha256:{}", "0a".repeat(32))), None);
        assert_eq!(name("0a0a0a"), None);
    }

    #[test]
    fn ports_are_those_that_were_asked_for_until_it_runs() {
        let host = r#"{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"},
            {"HostIp":"127.0.0.1","HostPort":""}],"53/udp":[{"HostPort":"53"}]}}"#;
        let adopted = adopted("{}", host, "{}");
        let shown: Vec<_> = adopted.published.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0.0.0.0:8080:80", "127.0.0.1:0:80"]);
        assert_eq!(adopted.obstacles, ["port 53/udp (--publish)"]);
    }
}
