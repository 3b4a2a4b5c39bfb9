//! `tag`: names for snapshots.

use clap::Args;
use serde::Serialize;
use statefork_core::Node;

use crate::call::Call;
use crate::failure::Result;
use crate::text::{Layout, first_line, table};

/// Name a snapshot, remove a name, or list the names
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  statefork tag\n  statefork tag v1 HEAD~2\n  statefork tag -f v1\n  \
                        statefork tag -d v1"
)]
pub(crate) struct Tag {
    /// The name; without one, all are listed
    #[arg(value_name = "NAME")]
    tag: Option<String>,
    /// The snapshot; HEAD unless given
    #[arg(value_name = "REV")]
    revision: Option<String>,
    /// Remove the name; the snapshot stays
    #[arg(short, long, requires = "tag", conflicts_with = "revision")]
    delete: bool,
    /// Move a name that is there
    #[arg(short, long, requires = "tag", conflicts_with = "delete")]
    force: bool,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    tags: Vec<Tagged<'a>>,
}

#[derive(Serialize)]
struct Tagged<'a> {
    name: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct DeleteDocument<'a> {
    deleted: &'a str,
}

impl Tag {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let Some(name) = &self.tag else {
            return list(call);
        };
        let environment = call.open()?.environment;
        if self.delete {
            environment.untag(name).await?;
            return call.answer(
                || DeleteDocument { deleted: name },
                |_| format!("removed tag {name}\n"),
            );
        }
        let revision = self.revision.as_deref().unwrap_or("HEAD");
        let id = environment.tag(name, revision, self.force).await?;
        let id = id.as_str();
        call.answer(|| Tagged { name, id }, |_| format!("{name} is {id}\n"))
    }
}

fn list(call: &Call<'_>) -> Result<()> {
    let nodes = call.read()?.environment.list()?;
    let tags = sorted(&nodes);
    let document = || ListDocument {
        tags: tags
            .iter()
            .map(|(name, node)| Tagged {
                name,
                id: node.id.as_str(),
            })
            .collect(),
    };
    call.answer(document, |layout| shown(&tags, layout))
}

/// The tags by name, with what they name.
fn sorted(nodes: &[Node]) -> Vec<(&str, &Node)> {
    let mut tags: Vec<_> = nodes
        .iter()
        .flat_map(|node| node.tags.iter().map(move |tag| (tag.as_str(), node)))
        .collect();
    tags.sort_by_key(|(name, _)| *name);
    tags
}

fn shown(tags: &[(&str, &Node)], layout: Layout) -> String {
    if tags.is_empty() {
        return String::new();
    }
    let rows = tags.iter().map(|(name, node)| {
        [
            (*name).to_owned(),
            node.id.to_string(),
            node.message.as_deref().map_or_else(String::new, first_line),
        ]
    });
    table(["TAG", "ID", "MESSAGE"], rows, layout)
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::{PLAIN, node};
    use super::*;

    #[test]
    fn tags_are_listed_by_name() {
        let base = Node {
            tags: vec!["base".to_owned()],
            ..node(None)
        };
        let child = Node {
            tags: vec!["a1".to_owned(), "v1".to_owned()],
            message: Some("good\nvery".to_owned()),
            ..node(Some(&base))
        };
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID__________")]}, {
            insta::assert_snapshot!(shown(&sorted(&[base, child]), PLAIN), @r"
            TAG   ID            MESSAGE
            a1    ID__________  good …
            base  ID__________
            v1    ID__________  good …
            ");
        });
        assert_eq!(shown(&[], PLAIN), "");
    }
}
