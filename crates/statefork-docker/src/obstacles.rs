//! What of a container made by hand the contract's settings cannot say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    HostConfigCgroupnsModeEnum as CgroupNamespace, RestartPolicyNameEnum as Restart,
    SystemInfoCgroupVersionEnum as CgroupVersion,
};
use statefork_runtime::Network;

use crate::adopt::{self, Made};
use crate::describe;

/// The daemon's own size of `/dev/shm`, in bytes.
const SHM_SIZE: i64 = 64 << 20;
/// The daemon's own wait for the end of a process that was asked to stop, in seconds.
const STOP_TIMEOUT: i64 = 10;
/// The mode of a tmpfs that is given none.
const TMPFS_MODE: i64 = 0o1777;
/// How many digits of its id a container has as a name on its networks.
const SHORT_ID: usize = 12;

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
        self.0
            .extend(items.into_iter().map(|item| text(item.as_ref())));
    }

    /// A number that is not 0.
    fn number(&mut self, number: Option<i64>, what: &str) {
        if let Some(number) = number.filter(|number| *number != 0) {
            self.0.push(format!("{what}={number})"));
        }
    }

    /// A text that is not empty.
    fn text(&mut self, text: &Option<String>, what: &str) {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            self.0.push(format!("{what} {text})"));
        }
    }
}

fn list(items: &Option<Vec<String>>) -> impl Iterator<Item = &String> {
    items.iter().flatten()
}

fn keys<T>(map: &Option<HashMap<String, T>>) -> BTreeSet<&String> {
    map.iter().flat_map(HashMap::keys).collect()
}

/// All obstacles of a container that is to be on `network`.
pub(crate) fn of(made: &Made<'_>, network: &Network) -> Vec<String> {
    let mut obstacles = Obstacles::default();
    rights(made, &mut obstacles);
    namespaces(made, &mut obstacles);
    resources(made, &mut obstacles);
    life(made, &mut obstacles);
    files(made, &mut obstacles);
    joined(made, network, &mut obstacles);
    obstacles.0
}

fn rights(made: &Made<'_>, obstacles: &mut Obstacles) {
    let host = made.host;
    let privileged = host.privileged == Some(true);
    obstacles.when(privileged, "all rights on the host (--privileged)");
    obstacles.each(list(&host.cap_add), |name| {
        format!("the added capability {name} (--cap-add)")
    });
    obstacles.each(list(&host.cap_drop), |name| {
        format!("the lack of capability {name} (--cap-drop)")
    });
    let devices = host.devices.iter().flatten();
    let devices = devices.filter_map(|device| device.path_on_host.as_ref());
    obstacles.each(devices, |path| format!("device {path} (--device)"));
    obstacles.each(list(&host.device_cgroup_rules), |rule| {
        format!("the rule {rule:?} for devices (--device-cgroup-rule)")
    });
    let requested = host
        .device_requests
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    obstacles.when(requested, "devices of a driver (--gpus)");
    obstacles.each(list(&host.group_add), |group| {
        format!("the further group {group} (--group-add)")
    });
    // For what shares so much the daemon takes labels away by itself.
    let of_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let unlabelled = privileged || of_host(&host.pid_mode) || of_host(&host.ipc_mode);
    let options = list(&host.security_opt);
    let options = options.filter(|option| {
        !(unlabelled && *option == "label=disable")
            && statefork_runtime::no_new_privileges(option).is_none()
    });
    obstacles.each(options, |option| {
        format!("security option {option} (--security-opt)")
    });
    let is_open = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(Vec::is_empty);
    let open = is_open(&host.masked_paths) && is_open(&host.readonly_paths);
    obstacles.when(
        open && !privileged,
        "access to all of /proc and /sys (--security-opt systempaths=unconfined)",
    );
    obstacles.each(keys(&host.sysctls), |name| {
        format!("kernel parameter {name} (--sysctl)")
    });
}

fn namespaces(made: &Made<'_>, obstacles: &mut Obstacles) {
    let (host, config) = (made.host, made.config);
    obstacles.text(&host.pid_mode, "the shared process ids (--pid");
    let ipc = host.ipc_mode.clone().filter(|mode| mode != "private");
    obstacles.text(&ipc, "the other interprocess communication (--ipc");
    obstacles.text(&host.uts_mode, "the shared host name (--uts");
    obstacles.text(&host.userns_mode, "the other user namespace (--userns");
    let usual = match made.info.cgroup_version {
        Some(CgroupVersion::_2) if host.privileged != Some(true) => CgroupNamespace::PRIVATE,
        _ => CgroupNamespace::HOST,
    };
    let cgroups = host
        .cgroupns_mode
        .filter(|mode| *mode != CgroupNamespace::EMPTY);
    if let Some(mode) = cgroups.filter(|mode| *mode != usual) {
        obstacles
            .0
            .push(format!("the other cgroup namespace (--cgroupns {mode})"));
    }
    obstacles.text(&config.domainname, "the domain name (--domainname");
}

fn resources(made: &Made<'_>, obstacles: &mut Obstacles) {
    let host = made.host;
    for limit in host.ulimits.iter().flatten() {
        let (name, number) = (
            limit.name.as_deref().unwrap_or_default(),
            |n: Option<i64>| n.unwrap_or_default(),
        );
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        obstacles
            .0
            .push(format!("the limit {name}={soft}:{hard} (--ulimit)"));
    }
    let memory = host.memory.unwrap_or_default();
    let swap = host.memory_swap.unwrap_or_default();
    // Where the kernel cannot limit it, the daemon says so with -1.
    let is_usual = [0, memory.saturating_mul(2)].contains(&swap)
        || (swap == -1 && made.info.swap_limit != Some(true));
    obstacles.when(
        !is_usual,
        format!("the limit on swap (--memory-swap={swap})"),
    );
    obstacles.number(
        host.memory_reservation,
        "the soft limit on memory (--memory-reservation",
    );
    let swappiness = host.memory_swappiness.filter(|number| *number >= 0);
    if let Some(number) = swappiness {
        obstacles
            .0
            .push(format!("the swappiness (--memory-swappiness={number})"));
    }
    let processes = host.pids_limit.filter(|number| *number > 0);
    obstacles.number(processes, "the limit on processes (--pids-limit");
    obstacles.number(host.cpu_shares, "the weight of processors (--cpu-shares");
    obstacles.text(&host.cpuset_cpus, "the choice of processors (--cpuset-cpus");
    obstacles.text(
        &host.cpuset_mems,
        "the choice of memory nodes (--cpuset-mems",
    );
    obstacles.number(
        host.cpu_realtime_runtime,
        "the real-time share (--cpu-rt-runtime",
    );
    obstacles.number(
        host.blkio_weight.map(i64::from),
        "the weight of disks (--blkio-weight",
    );
    let throttled = [
        host.blkio_device_read_bps.as_ref().map(Vec::len),
        host.blkio_device_write_bps.as_ref().map(Vec::len),
        host.blkio_device_read_iops.as_ref().map(Vec::len),
        host.blkio_device_write_iops.as_ref().map(Vec::len),
        host.blkio_weight_device.as_ref().map(Vec::len),
    ];
    let throttled = throttled.iter().flatten().any(|count| *count > 0);
    obstacles.when(
        throttled,
        "limits on disks (--device-read-bps and the like)",
    );
    obstacles.number(
        host.oom_score_adj,
        "the rank in lack of memory (--oom-score-adj",
    );
    let spared = host.oom_kill_disable == Some(true);
    obstacles.when(
        spared,
        "being spared in lack of memory (--oom-kill-disable)",
    );
    obstacles.text(&host.cgroup_parent, "the parent cgroup (--cgroup-parent");
    let is_own = host.ipc_mode.as_deref() != Some("host");
    let shm = host.shm_size.filter(|size| is_own && *size != SHM_SIZE);
    obstacles.number(shm, "the size of /dev/shm (--shm-size");
    obstacles.each(keys(&host.storage_opt), |name| {
        format!("storage option {name} (--storage-opt)")
    });
}

fn life(made: &Made<'_>, obstacles: &mut Obstacles) {
    let Made {
        host,
        config,
        base,
        info,
        ..
    } = made;
    let policy = host.restart_policy.as_ref().and_then(|policy| policy.name);
    let policy = policy.filter(|name| !matches!(name, Restart::EMPTY | Restart::NO));
    if let Some(name) = policy {
        obstacles
            .0
            .push(format!("the restart policy (--restart {name})"));
    }
    obstacles.when(
        host.auto_remove == Some(true),
        "the removal at its end (--rm)",
    );
    let check = |check: &Option<bollard::models::HealthConfig>| {
        let given = |test: &Vec<String>| !test.is_empty() && test[0] != "NONE";
        check
            .clone()
            .filter(|check| check.test.as_ref().is_some_and(given))
    };
    let differs = check(&config.healthcheck) != check(&base.healthcheck);
    obstacles.when(differs, "the health check (--health-cmd and the like)");
    let signal = |signal: &Option<String>| {
        let given = signal
            .clone()
            .filter(|signal| !signal.is_empty() && signal != "15");
        given.unwrap_or_else(|| "SIGTERM".to_owned())
    };
    let own = signal(&config.stop_signal);
    let differs = own != signal(&base.stop_signal);
    obstacles.when(differs, format!("the stop signal (--stop-signal {own})"));
    let wait = config
        .stop_timeout
        .filter(|seconds| *seconds != STOP_TIMEOUT);
    if let Some(seconds) = wait {
        obstacles
            .0
            .push(format!("the time to stop (--stop-timeout={seconds})"));
    }
    obstacles.when(config.tty == Some(true), "the terminal (--tty)");
    obstacles.when(
        config.open_stdin == Some(true),
        "the open standard input (--interactive)",
    );
    let runtime = host
        .runtime
        .clone()
        .filter(|name| Some(name) != info.default_runtime.as_ref());
    obstacles.text(&runtime, "the OCI runtime (--runtime");
    let logs = host.log_config.as_ref().and_then(|logs| logs.typ.clone());
    let logs = logs.filter(|name| Some(name) != info.logging_driver.as_ref());
    obstacles.text(&logs, "the place of its output (--log-driver");
    let removed = list(&config.env).filter(|entry| describe::variable(entry).is_none());
    obstacles.each(removed, |name| {
        format!("the lack of variable {name} (--env {name})")
    });
    let images: BTreeMap<_, _> = base.labels.iter().flatten().collect();
    let labels: BTreeMap<_, _> = config.labels.iter().flatten().collect();
    let labels = labels.into_iter().filter(|(name, value)| {
        // Ours are made anew.
        !name.starts_with("dev.statefork.") && images.get(name) != Some(value)
    });
    obstacles.each(labels.map(|(name, _)| name), |name| {
        format!("label {name} (--label)")
    });
    obstacles.each(keys(&host.annotations), |name| {
        format!("annotation {name} (--annotation)")
    });
}

fn files(made: &Made<'_>, obstacles: &mut Obstacles) {
    let host = made.host;
    let read_only = host.readonly_rootfs == Some(true);
    obstacles.when(read_only, "the read-only root file system (--read-only)");
    let mounts = || made.found.mounts.iter().flatten();
    let kind = |kind| mounts().filter(move |mount| mount.typ.as_deref() == Some(kind));
    let memory: BTreeMap<_, _> = host.tmpfs.iter().flatten().collect();
    for (path, options) in memory {
        obstacles.each(adopt::tmpfs_options(options).others, |option| {
            format!("option {option} of the memory at {path} (--tmpfs)")
        });
    }
    let known = ["bind", "volume", "tmpfs"];
    for mount in mounts() {
        let path = mount.destination.as_deref().unwrap_or_default();
        let typ = mount.typ.as_deref().unwrap_or_default();
        obstacles.when(
            !known.contains(&typ),
            format!("mount {path} of type {typ:?} (--mount)"),
        );
    }
    for mount in kind("bind") {
        let path = mount.destination.as_deref().unwrap_or_default();
        let mode = mount.propagation.as_deref().unwrap_or_default();
        let usual = ["", "rprivate"].contains(&mode);
        obstacles.when(
            !usual,
            format!("propagation {mode} of mount {path} (--volume)"),
        );
    }
    for mount in host.mounts.iter().flatten() {
        let options = mount.volume_options.as_ref();
        let inner = options.and_then(|options| options.subpath.clone());
        let path = mount.target.as_deref().unwrap_or_default();
        let mode = mount.tmpfs_options.as_ref().and_then(|o| o.mode);
        if let Some(mode) = mode.filter(|mode| ![0, TMPFS_MODE].contains(mode)) {
            obstacles.0.push(format!(
                "the mode of the memory at {path} (--mount tmpfs-mode={mode:o})"
            ));
        }
        obstacles.text(
            &inner,
            &format!("the part of a volume at {path} (--mount volume-subpath"),
        );
    }
}

fn joined(made: &Made<'_>, network: &Network, obstacles: &mut Obstacles) {
    let host = made.host;
    let mode = host.network_mode.as_deref().unwrap_or_default();
    let of = mode.strip_prefix("container:");
    obstacles.each(of, |other| {
        format!("the shared network of container {other} (--network)")
    });
    let own = match network {
        Network::Named(name) => name.as_str(),
        Network::Bridge => "bridge",
        Network::None => "none",
        Network::Host => "host",
    };
    let id = made.found.id.as_deref().unwrap_or_default();
    let name = describe::name(made.found);
    if let Network::Named(network) = network {
        obstacles
            .0
            .push(format!("its name {name} on network {network} (--name)"));
    }
    for (network, endpoint) in adopt::networks(made) {
        obstacles.when(
            network != own,
            format!("the further network {network} (--network)"),
        );
        // The daemon adds the beginning of the id, later ones the name, too.
        let aliases = list(&endpoint.aliases);
        let given =
            aliases.filter(|alias| Some(alias.as_str()) != id.get(..SHORT_ID) && *alias != name);
        obstacles.each(given, |alias| {
            format!("its name {alias} on network {network} (--network-alias)")
        });
        let addresses = endpoint.ipam_config.as_ref();
        let four = addresses.and_then(|config| config.ipv4_address.clone());
        let six = addresses.and_then(|config| config.ipv6_address.clone());
        obstacles.text(&four, &format!("its address on network {network} (--ip"));
        obstacles.text(&six, &format!("its address on network {network} (--ip6"));
        obstacles.each(list(&endpoint.links), |link| {
            format!("link {link} (--link)")
        });
    }
    obstacles.each(list(&host.links), |link| format!("link {link} (--link)"));
    obstacles.each(list(&host.extra_hosts), |entry| {
        format!("host {entry} (--add-host)")
    });
    obstacles.each(list(&host.dns), |server| {
        format!("name server {server} (--dns)")
    });
    obstacles.each(list(&host.dns_search), |domain| {
        format!("search domain {domain} (--dns-search)")
    });
    obstacles.each(list(&host.dns_options), |option| {
        format!("name server option {option} (--dns-option)")
    });
    let ports: BTreeSet<_> = adopt::bindings(made)
        .flatten()
        .filter(|(port, hosts)| !port.ends_with("/tcp") && hosts.is_some())
        .map(|(port, _)| port)
        .collect();
    obstacles.each(ports, |port| format!("port {port} (--publish)"));
}
