//! What the service says of the settings that a container was made with (libpod API,
//! `ContainerInspectLibpod`), the parts that [`describe`](crate::describe) has no use for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// A container, as somebody made it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image_name: String,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) pod: String,
    #[serde(rename = "OCIRuntime")]
    pub(crate) oci_runtime: String,
    pub(crate) bounding_caps: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network_settings: NetworkSettings,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Mount {
    pub(crate) r#type: String,
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    #[serde(rename = "RW")]
    pub(crate) writable: bool,
    pub(crate) propagation: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkSettings {
    pub(crate) networks: BTreeMap<String, Endpoint>,
    pub(crate) ports: BTreeMap<String, Vec<HostPort>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Endpoint {
    pub(crate) aliases: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostPort {
    pub(crate) host_ip: String,
    pub(crate) host_port: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) user: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) env: Vec<String>,
    pub(crate) cmd: Vec<String>,
    /// A text or a list, by version.
    pub(crate) entrypoint: Value,
    pub(crate) image: String,
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// A number or a name, by version.
    pub(crate) stop_signal: Value,
    pub(crate) stop_timeout: u64,
    pub(crate) healthcheck: Value,
    pub(crate) timezone: String,
    pub(crate) umask: String,
    pub(crate) timeout: u64,
    pub(crate) secrets: Vec<Value>,
    /// The command line, where it was Podman's own.
    pub(crate) create_command: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    pub(crate) network_mode: String,
    pub(crate) port_bindings: BTreeMap<String, Vec<HostPort>>,
    pub(crate) restart_policy: Named,
    pub(crate) log_config: LogConfig,
    pub(crate) auto_remove: bool,
    pub(crate) init: bool,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) group_add: Vec<String>,
    pub(crate) ipc_mode: String,
    pub(crate) pid_mode: String,
    #[serde(rename = "UTSMode")]
    pub(crate) uts_mode: String,
    pub(crate) userns_mode: String,
    pub(crate) cgroup_mode: String,
    pub(crate) cgroup_parent: String,
    pub(crate) cgroup_conf: BTreeMap<String, Value>,
    pub(crate) privileged: bool,
    pub(crate) readonly_rootfs: bool,
    pub(crate) security_opt: Vec<String>,
    pub(crate) tmpfs: BTreeMap<String, String>,
    pub(crate) shm_size: i64,
    pub(crate) devices: Vec<Device>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) memory: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) memory_swap: i64,
    pub(crate) memory_swappiness: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) cpu_period: i64,
    pub(crate) cpu_quota: i64,
    pub(crate) cpu_shares: i64,
    pub(crate) cpu_realtime_runtime: i64,
    pub(crate) cpuset_cpus: String,
    pub(crate) cpuset_mems: String,
    pub(crate) pids_limit: i64,
    pub(crate) oom_kill_disable: bool,
    pub(crate) oom_score_adj: i64,
    pub(crate) blkio_weight: i64,
    pub(crate) blkio_weight_device: Vec<Value>,
    pub(crate) blkio_device_read_bps: Vec<Value>,
    pub(crate) blkio_device_write_bps: Vec<Value>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub(crate) blkio_device_read_iops: Vec<Value>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub(crate) blkio_device_write_iops: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct LogConfig {
    pub(crate) r#type: String,
    pub(crate) tag: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Device {
    pub(crate) path_on_host: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// What of its image counts besides the contract's configuration.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageDefaults {
    pub(crate) healthcheck: Value,
    pub(crate) config: ImageSignal,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageSignal {
    pub(crate) stop_signal: String,
}

/// The service's own defaults.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) host: HostInfo,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HostInfo {
    pub(crate) cgroup_version: String,
    pub(crate) log_driver: String,
    pub(crate) oci_runtime: RuntimeInfo,
    pub(crate) security: SecurityInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeInfo {
    pub(crate) name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SecurityInfo {
    /// Separated by commas.
    pub(crate) capabilities: String,
}

/// Takes `null` away from objects: the service writes it for what is empty.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| (name, without_nulls(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}
