//! What of a container made by hand the contract's settings cannot say.

use std::collections::BTreeSet;

use podman_api::models::PosixRlimit;
use serde_json::Value;
use statefork_runtime::{Labels, NO_NEW_PRIVILEGES, Network};

use crate::adopt::{DEFAULT_NETWORK, SHORT_ID, tmpfs_options};
use crate::made::{ImageDefaults, Info, Made};

/// Podman's own size of `/dev/shm`, in bytes.
const SHM_SIZE: i64 = 65_536_000;
/// Podman's own limit on processes.
const PIDS_LIMIT: i64 = 2048;
/// Podman's own wait for the end of a process that was asked to stop, in seconds.
const STOP_TIMEOUT: u64 = 10;
/// Podman's own limits of `nofile` and `nproc`, where the service may have as much.
const RLIMIT: i64 = 1_048_576;
/// The number of SIGTERM.
const SIGTERM: u64 = 15;

/// Annotations that Podman and its relatives make.
const ANNOTATIONS: [&str; 5] = [
    "io.podman.",
    "io.container.",
    "io.kubernetes.",
    "org.opencontainers.",
    "org.systemd.",
];

/// Options of `podman run` that the service's description of a container does not show.
const SILENT_OPTIONS: [(&str, &str); 7] = [
    ("--sysctl", "kernel parameter"),
    ("--ip", "its address"),
    ("--ip6", "its address"),
    ("--mac-address", "its hardware address"),
    ("--device-cgroup-rule", "the rule for devices"),
    ("--security-opt", "security option"),
    // Podman 4 says "shareable" of the host's, too.
    ("--ipc", "the other interprocess communication"),
];

/// What the defaults are, and what is not lost.
pub(crate) struct Circumstances<'a> {
    /// The network that it is to be on.
    pub(crate) network: &'a Network,
    /// The labels of its image.
    pub(crate) labels: &'a Labels,
    /// The rest of its image's settings.
    pub(crate) image: &'a ImageDefaults,
    /// The service.
    pub(crate) info: &'a Info,
    /// The limits that a launch asks for.
    pub(crate) rlimits: &'a [PosixRlimit],
}

/// Texts of obstacles.
#[derive(Default)]
struct Obstacles(Vec<String>);

impl Obstacles {
    fn when(&mut self, holds: bool, text: impl Into<String>) {
        if holds {
            self.0.push(text.into());
        }
    }

    fn each<T: AsRef<str>>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        text: impl Fn(&str) -> String,
    ) {
        let texts = items.into_iter().map(|item| text(item.as_ref()));
        self.0.extend(texts);
    }

    /// A number that is not the usual one.
    fn number(&mut self, number: i64, usual: &[i64], what: &str) {
        self.when(!usual.contains(&number), format!("{what}={number})"));
    }

    /// A text that is neither empty nor the usual one.
    fn text(&mut self, text: &str, usual: &str, what: &str) {
        self.when(!text.is_empty() && text != usual, format!("{what} {text})"));
    }
}

/// All obstacles of a container.
pub(crate) fn of(made: &Made, circumstances: &Circumstances<'_>) -> Vec<String> {
    let mut obstacles = Obstacles::default();
    rights(made, circumstances, &mut obstacles);
    namespaces(made, circumstances, &mut obstacles);
    resources(made, circumstances, &mut obstacles);
    life(made, circumstances, &mut obstacles);
    labels(made, circumstances, &mut obstacles);
    files(made, &mut obstacles);
    joined(made, circumstances, &mut obstacles);
    silent(made, &mut obstacles);
    obstacles.0
}

fn rights(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let host = &made.host_config;
    obstacles.when(host.privileged, "all rights on the host (--privileged)");
    if !host.privileged {
        let usual = circumstances.info.host.security.capabilities.split(',');
        let usual: BTreeSet<&str> = usual.filter(|name| !name.is_empty()).collect();
        let own: BTreeSet<&str> = made.bounding_caps.iter().map(String::as_str).collect();
        let short = |name: &str| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
        obstacles.each(own.difference(&usual), |name| {
            format!("the added capability {} (--cap-add)", short(name))
        });
        obstacles.each(usual.difference(&own), |name| {
            format!("the lack of capability {} (--cap-drop)", short(name))
        });
        let devices = host.devices.iter().map(|device| &device.path_on_host);
        obstacles.each(devices, |path| format!("device {path} (--device)"));
    }
    obstacles.each(&host.group_add, |group| {
        format!("the further group {group} (--group-add)")
    });
    let options = host.security_opt.iter();
    let options = options.filter(|option| *option != NO_NEW_PRIVILEGES);
    obstacles.each(options, |option| {
        format!("security option {option} (--security-opt)")
    });
    let secrets = !made.config.secrets.is_empty();
    obstacles.when(secrets, "secrets (--secret)");
}

fn namespaces(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let host = &made.host_config;
    obstacles.text(&host.pid_mode, "private", "the shared process ids (--pid");
    obstacles.text(
        &host.ipc_mode,
        "shareable",
        "the other interprocess communication (--ipc",
    );
    obstacles.text(&host.uts_mode, "private", "the shared host name (--uts");
    obstacles.text(&host.userns_mode, "", "the other user namespace (--userns");
    let usual = match circumstances.info.host.cgroup_version.as_str() {
        "v2" => "private",
        _ => "host",
    };
    obstacles.text(
        &host.cgroup_mode,
        usual,
        "the other cgroup namespace (--cgroupns",
    );
    obstacles.text(&made.pod, "", "its place in a pod (--pod");
    obstacles.text(&made.config.domainname, "", "the domain name (--domainname");
}

fn resources(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let host = &made.host_config;
    for limit in &host.ulimits {
        let name = limit.name.strip_prefix("RLIMIT_").unwrap_or(&limit.name);
        let asked = circumstances.rlimits.iter();
        let mut asked = asked.filter(|asked| asked.type_.as_deref() == Some(name));
        let is_asked = asked
            .any(|asked| asked.hard.and_then(|hard| i64::try_from(hard).ok()) == Some(limit.hard));
        let is_usual = ["NOFILE", "NPROC"].contains(&name) && limit.hard == RLIMIT;
        let (name, soft, hard) = (name.to_lowercase(), limit.soft, limit.hard);
        obstacles.when(
            !(is_asked || is_usual),
            format!("the limit {name}={soft}:{hard} (--ulimit)"),
        );
    }
    let twice = host.memory.saturating_mul(2);
    let swap = host.memory_swap;
    obstacles.number(swap, &[0, twice], "the limit on swap (--memory-swap");
    let soft = host.memory_reservation;
    obstacles.number(soft, &[0], "the soft limit on memory (--memory-reservation");
    let swappiness = host.memory_swappiness;
    obstacles.number(swappiness, &[0, -1], "the swappiness (--memory-swappiness");
    let processes = host.pids_limit;
    obstacles.number(
        processes,
        &[0, PIDS_LIMIT],
        "the limit on processes (--pids-limit",
    );
    let shares = host.cpu_shares;
    obstacles.number(shares, &[0], "the weight of processors (--cpu-shares");
    obstacles.text(
        &host.cpuset_cpus,
        "",
        "the choice of processors (--cpuset-cpus",
    );
    obstacles.text(
        &host.cpuset_mems,
        "",
        "the choice of memory nodes (--cpuset-mems",
    );
    let real_time = host.cpu_realtime_runtime;
    obstacles.number(real_time, &[0], "the real-time share (--cpu-rt-runtime");
    let weight = host.blkio_weight;
    obstacles.number(weight, &[0], "the weight of disks (--blkio-weight");
    let throttled = [
        &host.blkio_weight_device,
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    let throttled = throttled.iter().any(|list| !list.is_empty());
    obstacles.when(
        throttled,
        "limits on disks (--device-read-bps and the like)",
    );
    let rank = host.oom_score_adj;
    obstacles.number(rank, &[0], "the rank in lack of memory (--oom-score-adj");
    obstacles.when(
        host.oom_kill_disable,
        "being spared in lack of memory (--oom-kill-disable)",
    );
    obstacles.text(
        &host.cgroup_parent,
        "",
        "the parent cgroup (--cgroup-parent",
    );
    obstacles.each(host.cgroup_conf.keys(), |name| {
        format!("cgroup setting {name} (--cgroup-conf)")
    });
    let usual = [0, SHM_SIZE];
    obstacles.number(host.shm_size, &usual, "the size of /dev/shm (--shm-size");
}

fn life(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let (host, config) = (&made.host_config, &made.config);
    let policy = &host.restart_policy.name;
    obstacles.text(policy, "no", "the restart policy (--restart");
    obstacles.when(host.auto_remove, "the removal at its end (--rm)");
    let differs = health(&config.healthcheck) != health(&circumstances.image.healthcheck);
    obstacles.when(differs, "the health check (--health-cmd and the like)");
    let own = signal(&config.stop_signal);
    let images = Value::from(circumstances.image.config.stop_signal.as_str());
    obstacles.when(
        own != signal(&images),
        format!("the stop signal (--stop-signal {own})"),
    );
    obstacles.when(
        config.stop_timeout != STOP_TIMEOUT,
        format!("the time to stop (--stop-timeout={})", config.stop_timeout),
    );
    obstacles.when(
        config.timeout != 0,
        format!("the time to live (--timeout={})", config.timeout),
    );
    obstacles.when(config.tty, "the terminal (--tty)");
    obstacles.when(config.open_stdin, "the open standard input (--interactive)");
    let usual = &circumstances.info.host;
    // A runtime that was given as a path is known by its file's name.
    let runtime = made.oci_runtime.rsplit('/').next().unwrap_or_default();
    obstacles.text(
        runtime,
        &usual.oci_runtime.name,
        "the OCI runtime (--runtime",
    );
    let driver = &host.log_config.r#type;
    // Launched ones log to files, which says the same.
    let driver = Some(driver.as_str()).filter(|driver| *driver != "k8s-file");
    obstacles.text(
        driver.unwrap_or_default(),
        &usual.log_driver,
        "the place of its output (--log-driver",
    );
    obstacles.text(
        &host.log_config.tag,
        "",
        "the tag of its output (--log-opt tag",
    );
    obstacles.text(&config.timezone, "", "the time zone (--tz");
    obstacles.text(&config.umask, "0022", "the mask of modes (--umask");
}

/// A health check that does something.
fn health(check: &Value) -> Option<&Value> {
    let test = check["Test"].as_array().filter(|test| !test.is_empty());
    test.filter(|test| test[0] != "NONE").map(|_| check)
}

/// The name of a signal: some versions tell numbers.
fn signal(value: &Value) -> String {
    match value {
        Value::Number(number) if number.as_u64() == Some(SIGTERM) => "TERM".to_owned(),
        Value::Number(number) => {
            let number = number
                .as_u64()
                .and_then(|number| i32::try_from(number).ok());
            let name = number.and_then(rustix::process::Signal::from_named_raw);
            name.map_or_else(
                || value.to_string(),
                |name| {
                    format!("{name:?}")
                        .rsplit("::")
                        .next()
                        .unwrap_or_default()
                        .trim_matches('"')
                        .to_owned()
                },
            )
        }
        Value::String(text) if text.is_empty() || text == "15" => "TERM".to_owned(),
        Value::String(text) => text.trim_start_matches("SIG").to_uppercase(),
        _ => "TERM".to_owned(),
    }
}

fn labels(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let config = &made.config;
    let own = config.labels.iter().filter(|(name, value)| {
        // Ours are made anew.
        !name.starts_with("dev.statefork.") && circumstances.labels.get(*name) != Some(value)
    });
    obstacles.each(own.map(|(name, _)| name), |name| {
        format!("label {name} (--label)")
    });
    let own = config.annotations.keys();
    let own = own.filter(|name| !ANNOTATIONS.iter().any(|prefix| name.starts_with(prefix)));
    obstacles.each(own, |name| format!("annotation {name} (--annotation)"));
}

fn files(made: &Made, obstacles: &mut Obstacles) {
    let host = &made.host_config;
    obstacles.when(
        host.readonly_rootfs,
        "the read-only root file system (--read-only)",
    );
    for (path, options) in &host.tmpfs {
        obstacles.each(tmpfs_options(options).others, |option| {
            format!("option {option} of the memory at {path} (--tmpfs)")
        });
    }
    for mount in &made.mounts {
        let (path, kind) = (mount.destination.display(), mount.r#type.as_str());
        obstacles.when(
            !["bind", "volume", "tmpfs"].contains(&kind),
            format!("mount {path} of type {kind:?} (--mount)"),
        );
        let mode = mount.propagation.as_str();
        obstacles.when(
            kind == "bind" && !["", "rprivate"].contains(&mode),
            format!("propagation {mode} of mount {path} (--volume)"),
        );
    }
}

fn joined(made: &Made, circumstances: &Circumstances<'_>, obstacles: &mut Obstacles) {
    let host = &made.host_config;
    let mode = host.network_mode.as_str();
    obstacles.when(
        !["", "default", "bridge", "none", "host"].contains(&mode),
        format!("the other kind of network (--network {mode})"),
    );
    let own = match circumstances.network {
        Network::Named(name) => name.as_str(),
        _ => DEFAULT_NETWORK,
    };
    if let Network::Named(network) = circumstances.network {
        let name = &made.name;
        obstacles
            .0
            .push(format!("its name {name} on network {network} (--name)"));
    }
    for (network, endpoint) in &made.network_settings.networks {
        obstacles.when(
            network != own,
            format!("the further network {network} (--network)"),
        );
        // Podman adds the beginning of the id.
        let given = endpoint.aliases.iter().filter(|alias| {
            Some(alias.as_str()) != made.id.get(..SHORT_ID) && **alias != made.name
        });
        obstacles.each(given, |alias| {
            format!("its name {alias} on network {network} (--network-alias)")
        });
    }
    obstacles.each(&host.extra_hosts, |entry| {
        format!("host {entry} (--add-host)")
    });
    obstacles.each(&host.dns, |server| format!("name server {server} (--dns)"));
    obstacles.each(&host.dns_search, |domain| {
        format!("search domain {domain} (--dns-search)")
    });
    obstacles.each(&host.dns_options, |option| {
        format!("name server option {option} (--dns-option)")
    });
    let ports = made.network_settings.ports.keys();
    let ports: BTreeSet<_> = ports.chain(host.port_bindings.keys()).collect();
    let ports = ports.into_iter().filter(|port| !port.ends_with("/tcp"));
    obstacles.each(ports, |port| format!("port {port} (--publish)"));
}

/// What is known from the command line alone, where the container was made by one.
fn silent(made: &Made, obstacles: &mut Obstacles) {
    let words = made.config.create_command.iter();
    // What follows the image is the container's own command.
    let words: Vec<_> = words
        .take_while(|word| **word != made.config.image)
        .collect();
    for (number, word) in words.iter().enumerate() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, value),
            None => match words.get(number + 1) {
                Some(value) => (word.as_str(), value.as_str()),
                None => continue,
            },
        };
        let known = SILENT_OPTIONS.iter().find(|(name, _)| *name == option);
        if let Some((name, what)) = known {
            let text = format!("{what} {value} ({name})");
            let told = obstacles.0.iter();
            let mut told = told.filter(|told| told.contains(name) && told.contains(value));
            let is_usual = *name == "--ipc" && value == "shareable";
            obstacles.when(told.next().is_none() && !is_usual, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn signals_are_the_same_by_name_and_number() {
        for value in [
            json!(15),
            json!("SIGTERM"),
            json!("15"),
            json!(""),
            Value::Null,
        ] {
            assert_eq!(signal(&value), "TERM", "{value}");
        }
        assert_eq!(signal(&json!(2)), signal(&json!("SIGINT")));
    }

    #[test]
    fn the_command_line_tells_what_is_not_shown() {
        let made: Made = serde_json::from_value(json!({ "Config": {
            "Image": "shop",
            "CreateCommand": ["podman", "run", "--sysctl", "a=1", "--ip=10.0.0.9", "shop",
                              "--sysctl", "no"],
        }}))
        .unwrap();
        let mut obstacles = Obstacles::default();
        silent(&made, &mut obstacles);
        assert_eq!(
            obstacles.0,
            [
                "kernel parameter a=1 (--sysctl)",
                "its address 10.0.0.9 (--ip)"
            ]
        );
    }
}
