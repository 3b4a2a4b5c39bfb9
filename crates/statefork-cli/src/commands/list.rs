//! `list`: the snapshots.

use clap::Args;
use serde::Serialize;
use statefork_core::Node;

use crate::call::Call;
use crate::documents;
use crate::failure::Result;
use crate::filter::{Filter, Filters};
use crate::text::{Layout, first_line, size, table, time};

/// List the snapshots, oldest first
#[derive(Debug, Args)]
#[command(
    after_help = "Filters, all of which must hold:\n  label=KEY, label=KEY=VALUE\n  branch=NAME     \
                  the branch's head and its ancestors\n  since=WHEN      made then or later: a time, \
                  a date, or how long ago\n  before=WHEN     made earlier\n\nExample:\n  statefork \
                  list\n  statefork list --filter label=ticket=42 --filter since=2h\n  statefork \
                  --json list"
)]
pub(crate) struct List {
    /// Only those that fit; may be given several times
    #[arg(long, value_name = "FILTER")]
    filter: Vec<Filter>,
}

#[derive(Serialize)]
struct ListDocument {
    snapshots: Vec<documents::Node>,
}

impl List {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let all = opened.environment.list()?;
        let is_empty = all.is_empty();
        let nodes = Filters(&self.filter).choose(all)?;
        let runtime = opened.environment.runtime_name();
        let document = || ListDocument {
            snapshots: nodes
                .iter()
                .map(|node| documents::Node::of(node, runtime))
                .collect(),
        };
        call.answer(document, |layout| shown(&nodes, layout))?;
        if is_empty && !call.session.output.json {
            call.session
                .output
                .remark("no snapshots: `statefork up IMAGE` makes the first");
        }
        Ok(())
    }
}

/// The names that lead to a snapshot; a branch has a star.
pub(super) fn names(node: &Node) -> Vec<String> {
    let branches = node.branches.iter().map(|branch| format!("{branch}*"));
    node.tags.iter().cloned().chain(branches).collect()
}

/// The message's first line, and whether the runtime lacks what the snapshot needs.
fn about(node: &Node) -> String {
    let message = node.message.as_deref().map_or_else(String::new, first_line);
    match node.intact {
        Some(false) if message.is_empty() => "(missing)".to_owned(),
        Some(false) => format!("(missing) {message}"),
        _ => message,
    }
}

fn shown(nodes: &[Node], layout: Layout) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    let rows = nodes.iter().map(|node| {
        [
            node.id.to_string(),
            node.parent
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            names(node).join(" "),
            time(node.created_at),
            size(node.size_bytes),
            about(node),
        ]
    });
    table(
        ["ID", "PARENT", "NAMES", "CREATED", "SIZE", "MESSAGE"],
        rows,
        layout,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;
    use statefork_core::{SnapshotId, SnapshotKind};

    use super::*;
    use crate::style::Style;

    pub(in crate::commands) const PLAIN: Layout = Layout {
        style: Style::PLAIN,
        width: None,
    };

    pub(crate) fn node(parent: Option<&Node>) -> Node {
        Node {
            id: SnapshotId::random(),
            parent: parent.map(|parent| parent.id.clone()),
            kind: SnapshotKind::Filesystem,
            message: None,
            tags: Vec::new(),
            branches: Vec::new(),
            labels: BTreeMap::new(),
            created_at: Timestamp::UNIX_EPOCH + Duration::from_micros(1_764_000_000_123_456),
            size_bytes: 16_400_000,
            unique_bytes: 16_400_000,
            intact: None,
        }
    }

    #[test]
    fn snapshots_are_a_table() {
        let base = Node {
            tags: vec!["base".to_owned()],
            ..node(None)
        };
        let child = Node {
            tags: vec!["v1".to_owned()],
            branches: vec!["main".to_owned()],
            intact: Some(false),
            message: Some("it's \"done\"\nand more".to_owned()),
            ..node(Some(&base))
        };
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(shown(&[base, child], PLAIN), @r#"
            ID            PARENT        NAMES     CREATED               SIZE      MESSAGE
            ID__________  -             base      2025-11-24 16:00:00Z  16.40 MB
            ID__________  ID__________  v1 main*  2025-11-24 16:00:00Z  16.40 MB  (missing) it's "done" …
            "#);
        });
        assert_eq!(shown(&[], PLAIN), "");
    }
}
