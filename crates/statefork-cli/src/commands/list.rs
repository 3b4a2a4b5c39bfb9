//! `list`: the snapshots.

use clap::Args;
use serde::Serialize;
use statefork_core::Snapshot;

use crate::call::Call;
use crate::documents::Node;
use crate::failure::Result;
use crate::text::{Layout, first_line, size, table, time};

/// List the snapshots, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork list\n  statefork --json list")]
pub(crate) struct List {}

#[derive(Serialize)]
struct ListDocument {
    snapshots: Vec<Node>,
}

impl List {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let snapshots = opened.environment.list()?;
        let runtime = opened.environment.runtime_name();
        let document = || ListDocument {
            snapshots: snapshots
                .iter()
                .map(|snapshot| Node::of(snapshot, runtime))
                .collect(),
        };
        call.answer(document, |layout| shown(&snapshots, layout))?;
        if snapshots.is_empty() && !call.session.output.json {
            call.session
                .output
                .remark("no snapshots: `statefork up IMAGE` makes the first");
        }
        Ok(())
    }
}

fn shown(snapshots: &[Snapshot], layout: Layout) -> String {
    if snapshots.is_empty() {
        return String::new();
    }
    let rows = snapshots.iter().map(|snapshot| {
        let mut names = snapshot.tags.clone();
        for branch in &snapshot.branches {
            names.push(format!("{branch}*"));
        }
        [
            snapshot.id.to_string(),
            snapshot
                .parent
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            names.join(" "),
            time(snapshot.created_at),
            size(snapshot.size_bytes),
            snapshot
                .message
                .as_deref()
                .map_or_else(String::new, first_line),
        ]
    });
    table(
        ["ID", "PARENT", "NAMES", "CREATED", "SIZE", "MESSAGE"],
        rows,
        layout,
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use statefork_core::{SnapshotId, SnapshotKind};
    use statefork_runtime::{Capture, ContainerSpec};

    use super::*;
    use crate::style::Style;

    pub(in crate::commands) const PLAIN: Layout = Layout {
        style: Style::PLAIN,
        width: None,
    };

    pub(in crate::commands) fn snapshot(parent: Option<&Snapshot>) -> Snapshot {
        Snapshot {
            id: SnapshotId::random(),
            parent: parent.map(|parent| parent.id.clone()),
            kind: SnapshotKind::Filesystem,
            message: None,
            tags: Vec::new(),
            branches: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH + Duration::from_micros(1_764_000_000_123_456),
            size_bytes: 16_400_000,
            unique_bytes: 16_400_000,
            spec: ContainerSpec::default(),
            not_held: Vec::new(),
            capture: Capture {
                format: 1,
                data: serde_json::Value::Null,
            },
        }
    }

    #[test]
    fn snapshots_are_a_table() {
        let base = Snapshot {
            tags: vec!["base".to_owned()],
            ..snapshot(None)
        };
        let child = Snapshot {
            branches: vec!["main".to_owned()],
            message: Some("it's \"done\"\nand more".to_owned()),
            ..snapshot(Some(&base))
        };
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(shown(&[base, child], PLAIN), @r#"
            ID            PARENT        NAMES  CREATED               SIZE      MESSAGE
            ID__________  -             base   2025-11-24 16:00:00Z  16.40 MB
            ID__________  ID__________  main*  2025-11-24 16:00:00Z  16.40 MB  it's "done" …
            "#);
        });
        assert_eq!(shown(&[], PLAIN), "");
    }
}
