//! `list --filter`: which snapshots are shown.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use statefork_core::config::parse_duration;
use statefork_core::{CoreError, Named, Node, SnapshotId};

use crate::failure::Result;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// It has the label, with this value if one is given.
    Label { key: String, value: Option<String> },
    /// It is the branch's head or an ancestor of it.
    Branch(String),
    /// It was made then or later.
    Since(Timestamp),
    /// It was made earlier.
    Before(Timestamp),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = text.split_once('=').filter(|(_, value)| !value.is_empty());
        match value {
            Some(("label", label)) => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label {
                    key: key.to_owned(),
                    value: Some(value.to_owned()),
                },
                None => Self::Label {
                    key: label.to_owned(),
                    value: None,
                },
            }),
            Some(("branch", name)) => Ok(Self::Branch(name.to_owned())),
            Some(("since", when)) => Ok(Self::Since(moment(when)?)),
            Some(("before", when)) => Ok(Self::Before(moment(when)?)),
            _ => Err(
                "a filter is label=KEY, label=KEY=VALUE, branch=NAME, since=WHEN or before=WHEN"
                    .to_owned(),
            ),
        }
    }
}

/// A moment: a time (RFC 3339), a date (its begin in UTC), or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<Date>()
        && let Ok(begin) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(begin.timestamp());
    }
    parse_duration(text)
        .ok()
        .and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| {
            "a time is needed, such as 2026-11-24T18:00:00Z, a date, or how long ago, such as 90m"
                .to_owned()
        })
}

/// Conditions, all of which must hold.
pub(crate) struct Filters<'a>(pub(crate) &'a [Filter]);

impl Filters<'_> {
    /// Those of an environment's snapshots that fit, in their order.
    pub(crate) fn choose(&self, mut nodes: Vec<Node>) -> Result<Vec<Node>> {
        // Ancestors are found while all nodes are there.
        let mut lines = Vec::new();
        for filter in self.0 {
            if let Filter::Branch(name) = filter {
                lines.push(ancestry(&nodes, name)?);
            }
        }
        nodes.retain(|node| {
            lines.iter().all(|line| line.contains(&node.id))
                && self.0.iter().all(|filter| fits(filter, node))
        });
        Ok(nodes)
    }
}

fn fits(filter: &Filter, node: &Node) -> bool {
    match filter {
        Filter::Label { key, value } => match (node.labels.get(key), value) {
            (Some(found), Some(value)) => found == value,
            (found, None) => found.is_some(),
            (None, Some(_)) => false,
        },
        Filter::Branch(_) => true,
        Filter::Since(then) => node.created_at >= *then,
        Filter::Before(then) => node.created_at < *then,
    }
}

/// A branch's head and its ancestors.
fn ancestry(nodes: &[Node], branch: &str) -> Result<HashSet<SnapshotId>> {
    let parents: HashMap<_, _> = nodes
        .iter()
        .map(|node| (&node.id, node.parent.as_ref()))
        .collect();
    let head = nodes
        .iter()
        .find(|node| node.branches.iter().any(|name| name == branch));
    let Some(head) = head else {
        return Err(CoreError::NotFound {
            what: Named::Branch,
            name: branch.to_owned(),
            nearest: None,
        }
        .into());
    };
    let line = std::iter::successors(Some(&head.id), |id| parents.get(*id).copied().flatten());
    Ok(line.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::tests::node;

    fn chosen(filters: &[&str], nodes: &[Node]) -> Vec<usize> {
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        let chosen = Filters(&filters).choose(nodes.to_vec()).unwrap();
        let place = |node: &Node| nodes.iter().position(|other| other.id == node.id);
        chosen.iter().filter_map(place).collect()
    }

    #[test]
    fn all_filters_must_hold() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut nodes = vec![node(None)];
        nodes.push(node(Some(&nodes[0])));
        nodes.push(node(Some(&nodes[1])));
        nodes.push(node(Some(&nodes[1])));
        nodes[0].created_at = at("2026-01-01T00:00:00Z");
        nodes[1].created_at = at("2026-01-02T00:00:00Z");
        nodes[1].labels.insert("ticket".to_owned(), "42".to_owned());
        nodes[2].created_at = at("2026-01-03T12:00:00Z");
        nodes[2]
            .labels
            .insert("ticket".to_owned(), "a=b".to_owned());
        nodes[2].branches.push("main".to_owned());
        nodes[3].created_at = Timestamp::now();
        nodes[3].branches.push("other".to_owned());
        assert_eq!(chosen(&[], &nodes), [0, 1, 2, 3]);
        assert_eq!(chosen(&["label=ticket"], &nodes), [1, 2]);
        assert_eq!(chosen(&["label=ticket=42"], &nodes), [1]);
        assert_eq!(chosen(&["label=ticket=a=b"], &nodes), [2]);
        assert_eq!(chosen(&["branch=main"], &nodes), [0, 1, 2]);
        assert_eq!(chosen(&["branch=main", "branch=other"], &nodes), [0, 1]);
        assert_eq!(chosen(&["since=2026-01-02", "branch=main"], &nodes), [1, 2]);
        assert_eq!(chosen(&["before=2026-01-03T12:00:00Z"], &nodes), [0, 1]);
        assert_eq!(chosen(&["since=1h"], &nodes), [3]);
        let absent = [Filter::Branch("absent".to_owned())];
        assert!(Filters(&absent).choose(nodes).is_err());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "",
            "label",
            "label=",
            "size=3",
            "since=yesterday",
            "branch=",
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
