//! Revisions: how a person names a snapshot.
//!
//! `HEAD` or `@`, a branch, a tag, or a unique prefix of an id (4 digits or more), tried in this
//! order; then `@{N}`, where a branch's head was N moves ago; then any number of `^` (the parent)
//! and `~N` (the N-th ancestor). `-` is `@{1}`.

use crate::error::{CoreError, Named, Result};
use crate::model::{BASE, SnapshotId};
use crate::naming::{is_id_prefix, nearest};

/// How many candidates an ambiguous prefix lists.
const CANDIDATES: usize = 10;

/// What a revision is resolved against.
pub(crate) struct Graph<'a> {
    /// Every snapshot with its parent, oldest first: `base` leads.
    pub(crate) nodes: &'a [(SnapshotId, Option<SnapshotId>)],
    /// The branches with their heads.
    pub(crate) branches: &'a [(&'a str, &'a SnapshotId)],
    /// The name of the current branch.
    pub(crate) current: &'a str,
    /// The tags but `base`, with what they name.
    pub(crate) tags: &'a [(String, SnapshotId)],
    /// Where a branch's head has been, the current place first.
    pub(crate) former: &'a dyn Fn(&str) -> Result<Vec<SnapshotId>>,
}

impl Graph<'_> {
    /// The branch that a name means.
    fn branch(&self, name: &str) -> Option<(&str, &SnapshotId)> {
        let name = match name {
            "HEAD" | "@" | "" => self.current,
            name => name,
        };
        let found = self.branches.iter().find(|(branch, _)| *branch == name);
        found.copied()
    }
}

/// The snapshot that a revision names.
pub(crate) fn resolve(text: &str, graph: &Graph<'_>) -> Result<SnapshotId> {
    let invalid = |reason| CoreError::InvalidRevision {
        text: text.to_owned(),
        reason,
    };
    let not_found = |nearest: Option<&str>| CoreError::NotFound {
        what: Named::Snapshot,
        name: text.to_owned(),
        nearest: nearest.map(ToOwned::to_owned),
    };
    let whole = if text == "-" { "@{1}" } else { text };
    let end = whole.find(['~', '^']).unwrap_or(whole.len());
    let (start, mut rest) = whole.split_at(end);
    let mut id = match start.split_once("@{") {
        Some((name, moves)) => {
            let moves = moves
                .strip_suffix('}')
                .ok_or_else(|| invalid("'@{' needs a number and '}'"))?;
            let moves: usize = moves
                .parse()
                .map_err(|_| invalid("a number is needed in '@{…}'"))?;
            let (branch, _) = graph
                .branch(name)
                .ok_or_else(|| invalid("only a branch has a former head"))?;
            let former = (graph.former)(branch)?;
            former.get(moves).cloned().ok_or_else(|| not_found(None))?
        }
        None if start.is_empty() => return Err(invalid("it names no snapshot")),
        None => named(start, graph)?,
    };
    while !rest.is_empty() {
        let steps;
        if let Some(after) = rest.strip_prefix('^') {
            (steps, rest) = (1, after);
        } else if let Some(after) = rest.strip_prefix('~') {
            let digits = after
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(after.len());
            let (number, after) = after.split_at(digits);
            steps = match number {
                "" => 1,
                number => number
                    .parse::<u64>()
                    .map_err(|_| invalid("the number after '~' is too large"))?,
            };
            rest = after;
        } else {
            return Err(invalid("only '^' and '~N' may follow the name"));
        }
        id = ancestor(&id, steps, graph).ok_or_else(|| not_found(Some(BASE)))?;
    }
    Ok(id)
}

fn named(name: &str, graph: &Graph<'_>) -> Result<SnapshotId> {
    if let Some((_, head)) = graph.branch(name) {
        return Ok(head.clone());
    }
    if name == BASE
        && let Some((base, _)) = graph.nodes.first()
    {
        return Ok(base.clone());
    }
    if let Some((_, id)) = graph.tags.iter().find(|(tag, _)| tag == name) {
        return Ok(id.clone());
    }
    let lower = name.to_ascii_lowercase();
    if is_id_prefix(name) {
        let fits: Vec<_> = graph
            .nodes
            .iter()
            .map(|(id, _)| id)
            .filter(|id| id.as_str().starts_with(&lower))
            .collect();
        match fits.as_slice() {
            [] => {}
            [id] => return Ok((*id).clone()),
            many => {
                return Err(CoreError::Ambiguous {
                    prefix: name.to_owned(),
                    candidates: many
                        .iter()
                        .take(CANDIDATES)
                        .map(ToString::to_string)
                        .collect(),
                });
            }
        }
    }
    Err(CoreError::NotFound {
        what: Named::Snapshot,
        name: name.to_owned(),
        nearest: near(&lower, graph),
    })
}

fn ancestor(id: &SnapshotId, steps: u64, graph: &Graph<'_>) -> Option<SnapshotId> {
    let mut id = id;
    let mut steps = steps;
    // A parent stands before its child, so one walk from the newest to the oldest is enough.
    for (node, parent) in graph.nodes.iter().rev() {
        if steps == 0 {
            break;
        }
        if node == id {
            id = parent.as_ref()?;
            steps -= 1;
        }
    }
    (steps == 0).then(|| id.clone())
}

/// The name that looks most like `name`, or the id whose first digits do.
fn near(name: &str, graph: &Graph<'_>) -> Option<String> {
    let names = ["HEAD".to_owned(), BASE.to_owned()]
        .into_iter()
        .chain(
            graph
                .branches
                .iter()
                .map(|(branch, _)| (*branch).to_owned()),
        )
        .chain(graph.tags.iter().map(|(tag, _)| tag.clone()));
    nearest(name, names).or_else(|| {
        let ids = graph.nodes.iter().map(|(id, _)| id.as_str());
        let prefixes = ids
            .clone()
            .map(|id| id.get(..name.len()).unwrap_or(id).to_owned());
        let prefix = nearest(name, prefixes)?;
        ids.into_iter()
            .find(|id| id.starts_with(&prefix))
            .map(ToOwned::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SnapshotId {
        SnapshotId::from_store(text.to_owned())
    }

    fn with_graph<T>(work: impl FnOnce(&Graph<'_>) -> T) -> T {
        let nodes = [
            (id("aaaa00000000"), None),
            (id("bbbb11111111"), Some(id("aaaa00000000"))),
            (id("bbbb22222222"), Some(id("bbbb11111111"))),
            (id("cccc33333333"), Some(id("bbbb11111111"))),
        ];
        let head = id("cccc33333333");
        let other = id("bbbb22222222");
        let former = |branch: &str| {
            Ok(match branch {
                "main" => vec![id("cccc33333333"), id("aaaa00000000"), id("bbbb22222222")],
                _ => vec![id("bbbb22222222")],
            })
        };
        work(&Graph {
            nodes: &nodes,
            branches: &[("main", &head), ("other", &other)],
            current: "main",
            tags: &[("v1".to_owned(), id("bbbb11111111"))],
            former: &former,
        })
    }

    fn resolved(text: &str) -> Result<String> {
        with_graph(|graph| resolve(text, graph).map(|id| id.to_string()))
    }

    #[test]
    fn every_way_to_name_a_snapshot() {
        for (text, expected) in [
            ("HEAD", "cccc33333333"),
            ("@", "cccc33333333"),
            ("main", "cccc33333333"),
            ("base", "aaaa00000000"),
            ("cccc", "cccc33333333"),
            ("BBBB2", "bbbb22222222"),
            ("HEAD^", "bbbb11111111"),
            ("@~", "bbbb11111111"),
            ("@~2", "aaaa00000000"),
            ("bbbb2^^", "aaaa00000000"),
            ("HEAD~1^", "aaaa00000000"),
            ("HEAD~0", "cccc33333333"),
            ("other", "bbbb22222222"),
            ("other~", "bbbb11111111"),
            ("v1^", "aaaa00000000"),
            ("@{0}", "cccc33333333"),
            ("main@{1}", "aaaa00000000"),
            ("HEAD@{2}^", "bbbb11111111"),
            ("-", "aaaa00000000"),
        ] {
            assert_eq!(resolved(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_ambiguous_prefix_lists_its_candidates() {
        let Err(CoreError::Ambiguous { candidates, .. }) = resolved("bbbb") else {
            panic!();
        };
        assert_eq!(candidates, ["bbbb11111111", "bbbb22222222"]);
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest() {
        for (text, expected) in [
            ("haed", Some("HEAD")),
            ("bass", Some("base")),
            ("cccd", Some("cccc33333333")),
            ("v2", Some("v1")),
            ("othr", Some("other")),
            ("nothing-like-it", None),
        ] {
            let Err(CoreError::NotFound { nearest, .. }) = resolved(text) else {
                panic!("{text}");
            };
            assert_eq!(nearest.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn beyond_the_base_there_is_nothing() {
        assert!(matches!(
            resolved("HEAD~3"),
            Err(CoreError::NotFound { .. })
        ));
        assert!(matches!(
            resolved("HEAD@{3}"),
            Err(CoreError::NotFound { .. })
        ));
    }

    #[test]
    fn what_is_no_revision_is_refused() {
        for text in [
            "",
            "^",
            "~2",
            "HEAD^x",
            "HEAD~x",
            "HEAD~99999999999999999999",
            "v1@{1}",
            "@{x}",
            "@{1",
        ] {
            assert!(
                matches!(resolved(text), Err(CoreError::InvalidRevision { .. })),
                "{text}"
            );
        }
    }
}
