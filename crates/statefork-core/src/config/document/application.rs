//! The keys of what `up` starts.

use std::collections::BTreeMap;

use statefork_runtime::{Mount, PortMapping};

use super::Document;
use crate::config::node::{Fault, Value};
use crate::config::read::{Field, Section};
use crate::config::value::{
    SourceFault, check_command, parse_command, parse_cpus, parse_hostname, parse_image,
    parse_machine_id, parse_mount, parse_mount_target, parse_mount_type, parse_network, parse_size,
    parse_user, parse_workdir, source_of,
};
use crate::config::{Build, Config, ValueKind};

/// The Dockerfile where none is named.
const DEFAULT_DOCKERFILE: &str = "Dockerfile";

pub(super) fn apply(
    document: &Document<'_>,
    root: &Section<'_>,
    config: &mut Config,
) -> Result<(), Fault> {
    root.one_of(&["image", "build"])?;
    let application = &mut config.application;
    if let Some(field) = root.get("image") {
        application.image = Some(field.parse(parse_image)?);
    }
    if let Some(field) = root.get("build") {
        application.build = Some(build(document, &field)?);
    }
    if let Some(field) = root.get("ports") {
        application.ports = ports(&field)?;
    }
    let spec = &mut application.spec;
    if let Some(field) = root.get("entrypoint") {
        spec.entrypoint = Some(command(&field)?);
    }
    if let Some(field) = root.get("command") {
        spec.command = Some(command(&field)?);
    }
    if let Some(field) = root.get("user") {
        spec.user = Some(field.parse_word(parse_user)?);
    }
    if let Some(field) = root.get("workdir") {
        spec.workdir = Some(field.parse(parse_workdir)?);
    }
    if let Some(field) = root.get("hostname") {
        spec.hostname = Some(field.parse_word(parse_hostname)?);
    }
    if let Some(field) = root.get("mounts") {
        spec.mounts = mounts(document, &field)?;
    }
    if let Some(field) = root.get("network") {
        spec.network = field.parse(parse_network)?;
    }
    if let Some(field) = root.get("memory") {
        spec.limits.memory = Some(field.parse_word(parse_size)?);
    }
    if let Some(field) = root.get("cpus") {
        spec.limits.cpus = Some(field.parse_word(parse_cpus)?);
    }
    if let Some(field) = root.get("init") {
        spec.init = field.truth()?;
    }
    if let Some(field) = root.get("no_new_privileges") {
        spec.no_new_privileges = Some(field.truth()?);
    }
    if let Some(field) = root.get("machine_id") {
        application.machine_id = field.parse(parse_machine_id)?;
    }
    Ok(())
}

fn build(document: &Document<'_>, field: &Field<'_>) -> Result<Build, Fault> {
    let section = field.section(&["context", "dockerfile", "args"])?;
    let context = section.need("context", "a context, the folder to build from")?;
    let dockerfile = match section.get("dockerfile") {
        Some(field) => dockerfile(&field)?,
        None => DEFAULT_DOCKERFILE.to_owned(),
    };
    let mut args = BTreeMap::new();
    if let Some(field) = section.get("args") {
        for arg in field.map()?.fields() {
            let name = arg.key.trim_start_matches("build.args.").to_owned();
            if name.is_empty() {
                return Err(arg.not("a name is needed", &name, ValueKind::Name));
            }
            args.insert(name, arg.word()?.to_owned());
        }
    }
    Ok(Build {
        context: document.file_path(&context)?,
        dockerfile,
        args,
    })
}

/// The builder takes a path in the context.
fn dockerfile(field: &Field<'_>) -> Result<String, Fault> {
    let text = field.text()?;
    if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let reason = "a path inside the context is needed, relative to it";
        return Err(field.not(reason, text, ValueKind::Path));
    }
    Ok(text.to_owned())
}

/// A text that is split as a shell does, or a list of words.
pub(super) fn command(field: &Field<'_>) -> Result<Vec<String>, Fault> {
    if !matches!(field.node.value, Value::List(_)) {
        return match &field.node.value {
            Value::Scalar { .. } if !field.is_nothing() => field.parse_word(parse_command),
            _ => Err(field.needs("a text or a list")),
        };
    }
    let words: Vec<String> = field
        .list()?
        .iter()
        .map(|word| word.word().map(ToOwned::to_owned))
        .collect::<Result<_, _>>()?;
    check_command(&words).map_err(|error| field.wrong(error))?;
    Ok(words)
}

fn ports(field: &Field<'_>) -> Result<Vec<PortMapping>, Fault> {
    let mut ports: Vec<PortMapping> = Vec::new();
    for item in field.list()? {
        let port = item.port_mapping()?;
        if ports.iter().any(|known| collide(known, &port)) {
            return Err(item.repeated(item.word()?));
        }
        ports.push(port);
    }
    Ok(ports)
}

/// Whether both cannot be listened on, or are the same twice.
fn collide(a: &PortMapping, b: &PortMapping) -> bool {
    let same_address = a.ip == b.ip || a.ip.is_unspecified() || b.ip.is_unspecified();
    a == b || (a.host != 0 && a.host == b.host && same_address)
}

fn mounts(document: &Document<'_>, field: &Field<'_>) -> Result<Vec<Mount>, Fault> {
    let mut mounts: Vec<Mount> = Vec::new();
    for item in field.list()? {
        let mount = match &item.node.value {
            Value::Map(_) => mount_of_map(document, &item)?,
            Value::Scalar { .. } => item.parse(|text| parse_mount(text, document.folder()))?,
            Value::List(_) => return Err(item.needs("a text or a map")),
        };
        if mounts.iter().any(|known| known.target == mount.target) {
            return Err(item.repeated(mount.target.display()));
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

fn mount_of_map(document: &Document<'_>, item: &Field<'_>) -> Result<Mount, Fault> {
    let section = item.section(&["type", "source", "target", "read_only", "size"])?;
    let kind = section.get("type");
    let kind = kind
        .map(|field| field.parse(parse_mount_type))
        .transpose()?;
    let (source, size) = (section.get("source"), section.get("size"));
    let text = source.as_ref().map(Field::text).transpose()?;
    let bytes = size.as_ref().map(|field| field.parse_word(parse_size));
    let found = source_of(kind, text, bytes.transpose()?, document.folder());
    let source = found.map_err(|fault| {
        let concerned = match fault {
            SourceFault::SizeOfOther => &size,
            _ => &source,
        };
        match concerned {
            Some(field) => field.not(
                fault.reason(),
                field.word().unwrap_or_default(),
                ValueKind::Mount,
            ),
            None => section.lacks("a source, a path or the name of a volume"),
        }
    })?;
    let target = section.need("target", "a target, a path in the container")?;
    Ok(Mount {
        source,
        target: target.parse(parse_mount_target)?,
        read_only: match section.get("read_only") {
            Some(field) => field.truth()?,
            None => false,
        },
    })
}
