//! From the service's description of a container to the settings that it was made with.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use statefork_runtime::{
    Adoption, ContainerId, ContainerSpec, EnvVar, ImageConfig, Images, Limits, Mount, MountSource,
    NO_NEW_PRIVILEGES, Network, ObjectKind, PortMapping, Protocol, Result, RuntimeError,
    TmpfsOptions,
};

use crate::PodmanRuntime;
use crate::cause::Cause;
use crate::describe::{Inspected, port_of};
use crate::fault::Fault;
use crate::made::{HostConfig, ImageDefaults, Info, Made, without_nulls};
use crate::obstacles::{self, Circumstances};
use crate::raw::encode;
use crate::rlimits;

const ADOPT: &str = "read the settings of a container";

/// Where the kernel says the machine's name (proc(5)).
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// The network that containers join unless they are told to join another.
pub(crate) const DEFAULT_NETWORK: &str = "podman";
/// How many digits of its id a container has as a name.
pub(crate) const SHORT_ID: usize = 12;
/// The search path that Podman gives to a container whose image has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the service notes that an init process was asked for.
const INIT_ANNOTATION: &str = "io.podman.annotations.init";
/// What Podman starts first where an init process was asked for.
const INIT: [&str; 2] = ["/dev/init", "/run/podman-init"];
/// The most of a user database that is read, in bytes.
const PASSWD_LIMIT: usize = 1 << 20;

impl PodmanRuntime {
    /// A container with the settings that it was made with.
    pub(crate) async fn adoption(&self, container: &ContainerId) -> Result<Option<Adoption>> {
        let failed = |fault| self.client.error(ADOPT, fault);
        let path = format!("/containers/{}/json", encode(container.as_str()));
        let found = match self.client.get::<Value>(&path).await {
            Ok(found) => found,
            Err(fault) if fault.cause() == Cause::NoContainer => return Ok(None),
            Err(fault) => return Err(failed(fault)),
        };
        let inspected: Inspected = parse(found.clone()).map_err(failed)?;
        if !inspected.is(container) {
            return Ok(None);
        }
        let made: Made = parse(without_nulls(found)).map_err(failed)?;
        let image = inspected.image().to_owned();
        let lost = || RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: image.clone(),
        };
        let path = format!("/images/{}/json", encode(&image));
        let (config, defaults, info, rlimits) = tokio::join!(
            self.inspect_image(&image),
            self.client.get::<Value>(&path),
            self.client.get::<Value>("/info"),
            rlimits::to_ask_for(self.client.raw.socket()),
        );
        let base = config?.ok_or_else(lost)?.config;
        let defaults = match defaults {
            Err(fault) if fault.cause() == Cause::NoImage => return Err(lost()),
            defaults => defaults.map_err(failed)?,
        };
        let defaults: ImageDefaults = parse(without_nulls(defaults)).map_err(failed)?;
        let info: Info = parse(without_nulls(info.map_err(failed)?)).map_err(failed)?;
        let container = inspected.describe();
        let home = self.home(&container.id, &made, &base).await;
        let network = network(&made);
        let circumstances = Circumstances {
            network: &network,
            labels: &base.labels,
            image: &defaults,
            info: &info,
            rlimits: &rlimits,
        };
        Ok(Some(Adoption {
            image_name: image_name(&made),
            published: published(&made),
            obstacles: obstacles::of(&made, &circumstances),
            spec: spec(&made, &base, home.as_deref(), network),
            container,
        }))
    }

    /// The home folder of a container's user by its user database; looked for only where it may be
    /// the reason for a variable.
    async fn home(&self, id: &ContainerId, made: &Made, base: &ImageConfig) -> Option<String> {
        let own = value(&made.config.env, "HOME")?;
        if base.env.iter().any(|variable| variable.name == "HOME") || usual_home(made, own) {
            return None;
        }
        // Without it, the variable is taken for one that was given: it has the same value again.
        let archive = self.archive_of(id, Path::new("/etc/passwd")).await.ok()?;
        let pieces = archive.take(PASSWD_LIMIT).try_collect::<Vec<_>>().await;
        let pieces = pieces.ok()?.concat();
        let mut text = String::new();
        let mut archive = tar::Archive::new(&pieces[..]);
        let mut entry = archive.entries().ok()?.next()?.ok()?;
        std::io::Read::read_to_string(&mut entry, &mut text).ok()?;
        home_of(&text, &made.config.user)
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(Fault::broken)
}

/// The home folder of `USER[:GROUP]` (passwd(5)).
fn home_of(passwd: &str, user: &str) -> Option<String> {
    let user = user.split(':').next().filter(|user| !user.is_empty());
    let user = user.unwrap_or("0");
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, id, _, _, home, ..] if *name == user || *id == user => {
                Some((*home).to_owned())
            }
            _ => None,
        }
    })
}

/// Whether Podman gives this home folder where the database names none.
fn usual_home(made: &Made, home: &str) -> bool {
    let user = made.config.user.split(':').next().unwrap_or_default();
    home == "/" || (home == "/root" && ["", "0", "root"].contains(&user))
}

fn value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    let mut all = env.iter().filter_map(|entry| entry.split_once('='));
    all.find(|(own, _)| *own == name).map(|(_, value)| value)
}

fn image_name(made: &Made) -> Option<String> {
    let name = Some(made.image_name.clone()).filter(|name| !name.is_empty())?;
    let digits = name.strip_prefix("sha256:").unwrap_or(&name);
    let is_id = digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit());
    (!is_id).then_some(name)
}

fn spec(made: &Made, base: &ImageConfig, home: Option<&str>, network: Network) -> ContainerSpec {
    let config = &made.config;
    let (entrypoint, command) = words(made);
    let other_entrypoint = entrypoint != base.entrypoint;
    let other_command = command != base.command;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let workdir = given(&config.working_dir).map(PathBuf::from);
    let images = base.workdir.clone().unwrap_or_else(|| "/".into());
    ContainerSpec {
        // One that is given takes the image's command away.
        command: (if other_entrypoint {
            !command.is_empty()
        } else {
            other_command
        })
        .then_some(command),
        entrypoint: other_entrypoint.then_some(entrypoint),
        env: variables(made, base, home),
        user: given(&config.user).filter(|user| Some(user) != base.user.as_ref()),
        workdir: workdir.filter(|path| *path != images),
        hostname: hostname(made, &network),
        mounts: mounts(made),
        limits: limits(&made.host_config),
        init: made.host_config.init
            || config
                .annotations
                .get(INIT_ANNOTATION)
                .is_some_and(|value| value == "TRUE"),
        // That it is not so is not told.
        no_new_privileges: made
            .host_config
            .security_opt
            .iter()
            .any(|option| option == NO_NEW_PRIVILEGES)
            .then_some(true),
        network,
    }
}

/// The words of entry point and command. Podman 4 tells the entry point's as one text only; but
/// they are what its first process has before the command's.
fn words(made: &Made) -> (Vec<String>, Vec<String>) {
    let command = made.config.cmd.clone();
    if let Value::Array(words) = &made.config.entrypoint {
        let words = words.iter().filter_map(Value::as_str);
        return (words.map(str::to_owned).collect(), command);
    }
    let joined = made.config.entrypoint.as_str().unwrap_or_default();
    if joined.is_empty() {
        return (Vec::new(), command);
    }
    let path = std::slice::from_ref(&made.path);
    // Without arguments the program is listed as its own argument.
    let mut all = match made.args.as_slice() {
        [only] if *only == made.path => path.to_vec(),
        args => [path, args].concat(),
    };
    if INIT.contains(&made.path.as_str()) {
        all.drain(..all.len().min(2));
    }
    match all.strip_suffix(command.as_slice()) {
        Some(words) if words.join(" ") == joined => (words.to_vec(), command),
        _ => (vec![joined.to_owned()], command),
    }
}

/// The variables that are neither the image's nor those that Podman sets by itself.
fn variables(made: &Made, base: &ImageConfig, home: Option<&str>) -> Vec<EnvVar> {
    let config = &made.config;
    let is_made = |variable: &EnvVar| {
        let value = variable.value.as_str();
        match variable.name.as_str() {
            "container" => ["podman", "oci"].contains(&value),
            "TERM" => value == "xterm",
            "HOSTNAME" => value == config.hostname,
            "HOME" => Some(value) == home || usual_home(made, value),
            "PATH" => value == DEFAULT_PATH,
            _ => false,
        }
    };
    let all = config.env.iter().filter_map(|entry| entry.split_once('='));
    all.map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
    })
    .filter(|variable| {
        let images = base.env.iter().find(|image| image.name == variable.name);
        match images {
            Some(image) => image.value != variable.value,
            None => !is_made(variable),
        }
    })
    .collect()
}

/// The host name, if it was given: Podman makes one of the id, or takes the machine's.
fn hostname(made: &Made, network: &Network) -> Option<String> {
    let name = Some(made.config.hostname.clone()).filter(|name| !name.is_empty())?;
    let is_of_host = || {
        let host = std::fs::read_to_string(HOST_NAME);
        host.is_ok_and(|host| host.trim_end() == name)
    };
    let shares = *network == Network::Host || made.host_config.uts_mode == "host";
    if made.id.get(..SHORT_ID) == Some(&name) || (shares && is_of_host()) {
        return None;
    }
    Some(name)
}

fn mounts(made: &Made) -> Vec<Mount> {
    let listed = made.mounts.iter().filter_map(|mount| {
        Some(Mount {
            source: match mount.r#type.as_str() {
                "bind" => MountSource::Bind(mount.source.clone()),
                "volume" => MountSource::Volume(mount.name.clone()),
                _ => return None,
            },
            target: mount.destination.clone(),
            read_only: !mount.writable,
        })
    });
    let memory = made.host_config.tmpfs.iter().map(|(target, options)| {
        let options = tmpfs_options(options);
        Mount {
            source: MountSource::Tmpfs { size: options.size },
            target: target.into(),
            read_only: options.read_only,
        }
    });
    let mut mounts: Vec<_> = listed.chain(memory).collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts
}

/// The options of a tmpfs, as the service tells them with its own.
pub(crate) fn tmpfs_options(text: &str) -> TmpfsOptions {
    TmpfsOptions::parse(text, &["rprivate", "tmpcopyup"])
}

fn limits(host: &HostConfig) -> Limits {
    let cpus = match (host.cpu_quota, host.cpu_period) {
        (quota, period) if quota > 0 && period > 0 => Some(quota as f64 / period as f64),
        _ if host.nano_cpus > 0 => Some(host.nano_cpus as f64 / 1e9),
        _ => None,
    };
    Limits {
        memory: u64::try_from(host.memory).ok().filter(|bytes| *bytes > 0),
        cpus,
    }
}

/// The network that a container has joined, the default one or else the first by name.
fn network(made: &Made) -> Network {
    let joined = &made.network_settings.networks;
    match made.host_config.network_mode.as_str() {
        "none" => Network::None,
        "host" => Network::Host,
        _ if joined.contains_key(DEFAULT_NETWORK) => Network::Bridge,
        _ => match joined.keys().next() {
            Some(name) => Network::Named(name.clone()),
            // What else there is, is an obstacle.
            None => Network::Bridge,
        },
    }
}

fn published(made: &Made) -> Vec<PortMapping> {
    let now = &made.network_settings.ports;
    let ports = if now.is_empty() {
        &made.host_config.port_bindings
    } else {
        now
    };
    let mut published = Vec::new();
    for (port, hosts) in ports {
        let port = port_of(port).filter(|port| port.protocol == Protocol::Tcp);
        let Some(port) = port else { continue };
        for host in hosts {
            let ip = match host.host_ip.as_str() {
                "" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                ip => ip.parse(),
            };
            if let Ok(ip) = ip {
                published.push(PortMapping {
                    ip,
                    host: host.host_port.parse().unwrap_or_default(),
                    container: port.port,
                });
            }
        }
    }
    published.sort_unstable();
    published.dedup();
    published
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(value: Value) -> Made {
        parse(without_nulls(value)).unwrap()
    }

    #[test]
    fn the_words_of_an_entry_point_are_found_again() {
        let of = |entrypoint: Value, command: Value, args: Value| {
            words(&made(json!({
                "Path": "env", "Args": args,
                "Config": { "Entrypoint": entrypoint, "Cmd": command },
            })))
        };
        let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        let joined = of(json!("env a b"), json!(["c"]), json!(["a b", "c"]));
        assert_eq!(joined, (owned(&["env", "a b"]), owned(&["c"])));
        let alone = of(json!("env"), Value::Null, json!(["env"]));
        assert_eq!(alone, (owned(&["env"]), owned(&[])));
        let listed = of(json!(["env", "a b"]), json!(["c"]), json!([]));
        assert_eq!(listed, (owned(&["env", "a b"]), owned(&["c"])));
        let none = of(json!(""), json!(["env", "x"]), json!(["x"]));
        assert_eq!(none, (owned(&[]), owned(&["env", "x"])));
    }

    #[test]
    fn variables_that_nobody_gave_are_none_of_the_container() {
        let made = made(json!({ "Config": {
            "Hostname": "h", "User": "app",
            "Env": ["A=1", "B=2", "TERM=xterm", "container=podman", "HOSTNAME=h",
                    "HOME=/home/app", "PATH=/bin"],
        }}));
        let base = ImageConfig {
            env: vec![EnvVar {
                name: "B".into(),
                value: "2".into(),
            }],
            ..ImageConfig::default()
        };
        let names = |home| {
            let all = variables(&made, &base, home).into_iter();
            all.map(|variable| variable.name).collect::<Vec<_>>()
        };
        let home = home_of(
            "root:x:0:0:r:/root:/sh\napp:x:7:7:a:/home/app:/sh\n",
            "app:7",
        );
        assert_eq!(home.as_deref(), Some("/home/app"));
        assert_eq!(names(home.as_deref()), ["A", "PATH"]);
        assert_eq!(names(None), ["A", "HOME", "PATH"]);
    }
}
