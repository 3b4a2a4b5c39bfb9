//! A YAML document as a tree whose every node knows its line and column.
//!
//! It is built from the parser's events rather than by deserialisation, since the text of a plain
//! scalar is needed as it was written (`VERSION: 1.10` is no number to an environment variable).

use std::collections::BTreeMap;

use serde_yaml::granit_parser::{self, Event, Marker, Parser, ScalarStyle, ScanError};

use super::Problem;

/// More nodes, aliases expanded, than any configuration has.
const MOST_NODES: usize = 10_000;
/// Deeper than any configuration is.
const MOST_LEVELS: usize = 32;

/// A place in a file, line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    fn of(marker: &Marker) -> Self {
        Self {
            line: marker.line() as u64,
            column: marker.col() as u64 + 1,
        }
    }
}

/// Something wrong at a place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Position,
    pub(super) problem: Box<Problem>,
}

impl Fault {
    pub(super) fn new(at: Position, problem: Problem) -> Self {
        Self {
            at,
            problem: Box::new(problem),
        }
    }

    fn syntax(at: Position, message: impl Into<String>) -> Self {
        Self::new(
            at,
            Problem::Syntax {
                message: message.into(),
            },
        )
    }
}

/// A node and where it begins; of an alias, where the alias stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text, number, truth value or nothing.
    Scalar {
        /// As written, escapes processed.
        text: String,
        /// What YAML 1.2 (section 10.3.2, core schema) takes it for.
        kind: ScalarKind,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, without duplicates.
    Map(Vec<Entry>),
}

/// What a scalar is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Nothing,
    Bool(bool),
    Number,
    Text,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Node {
    /// The kind of value, with its article, for errors.
    pub(super) fn found(&self) -> &'static str {
        match &self.value {
            Value::Scalar { kind, .. } => match kind {
                ScalarKind::Nothing => "nothing",
                ScalarKind::Bool(_) => "true or false",
                ScalarKind::Number => "a number",
                ScalarKind::Text => "a text",
            },
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }
}

/// Reads a document; `None` if there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Fault> {
    let options = granit_parser::options! {
        flow_nesting_limit: MOST_LEVELS,
        block_nesting_limit: MOST_LEVELS,
        emit_comments: false,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| unreadable(&error))?;
        builder.accept(event, Position::of(&span.start))?;
    }
    Ok(builder.root)
}

fn unreadable(error: &ScanError) -> Fault {
    Fault::syntax(
        Position::of(error.marker()),
        format!("no valid YAML: {}", error.kind()),
    )
}

/// A list or map that has not ended yet.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        lines: BTreeMap<String, u64>,
        key: Option<(String, Position)>,
    },
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn accept(&mut self, event: Event<'_>, at: Position) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Fault::syntax(at, "a second document begins here"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                untagged(at, tag.is_some())?;
                if text.contains('\0') {
                    return Err(Fault::syntax(at, "a text must not hold a NUL"));
                }
                let kind = scalar_kind(&text, style);
                let text = text.into_owned();
                let value = Value::Scalar { text, kind };
                self.complete(Node { at, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(at, anchor, tag.is_some(), Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    lines: BTreeMap::new(),
                    key: None,
                };
                self.begin(at, anchor, tag.is_some(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    at,
                    anchor,
                    content,
                }) => {
                    let value = match content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, .. } => Value::Map(entries),
                    };
                    self.complete(Node { at, value }, anchor)
                }
                None => Err(Fault::syntax(at, "a list or map ends that has not begun")),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::syntax(at, "this alias stands inside its own anchor"));
                };
                self.complete(Node { at, ..node }, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        at: Position,
        anchor: usize,
        tagged: bool,
        content: Content,
    ) -> Result<(), Fault> {
        untagged(at, tagged)?;
        self.open.push(Open {
            at,
            anchor,
            content,
        });
        Ok(())
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.spend(&node)?;
        if anchor != 0 {
            self.spend(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries,
                lines,
                key,
            }) => match key.take() {
                Some((key, at)) => entries.push(Entry {
                    key,
                    at,
                    value: node,
                }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(Fault::syntax(node.at, "a list or map cannot be a key"));
                    };
                    if let Some(first) = lines.insert(text.clone(), node.at.line) {
                        return Err(Fault::new(
                            node.at,
                            Problem::DuplicateKey { key: text, first },
                        ));
                    }
                    *key = Some((text, node.at));
                }
            },
        }
        Ok(())
    }

    /// Counts what a node costs. A list or map is counted once more with each level around it:
    /// what matters is that the sum is bounded.
    fn spend(&mut self, node: &Node) -> Result<(), Fault> {
        self.nodes += node.size();
        if self.nodes > MOST_NODES {
            return Err(Fault::syntax(
                node.at,
                "more values than a configuration has, with all aliases expanded",
            ));
        }
        Ok(())
    }
}

fn untagged(at: Position, tagged: bool) -> Result<(), Fault> {
    if tagged {
        return Err(Fault::syntax(at, "tags such as !!str have no meaning here"));
    }
    Ok(())
}

fn scalar_kind(text: &str, style: ScalarStyle) -> ScalarKind {
    if style != ScalarStyle::Plain {
        return ScalarKind::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Nothing,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ => {
            let unsigned = text.trim_start_matches(['+', '-']);
            // The first character tells `1e3` from `infinity`, which Rust takes for a number.
            if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && text.parse::<f64>().is_ok()
            {
                ScalarKind::Number
            } else {
                ScalarKind::Text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        match parse(text) {
            Ok(node) => panic!("{text:?} is read as {node:?}"),
            Err(Fault { at, problem }) => format!("{}:{}: {problem}", at.line, at.column),
        }
    }

    #[test]
    fn nodes_know_where_they_are() {
        let root = parse("a: 1\nb:\n  - ü: [x,  y]\n").unwrap().unwrap();
        let Value::Map(entries) = &root.value else {
            panic!("{root:?}")
        };
        assert_eq!(entries[1].at, Position { line: 2, column: 1 });
        let Value::List(items) = &entries[1].value.value else {
            panic!("{root:?}")
        };
        let Value::Map(inner) = &items[0].value else {
            panic!("{root:?}")
        };
        let Value::List(texts) = &inner[0].value.value else {
            panic!("{root:?}")
        };
        assert_eq!(
            texts[1].at,
            Position {
                line: 3,
                column: 13
            }
        );
    }

    #[test]
    fn a_plain_scalar_keeps_its_text() {
        for (text, kind) in [
            ("1.10", ScalarKind::Number),
            ("-5", ScalarKind::Number),
            ("yes", ScalarKind::Text),
            ("True", ScalarKind::Bool(true)),
            ("inf", ScalarKind::Text),
            ("8080:80", ScalarKind::Text),
            ("~", ScalarKind::Nothing),
        ] {
            let node = parse(text).unwrap().unwrap();
            match node.value {
                Value::Scalar {
                    text: read,
                    kind: taken,
                } => assert_eq!((read.as_str(), taken), (text, kind)),
                other => panic!("{other:?}"),
            }
        }
        let node = parse("'5'").unwrap().unwrap();
        assert_eq!(node.found(), "a text");
    }

    #[test]
    fn nothing_is_no_node() {
        assert!(parse("").unwrap().is_none());
        assert!(parse("# only a comment\n").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_located() {
        assert_eq!(
            fault("a: 1\nb: 2\na: 3\n"),
            "3:1: key \"a\" is given twice, first in line 1"
        );
        assert!(
            fault("a: [1, 2\nb: 3\n").starts_with("2:"),
            "{}",
            fault("a: [1, 2\nb: 3\n")
        );
        assert_eq!(
            fault("a: 1\n---\nb: 2\n"),
            "2:1: a second document begins here"
        );
        assert_eq!(
            fault("a: !!str 5\n"),
            "1:10: tags such as !!str have no meaning here"
        );
        assert_eq!(fault("? [a]\n: b\n"), "1:3: a list or map cannot be a key");
        assert!(fault("a: *none\n").starts_with("1:4: no valid YAML"));
        assert_eq!(
            fault("a: &a [*a]\n"),
            "1:8: this alias stands inside its own anchor"
        );
        assert_eq!(fault("a: \"x\\0\"\n"), "1:4: a text must not hold a NUL");
    }

    #[test]
    fn an_alias_stands_for_its_anchor_where_it_stands() {
        let root = parse("a: &x {k: v}\nb: *x\n").unwrap().unwrap();
        let Value::Map(entries) = root.value else {
            panic!()
        };
        assert_eq!(entries[1].value.at, Position { line: 2, column: 4 });
        assert_eq!(entries[1].value.found(), "a map");
    }

    #[test]
    fn an_alias_bomb_ends_early() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(fault(&bomb).contains("more values than a configuration has"));
        let deep = "[".repeat(100_000);
        assert!(fault(&deep).contains("no valid YAML"));
        let wide = format!("[{}]", "x,".repeat(100_000));
        assert!(fault(&wide).contains("more values than a configuration has"));
    }
}
