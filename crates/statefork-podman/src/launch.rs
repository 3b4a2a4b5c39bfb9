//! From a launch request to libpod's create request (libpod API, `SpecGenerator`).

use std::collections::BTreeSet;
use std::path::Path;

use podman_api::models::{
    ContainerMount, LinuxCpu, LinuxMemory, LinuxResources, NamedVolume, Namespace, PortMapping,
    PosixRlimit,
};
use podman_api::opts::{ContainerCreateOpts, ImageVolumeMode};
use serde_json::{Value, json};
use statefork_runtime::{
    BoxError, ContainerSpec, EnvVar, LaunchRequest, Limits, Mount, MountSource, Network, Protocol,
    Result, RuntimeError,
};

use crate::name::check_object_name;

/// Period of the CPU quota, in µs.
const CPU_PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, in µs.
const CPU_QUOTA_MIN: f64 = 1_000.0;
/// Linux `HOST_NAME_MAX`.
const HOST_NAME_MAX: usize = 64;

fn invalid(what: impl Into<String>, reason: &str) -> RuntimeError {
    RuntimeError::Invalid {
        what: what.into(),
        reason: reason.into(),
    }
}

/// The create request for a container from `image`.
///
/// Errors: `Invalid` for what is wrong whatever the image and the service.
pub(crate) fn create_request(
    image: &str,
    request: &LaunchRequest,
    rlimits: Vec<PosixRlimit>,
) -> Result<Value> {
    check(request)?;
    let spec = &request.spec;
    let mut options = ContainerCreateOpts::builder()
        .image(image)
        .name(&request.name)
        .labels(&request.labels)
        .image_volume_mode(ImageVolumeMode::Ignore)
        .env(spec.env.iter().map(|var| (&var.name, &var.value)))
        .net_namespace(Namespace {
            nsmode: Some(network(&spec.network).into()),
            value: None,
        })
        .portmappings(request.publish.iter().map(|port| PortMapping {
            container_port: Some(port.port),
            host_ip: Some("127.0.0.1".into()),
            // Podman takes a free one.
            host_port: Some(0),
            protocol: Some("tcp".into()),
            range: None,
        }))
        .r_limits(rlimits);
    if let Some(entrypoint) = &spec.entrypoint {
        options = options.entrypoint(entrypoint);
    }
    if let Some(command) = &spec.command {
        options = options.command(command);
    }
    if let Some(user) = &spec.user {
        options = options.user(user.as_str());
    }
    if let Some(path) = &spec.workdir {
        options = options.work_dir(text(path)?);
    }
    if let Some(hostname) = &spec.hostname {
        options = options.hostname(hostname.as_str());
    }
    if let Network::Named(name) = &spec.network {
        options = options.networks([(name, json!({}))]);
    }
    if let Some(resources) = resources(&spec.limits)? {
        options = options.resource_limits(resources);
    }
    let (mut binds, mut volumes) = (Vec::new(), Vec::new());
    for mount in &spec.mounts {
        match &mount.source {
            MountSource::Bind(source) => binds.push(bind(source, mount)?),
            MountSource::Volume(name) => volumes.push(volume(name, mount)?),
            MountSource::Tmpfs { size } => binds.push(tmpfs(*size, mount)?),
        }
    }
    let options = options.mounts(binds).volumes(volumes).build();
    let unspelled = |source: BoxError| RuntimeError::Daemon {
        op: "create a container",
        status: None,
        message: "the request cannot be written".into(),
        source: Some(source),
    };
    let text = options
        .serialize()
        .map_err(|error| unspelled(error.into()))?;
    let mut body: Value = serde_json::from_str(&text).map_err(|error| unspelled(error.into()))?;
    // podman-api spells the driver in a way that the service ignores.
    body["log_configuration"] = json!({ "driver": "k8s-file" });
    if spec.init {
        body["init"] = json!(true);
    }
    if let Some(on) = spec.no_new_privileges {
        body["no_new_privileges"] = json!(on);
    }
    Ok(body)
}

fn check(request: &LaunchRequest) -> Result<()> {
    check_object_name("container", &request.name)?;
    let spec = &request.spec;
    check_env(&spec.env)?;
    if let Some(hostname) = &spec.hostname
        && !(1..=HOST_NAME_MAX).contains(&hostname.len())
    {
        return Err(invalid(
            format!("host name {hostname:?}"),
            "not 1 to 64 bytes",
        ));
    }
    for port in &request.publish {
        if port.protocol != Protocol::Tcp || port.port == 0 {
            return Err(invalid(format!("port {port}"), "not a TCP port"));
        }
        if !spec.network.has_addresses() {
            return Err(invalid(
                format!("port {port}"),
                "a container without an address of its own publishes no ports",
            ));
        }
    }
    if let Network::Named(name) = &spec.network {
        check_object_name("network", name)?;
    }
    check_mounts(spec)
}

fn check_mounts(spec: &ContainerSpec) -> Result<()> {
    let mut targets = BTreeSet::new();
    for mount in &spec.mounts {
        let target = &mount.target;
        let what = || format!("mount {}", target.display());
        if !target.is_absolute() || target == Path::new("/") {
            return Err(invalid(what(), "not an absolute path below the root"));
        }
        if !targets.insert(target) {
            return Err(invalid(what(), "mounted twice"));
        }
        match &mount.source {
            MountSource::Bind(path) if !path.is_absolute() => {
                let what = format!("bind mount of {}", path.display());
                return Err(invalid(what, "not an absolute path of the host"));
            }
            MountSource::Tmpfs { size: Some(0) } => {
                return Err(invalid(what(), "a tmpfs of 0 bytes"));
            }
            MountSource::Bind(_) | MountSource::Tmpfs { .. } => {}
            MountSource::Volume(name) => check_object_name("volume", name)?,
        }
    }
    Ok(())
}

/// Checks environment variables.
pub(crate) fn check_env(env: &[EnvVar]) -> Result<()> {
    for variable in env {
        let name = &variable.name;
        if name.is_empty() || name.contains(['=', '\0']) || variable.value.contains('\0') {
            return Err(invalid(
                format!("environment variable {name:?}"),
                "empty name, or NUL or = in it",
            ));
        }
    }
    Ok(())
}

fn network(network: &Network) -> &'static str {
    match network {
        Network::Bridge | Network::Named(_) => "bridge",
        Network::None => "none",
        Network::Host => "host",
    }
}

/// libpod takes paths as text.
fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| invalid(format!("path {}", path.display()), "not UTF-8"))
}

fn access(mount: &Mount) -> String {
    if mount.read_only { "ro" } else { "rw" }.into()
}

fn bind(source: &Path, mount: &Mount) -> Result<ContainerMount> {
    Ok(ContainerMount {
        destination: Some(text(&mount.target)?.into()),
        options: Some(vec!["rbind".into(), access(mount)]),
        source: Some(text(source)?.into()),
        _type: Some("bind".into()),
        uid_mappings: None,
        gid_mappings: None,
    })
}

fn tmpfs(size: Option<u64>, mount: &Mount) -> Result<ContainerMount> {
    let mut options = vec![access(mount), "nosuid".into(), "nodev".into()];
    options.extend(size.map(|bytes| format!("size={bytes}")));
    Ok(ContainerMount {
        destination: Some(text(&mount.target)?.into()),
        options: Some(options),
        source: Some("tmpfs".into()),
        _type: Some("tmpfs".into()),
        uid_mappings: None,
        gid_mappings: None,
    })
}

fn volume(name: &str, mount: &Mount) -> Result<NamedVolume> {
    Ok(NamedVolume {
        dest: Some(text(&mount.target)?.into()),
        is_anonymous: None,
        name: Some(name.into()),
        options: Some(vec![access(mount)]),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked just before"
)]
fn resources(limits: &Limits) -> Result<Option<LinuxResources>> {
    if *limits == Limits::default() {
        return Ok(None);
    }
    let memory = limits
        .memory
        .map(|bytes| {
            i64::try_from(bytes)
                .ok()
                .filter(|&bytes| bytes > 0)
                .ok_or_else(|| invalid(format!("memory limit {bytes}"), "no number of bytes"))
        })
        .transpose()?;
    let quota = limits
        .cpus
        .map(|cpus| {
            let quota = cpus * CPU_PERIOD as f64;
            if (CPU_QUOTA_MIN..1e15).contains(&quota) {
                Ok(quota as i64)
            } else {
                let what = format!("CPU limit {cpus}");
                Err(invalid(what, "less than 0.01 processors, or no number"))
            }
        })
        .transpose()?;
    Ok(Some(LinuxResources {
        block_io: None,
        cpu: quota.map(|quota| LinuxCpu {
            cpus: None,
            mems: None,
            period: Some(CPU_PERIOD),
            quota: Some(quota),
            realtime_period: None,
            realtime_runtime: None,
            shares: None,
        }),
        devices: None,
        hugepage_limits: None,
        memory: memory.map(|limit| LinuxMemory {
            disable_oom_killer: None,
            kernel: None,
            kernel_tcp: None,
            limit: Some(limit),
            reservation: None,
            swap: None,
            swappiness: None,
            use_hierarchy: None,
        }),
        network: None,
        pids: None,
        rdma: None,
        unified: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: ContainerSpec) -> String {
        let request = LaunchRequest {
            name: "c".into(),
            spec,
            labels: statefork_runtime::Labels::new(),
            publish: Vec::new(),
        };
        create_request("i", &request, Vec::new())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        for cpus in [0.0, -1.0, 0.001, f64::NAN, f64::INFINITY] {
            let limits = Limits {
                memory: None,
                cpus: Some(cpus),
            };
            let spec = ContainerSpec {
                limits,
                ..ContainerSpec::default()
            };
            assert!(refused(spec).contains("CPU limit"));
        }
        let mount = Mount {
            source: MountSource::Volume("v".into()),
            target: "/m".into(),
            read_only: false,
        };
        let spec = ContainerSpec {
            mounts: vec![mount.clone(), mount],
            ..ContainerSpec::default()
        };
        assert_eq!(refused(spec), "use mount /m: mounted twice");
    }
}
