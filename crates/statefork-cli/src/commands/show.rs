//! `show`: one snapshot in full.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use statefork_core::Snapshot;
use statefork_runtime::{ContainerSpec, Limits, Mount, MountSource, Network};

use crate::call::Call;
use crate::documents::{self, NotHeldPaths};
use crate::failure::Result;
use crate::text::{Layout, fields, printable, size, time};

/// Show one snapshot in full
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork show HEAD~1")]
pub(crate) struct Show {
    /// The snapshot
    #[arg(value_name = "REV")]
    revision: String,
}

#[derive(Serialize)]
struct ShowDocument {
    #[serde(flatten)]
    node: documents::Node,
    spec: Spec,
    not_held: NotHeldPaths,
    /// The branches for which a container is prepared from it.
    standby: Vec<String>,
}

/// The container's settings. Of environment variables the names alone.
#[derive(Serialize)]
struct Spec {
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    env: Vec<String>,
    user: Option<String>,
    workdir: Option<PathBuf>,
    hostname: Option<String>,
    mounts: Vec<Mounted>,
    network: Network,
    limits: Limits,
    init: bool,
    no_new_privileges: Option<bool>,
}

#[derive(Serialize)]
struct Mounted {
    kind: &'static str,
    /// `None` for memory.
    source: Option<String>,
    size_bytes: Option<u64>,
    target: PathBuf,
    read_only: bool,
}

impl From<&ContainerSpec> for Spec {
    fn from(spec: &ContainerSpec) -> Self {
        Self {
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            env: spec.env.iter().map(|var| var.name.clone()).collect(),
            user: spec.user.clone(),
            workdir: spec.workdir.clone(),
            hostname: spec.hostname.clone(),
            mounts: spec.mounts.iter().map(Into::into).collect(),
            network: spec.network.clone(),
            limits: spec.limits,
            init: spec.init,
            no_new_privileges: spec.no_new_privileges,
        }
    }
}

impl From<&Mount> for Mounted {
    fn from(mount: &Mount) -> Self {
        let (kind, source, size_bytes) = match &mount.source {
            MountSource::Bind(path) => ("bind", Some(path.display().to_string()), None),
            MountSource::Volume(name) => ("volume", Some(name.clone()), None),
            MountSource::Tmpfs { size } => ("tmpfs", None, *size),
        };
        Self {
            kind,
            source,
            size_bytes,
            target: mount.target.clone(),
            read_only: mount.read_only,
        }
    }
}

impl Show {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let snapshot = opened.environment.show(&self.revision)?;
        let document = ShowDocument {
            node: documents::Node::of(&snapshot, opened.environment.runtime_name()),
            spec: (&snapshot.spec).into(),
            not_held: NotHeldPaths(snapshot.not_held.clone()),
            standby: opened.environment.prepared_for(&snapshot.id)?,
        };
        call.answer(
            || &document,
            |layout| shown(&snapshot, &document.standby, layout),
        )
    }
}

fn shown(snapshot: &Snapshot, standby: &[String], layout: Layout) -> String {
    let or_image = |value: Option<String>| value.unwrap_or_else(|| "as the image says".to_owned());
    let list = |list: Vec<String>| match list.is_empty() {
        true => "none".to_owned(),
        false => list.join("\n"),
    };
    let spec = Spec::from(&snapshot.spec);
    let mounts = spec.mounts.iter().map(|mount| {
        let suffix = if mount.read_only { " (read-only)" } else { "" };
        let source = match (&mount.source, mount.size_bytes) {
            (Some(source), _) => source.clone(),
            (None, None) => mount.kind.to_owned(),
            (None, Some(bytes)) => format!("{} of {}", mount.kind, size(bytes)),
        };
        format!("{source} at {}{suffix}", mount.target.display())
    });
    let not_held = snapshot.not_held.iter();
    let labels = snapshot.labels.iter();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    let words = |words: &Option<Vec<String>>| words.as_ref().map(shell_words::join);
    let mut shown = vec![
        ("id", snapshot.id.to_string()),
        (
            "parent",
            snapshot
                .parent
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
        ("kind", snapshot.kind.as_str().to_owned()),
        ("message", snapshot.message.clone().unwrap_or_default()),
        ("tags", list(snapshot.tags.clone())),
        ("labels", list(labels.collect())),
        ("head of", list(snapshot.branches.clone())),
        ("prepared for", list(standby.to_vec())),
        ("created", time(snapshot.created_at)),
        (
            "size",
            format!(
                "{}, {} of it alone",
                size(snapshot.size_bytes),
                size(snapshot.unique_bytes)
            ),
        ),
        ("entrypoint", or_image(words(&spec.entrypoint))),
        ("command", or_image(words(&spec.command))),
        ("variables", list(spec.env.clone())),
        ("user", or_image(spec.user.clone())),
        (
            "workdir",
            or_image(spec.workdir.as_ref().map(|path| path.display().to_string())),
        ),
        ("mounts", list(mounts.collect())),
        (
            "not held",
            list(
                not_held
                    .map(|path| path.path.display().to_string())
                    .collect(),
            ),
        ),
    ];
    for (_, value) in &mut shown {
        *value = printable(value);
    }
    fields(&shown, layout)
}

#[cfg(test)]
mod tests {
    use statefork_core::{Node, NotHeld};
    use statefork_runtime::{Capture, EnvVar, MountKind};

    use super::super::list::tests::{PLAIN, node};
    use super::*;

    fn with_secret() -> Snapshot {
        Snapshot {
            node: Node {
                message: Some("two\nlines".to_owned()),
                labels: [("ticket".to_owned(), "42".to_owned())].into(),
                ..node(None)
            },
            spec: ContainerSpec {
                command: Some(vec!["sh".to_owned(), "-c".to_owned(), "a b".to_owned()]),
                env: vec![EnvVar {
                    name: "TOKEN".to_owned(),
                    value: "s3cret".to_owned(),
                }],
                ..ContainerSpec::default()
            },
            not_held: vec![NotHeld {
                path: "/data".into(),
                kind: MountKind::Volume,
                writable: true,
            }],
            capture: Capture {
                format: 1,
                data: serde_json::Value::Null,
            },
            object: None,
        }
    }

    #[test]
    fn a_snapshot_in_full() {
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(shown(&with_secret(), &[], PLAIN), @r#"
            id            ID__________
            parent        none
            kind          filesystem
            message       two
                          lines
            tags          none
            labels        ticket=42
            head of       none
            prepared for  none
            created       2025-11-24 16:00:00Z
            size          16.40 MB, 16.40 MB of it alone
            entrypoint    as the image says
            command       sh -c 'a b'
            variables     TOKEN
            user          as the image says
            workdir       as the image says
            mounts        none
            not held      /data
            "#);
        });
    }

    #[test]
    fn no_value_of_an_environment_variable_is_in_the_document() {
        let snapshot = with_secret();
        let document = ShowDocument {
            node: documents::Node::of(&snapshot, "fake"),
            spec: (&snapshot.spec).into(),
            not_held: NotHeldPaths(snapshot.not_held.clone()),
            standby: Vec::new(),
        };
        let text = serde_json::to_string(&document).unwrap();
        assert!(text.contains("TOKEN") && !text.contains("s3cret"), "{text}");
    }
}
