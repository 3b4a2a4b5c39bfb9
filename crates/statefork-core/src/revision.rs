//! Revisions: how a person names a snapshot.
//!
//! `HEAD` or `@`, a branch, the tag `base`, or a unique prefix of an id (4 digits or more), tried
//! in this order; then any number of `^` (the parent) and `~N` (the N-th ancestor).

use crate::error::{CoreError, Named, Result};
use crate::model::{BASE, SnapshotId};
use crate::naming::is_id_prefix;

/// How many candidates an ambiguous prefix lists.
const CANDIDATES: usize = 10;

/// What a revision is resolved against.
pub(crate) struct Graph<'a> {
    /// Every snapshot with its parent, oldest first: `base` leads.
    pub(crate) nodes: &'a [(SnapshotId, Option<SnapshotId>)],
    /// The current branch and its head.
    pub(crate) branch: (&'a str, &'a SnapshotId),
}

/// The snapshot that a revision names.
pub(crate) fn resolve(text: &str, graph: &Graph<'_>) -> Result<SnapshotId> {
    let invalid = |reason| CoreError::InvalidRevision {
        text: text.to_owned(),
        reason,
    };
    let end = text.find(['~', '^']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        return Err(invalid("it names no snapshot"));
    }
    let mut id = start(name, graph)?;
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
        id = ancestor(&id, steps, graph).ok_or_else(|| CoreError::NotFound {
            what: Named::Snapshot,
            name: text.to_owned(),
            nearest: Some(BASE.to_owned()),
        })?;
    }
    Ok(id)
}

fn start(name: &str, graph: &Graph<'_>) -> Result<SnapshotId> {
    let (branch, head) = graph.branch;
    if name == "HEAD" || name == "@" || name == branch {
        return Ok(head.clone());
    }
    if name == BASE
        && let Some((base, _)) = graph.nodes.first()
    {
        return Ok(base.clone());
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
        nearest: nearest(&lower, graph),
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

/// The name that looks most like `name`: by edits, an id by its first digits.
fn nearest(name: &str, graph: &Graph<'_>) -> Option<String> {
    let words = ["HEAD", BASE, graph.branch.0].map(str::to_owned);
    let ids = graph.nodes.iter().map(|(id, _)| id.to_string());
    words
        .into_iter()
        .chain(ids)
        .map(|candidate| {
            let shown = candidate.get(..name.len()).unwrap_or(&candidate);
            (strsim::osa_distance(&shown.to_lowercase(), name), candidate)
        })
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
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
        work(&Graph {
            nodes: &nodes,
            branch: ("main", &head),
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
        ] {
            assert!(
                matches!(resolved(text), Err(CoreError::InvalidRevision { .. })),
                "{text}"
            );
        }
    }
}
