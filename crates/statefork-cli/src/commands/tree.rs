//! `tree`: the graph, with branches and tags drawn on it.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;
use statefork_core::Node;

use super::list::names;
use crate::call::Call;
use crate::documents;
use crate::failure::Result;
use crate::text::{Layout, cut, first_line};

/// Draw the graph of snapshots, oldest first
///
/// What follows a snapshot stands below it; where several do, all but the longest line of them are
/// set in. A branch has a star after its name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork tree")]
pub(crate) struct Tree {}

#[derive(Serialize)]
struct TreeDocument<'a> {
    snapshots: Vec<TreeNode<'a>>,
}

#[derive(Serialize)]
struct TreeNode<'a> {
    #[serde(flatten)]
    node: documents::Node,
    children: Vec<&'a str>,
}

impl Tree {
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let nodes = opened.environment.list()?;
        let graph = Graph::of(&nodes);
        let runtime = opened.environment.runtime_name();
        let document = || TreeDocument {
            snapshots: graph.document(runtime),
        };
        call.answer(document, |layout| graph.drawn(layout))?;
        if nodes.is_empty() && !call.session.output.json {
            call.session
                .output
                .remark("no snapshots: `statefork up IMAGE` makes the first");
        }
        Ok(())
    }
}

/// The nodes, and by their places what follows each.
struct Graph<'a> {
    nodes: &'a [Node],
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl<'a> Graph<'a> {
    fn of(nodes: &'a [Node]) -> Self {
        let places: HashMap<_, _> = nodes
            .iter()
            .enumerate()
            .map(|(place, node)| (&node.id, place))
            .collect();
        let mut children = vec![Vec::new(); nodes.len()];
        let mut roots = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            match node.parent.as_ref().and_then(|parent| places.get(parent)) {
                Some(parent) => children[*parent].push(place),
                None => roots.push(place),
            }
        }
        Self {
            nodes,
            children,
            roots,
        }
    }

    fn document(&self, runtime: &str) -> Vec<TreeNode<'a>> {
        let nodes = self.nodes.iter().zip(&self.children);
        nodes
            .map(|(node, children)| TreeNode {
                node: documents::Node::of(node, runtime),
                children: children
                    .iter()
                    .map(|child| self.nodes[*child].id.as_str())
                    .collect(),
            })
            .collect()
    }

    /// How many nodes stand on each, itself included. Whoever stands on another comes after it.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![1; self.nodes.len()];
        for place in (0..self.nodes.len()).rev() {
            for child in &self.children[place] {
                sizes[place] += sizes[*child];
            }
        }
        sizes
    }

    /// The largest of several subtrees goes on in its parent's column and the others are set in:
    /// so a chain stays one column however long it is, and no drawing gets wider than the
    /// logarithm of its length.
    fn drawn(&self, layout: Layout) -> String {
        let sizes = self.sizes();
        let mut text = String::new();
        // Places with their columns, and whether they leave the column before.
        let mut next: Vec<(usize, usize, bool)> = Vec::new();
        next.extend(self.roots.iter().rev().map(|root| (*root, 0, false)));
        while let Some((place, column, leaves)) = next.pop() {
            let mut edge = "│ ".repeat(column - usize::from(leaves));
            if leaves {
                edge.push_str("├─");
            }
            self.line(&mut text, &edge, place, layout);
            let children = &self.children[place];
            let Some(largest) = children.iter().max_by_key(|child| sizes[**child]) else {
                continue;
            };
            next.push((*largest, column, false));
            let others = children.iter().rev().filter(|child| *child != largest);
            next.extend(others.map(|child| (*child, column + 1, true)));
        }
        text
    }

    fn line(&self, text: &mut String, edge: &str, place: usize, layout: Layout) {
        let node = &self.nodes[place];
        let names = names(node).join(", ");
        if !edge.is_empty() {
            text.push_str(&layout.style.faint(edge));
        }
        text.push_str("* ");
        text.push_str(node.id.as_str());
        let mut used = edge.chars().count() + "* ".len() + node.id.as_str().len();
        if !names.is_empty() {
            text.push_str(&format!(" ({})", layout.style.heading(&names)));
            used += names.len() + " ()".len();
        }
        if let Some(message) = &node.message {
            let message = first_line(message);
            text.push(' ');
            match layout.width {
                Some(width) if usize::from(width) > used + 2 => {
                    text.push_str(&cut(&message, usize::from(width) - used - 1));
                }
                _ => text.push_str(&message),
            }
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::list::tests::{PLAIN, node};
    use super::*;

    /// A graph: each node's parent by place, its names and its message.
    fn graph(rows: &[(Option<usize>, &str)]) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for (parent, message) in rows {
            let parent = parent.map(|place| &nodes[place]);
            let message = Some((*message).to_owned());
            nodes.push(Node {
                message,
                ..node(parent)
            });
        }
        nodes
    }

    fn drawn(nodes: &[Node]) -> String {
        Graph::of(nodes).drawn(PLAIN)
    }

    #[test]
    fn branches_leave_the_longest_line() {
        let mut nodes = graph(&[
            (None, "image"),
            (Some(0), "a"),
            (Some(0), "b"),
            (Some(1), "c"),
            (Some(1), "d"),
            (Some(3), "e"),
            (Some(1), "f"),
            (Some(6), "g\nmore"),
            (Some(2), "h"),
        ]);
        nodes[0].tags.push("base".to_owned());
        nodes[4].branches.push("trial".to_owned());
        nodes[7].tags.push("v1".to_owned());
        nodes[7].branches.push("main".to_owned());
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID")]}, {
            insta::assert_snapshot!(drawn(&nodes), @r"
            * ID (base) image
            ├─* ID b
            │ * ID h
            * ID a
            ├─* ID c
            │ * ID e
            ├─* ID (trial*) d
            * ID f
            * ID (v1, main*) g …
            ");
        });
    }

    #[test]
    fn a_chain_is_one_column() {
        let nodes = graph(&[(None, "a"), (Some(0), "b"), (Some(1), "c")]);
        insta::with_settings!({filters => vec![(r"[0-9a-f]{12}", "ID")]}, {
            insta::assert_snapshot!(drawn(&nodes), @r"
            * ID a
            * ID b
            * ID c
            ");
        });
        assert_eq!(drawn(&[]), "");
    }

    #[test]
    fn ten_thousand_are_drawn_at_once_and_stay_narrow() {
        // Every node has two that follow: the widest graph there is.
        let rows: Vec<_> = (0..10_000)
            .map(|place: usize| (place.checked_sub(1).map(|place| place / 2), "m"))
            .collect();
        let nodes = graph(&rows);
        let begun = Instant::now();
        let drawn = drawn(&nodes);
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(drawn.lines().count(), 10_000);
        let widest = drawn.lines().map(|line| line.chars().count()).max();
        assert!(widest < Some(60), "{widest:?}");
    }

    #[test]
    fn the_document_names_what_follows() {
        let nodes = graph(&[(None, "a"), (Some(0), "b"), (Some(0), "c")]);
        let document = serde_json::to_value(Graph::of(&nodes).document("fake")).unwrap();
        let children = document[0]["children"].as_array().unwrap();
        assert_eq!(children.len(), 2);
        assert_eq!(children[1], document[2]["id"]);
        assert_eq!(document[1]["children"].as_array().unwrap().len(), 0);
        assert_eq!(document[1]["parent"], document[0]["id"]);
    }
}
