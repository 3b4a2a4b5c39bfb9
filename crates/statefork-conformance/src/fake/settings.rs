//! From the settings of a request to those of a container: what is refused, what the image adds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use statefork_runtime::{
    ContainerSpec, EnvVar, ImageConfig, LaunchRequest, Limits, Mount, MountSource, Network,
    Protocol, Result, RuntimeError,
};

use super::files::{Layer, Mounted, Source, Tree, Volumes};
use super::names::check_object_name;
use super::program::Circumstances;

pub(super) fn invalid(what: String, reason: &str) -> RuntimeError {
    RuntimeError::Invalid {
        what,
        reason: reason.into(),
    }
}

/// What of a request can be judged without looking at anything.
pub(super) fn check(request: &LaunchRequest) -> Result<()> {
    check_object_name("container", &request.name)?;
    let spec = &request.spec;
    if spec.limits != Limits::default() {
        return Err(RuntimeError::Unsupported {
            op: "limit a container",
            reason: "the fake runs no processes that could be limited".into(),
        });
    }
    if let Some(hostname) = &spec.hostname
        && !(1..=64).contains(&hostname.len())
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
        return Err(invalid(
            format!("network {name:?}"),
            "the fake has no networks",
        ));
    }
    Ok(())
}

/// The command of a container. An entry point that is given drops the image's command too.
pub(super) fn argv(spec: &ContainerSpec, config: &ImageConfig) -> Result<Vec<String>> {
    let entrypoint = spec.entrypoint.as_ref().unwrap_or(&config.entrypoint);
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => command.as_slice(),
        (None, Some(_)) => &[],
        (None, None) => &config.command,
    };
    let argv: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    if argv.is_empty() {
        return Err(invalid(
            "an empty command".into(),
            "neither the settings nor the image name a program",
        ));
    }
    Ok(argv)
}

/// The circumstances of a container's first process.
pub(super) fn circumstances(
    spec: &ContainerSpec,
    config: &ImageConfig,
    short_id: &str,
    tree: &Tree,
) -> Result<Circumstances> {
    let mut env = BTreeMap::new();
    add_env(&mut env, &config.env)?;
    add_env(&mut env, &spec.env)?;
    let hostname = match (&spec.hostname, &spec.network) {
        (Some(hostname), _) => hostname.clone(),
        (None, Network::Host) => "host".to_owned(),
        (None, _) => short_id.to_owned(),
    };
    Ok(Circumstances {
        env,
        uid: uid(spec.user.as_deref().or(config.user.as_deref()))?,
        workdir: match (&spec.workdir, &config.workdir) {
            (Some(path), _) => workdir(path, tree)?,
            (None, Some(path)) => path.clone(),
            (None, None) => PathBuf::from("/"),
        },
        hostname,
        terminal: None,
        stdin: false,
    })
}

/// Adds variables, replacing those of the same name.
pub(super) fn add_env(env: &mut BTreeMap<String, String>, add: &[EnvVar]) -> Result<()> {
    for variable in add {
        let name = &variable.name;
        if name.is_empty() || name.contains(['=', '\0']) || variable.value.contains('\0') {
            return Err(invalid(
                format!("environment variable {name:?}"),
                "empty name, or NUL or = in it",
            ));
        }
        env.insert(name.clone(), variable.value.clone());
    }
    Ok(())
}

/// The number of a user; the fake knows numbers, `root` and `nobody`.
pub(super) fn uid(user: Option<&str>) -> Result<u32> {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return Ok(0);
    };
    let (name, group) = user.split_once(':').unwrap_or((user, "0"));
    let number = |name: &str| match name {
        "root" => Some(0),
        "nobody" => Some(65534),
        number => number.parse().ok(),
    };
    match (number(name), number(group)) {
        (Some(uid), Some(_)) => Ok(uid),
        _ => Err(invalid(format!("user {user:?}"), "no such user or group")),
    }
}

/// Checks a working directory that was asked for.
pub(super) fn workdir(path: &Path, tree: &Tree) -> Result<PathBuf> {
    if path.is_absolute() && tree.has_folder(path) {
        return Ok(path.to_owned());
    }
    Err(invalid(
        format!("working directory {}", path.display()),
        "no such folder in the container",
    ))
}

/// Mounts what was asked for, and a volume of its own at each path that the image declares.
pub(super) fn mount(
    tree: &mut Tree,
    volumes: &mut Volumes,
    mounts: &[Mount],
    declared: &[PathBuf],
) -> Result<()> {
    let mut targets = BTreeSet::new();
    let mut made = Vec::new();
    for mount in mounts {
        let target = &mount.target;
        let what = || format!("mount {}", target.display());
        if !target.is_absolute() || target == Path::new("/") {
            return Err(invalid(what(), "not an absolute path below the root"));
        }
        if !targets.insert(target.clone()) {
            return Err(invalid(what(), "mounted twice"));
        }
        let source = match &mount.source {
            MountSource::Bind(path) => {
                if !path.is_absolute() || !path.exists() {
                    return Err(invalid(
                        format!("bind mount of {}", path.display()),
                        "no such absolute path on the host",
                    ));
                }
                Source::Bind(path.clone())
            }
            MountSource::Volume(name) => {
                check_object_name("volume", name)?;
                Source::Named(name.clone())
            }
            MountSource::Tmpfs { .. } => Source::Memory(Layer::new()),
        };
        made.push(Mounted {
            path: target.clone(),
            source,
            read_only: mount.read_only,
        });
    }
    for path in declared.iter().filter(|path| !targets.contains(*path)) {
        made.push(Mounted {
            path: path.clone(),
            source: Source::Anonymous(tree.image_files_below(path)),
            read_only: false,
        });
    }
    for mounted in &made {
        if let Source::Named(name) = &mounted.source
            && !volumes.contains_key(name)
        {
            let files = tree.image_files_below(&mounted.path);
            let relative = files
                .into_iter()
                .filter_map(|(path, content)| {
                    Some((path.strip_prefix(&mounted.path).ok()?.to_owned(), content))
                })
                .collect();
            volumes.insert(name.clone(), relative);
        }
    }
    tree.mounts = made;
    Ok(())
}
