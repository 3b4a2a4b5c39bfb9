//! Typed access to a tree of nodes: sections with known keys, and fields with a type.

use statefork_runtime::PortMapping;

use super::node::{Entry, Fault, Node, Position, ScalarKind, Value};
use super::value::parse_port;
use super::{Problem, ValueError};

/// How alike an unknown key must be to a valid one for a suggestion, from 0 to 1.
const ALIKE: f64 = 0.6;
/// A longer text is no misspelt key.
const LONGEST_KEY: usize = 64;

/// A map whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    key: String,
    at: Position,
    entries: &'a [Entry],
}

/// A value with its key.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    /// Dotted.
    pub(super) key: String,
    /// Where the key is; of an item of a list, where the item is.
    pub(super) at: Position,
    /// The value.
    pub(super) node: &'a Node,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(
        node: &'a Node,
        known: &'static [&'static str],
    ) -> Result<Option<Self>, Fault> {
        if matches!(
            node.value,
            Value::Scalar {
                kind: ScalarKind::Nothing,
                ..
            }
        ) {
            return Ok(None);
        }
        let field = Field {
            key: String::new(),
            at: node.at,
            node,
        };
        field.section(known).map(Some)
    }

    /// The value of a key, where it is given.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|field| field.key == self.dotted(name))
    }

    /// All keys with their values, in the order of the file.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.entries.iter().map(|entry| Field {
            key: self.dotted(&entry.key),
            at: entry.at,
            node: &entry.value,
        })
    }

    /// The key that must be there.
    pub(super) fn need(&self, name: &str, missing: &'static str) -> Result<Field<'a>, Fault> {
        self.get(name).ok_or_else(|| self.lacks(missing))
    }

    /// The section means nothing without this.
    pub(super) fn lacks(&self, missing: &'static str) -> Fault {
        let section = self.key.clone();
        Fault::new(self.at, Problem::Missing { section, missing })
    }

    /// At most one of these keys, the first that is given.
    pub(super) fn one_of(&self, names: &[&str]) -> Result<Option<Field<'a>>, Fault> {
        let mut given = self
            .fields()
            .filter(|field| names.iter().any(|name| field.key == self.dotted(name)));
        let first = given.next();
        if let (Some(first), Some(second)) = (&first, given.next()) {
            return Err(Fault::new(
                second.at,
                Problem::Exclusive {
                    key: second.key,
                    other: first.key.clone(),
                },
            ));
        }
        Ok(first)
    }

    fn dotted(&self, name: &str) -> String {
        if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        }
    }
}

impl<'a> Field<'a> {
    /// A map, all of whose keys are among `known`.
    pub(super) fn section(&self, known: &'static [&'static str]) -> Result<Section<'a>, Fault> {
        let section = self.map()?;
        if let Some(unknown) = section
            .entries
            .iter()
            .find(|entry| !known.contains(&entry.key.as_str()))
        {
            return Err(Fault::new(
                unknown.at,
                Problem::UnknownKey {
                    key: section.dotted(&unknown.key),
                    nearest: nearest(&unknown.key, known),
                    known,
                },
            ));
        }
        Ok(section)
    }

    /// A map with keys of the user's choice.
    pub(super) fn map(&self) -> Result<Section<'a>, Fault> {
        match &self.node.value {
            Value::Map(entries) => Ok(Section {
                key: self.key.clone(),
                at: self.at,
                entries,
            }),
            _ => Err(self.needs("a map")),
        }
    }

    /// The items of a list, each under the key of the list.
    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, Fault> {
        match &self.node.value {
            Value::List(items) => Ok(items
                .iter()
                .map(|node| Field {
                    key: self.key.clone(),
                    at: node.at,
                    node,
                })
                .collect()),
            _ => Err(self.needs("a list")),
        }
    }

    /// A text. A number is none: `image: 1.10` would not be what it seems elsewhere.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        match &self.node.value {
            Value::Scalar {
                text,
                kind: ScalarKind::Text,
            } => Ok(text),
            _ => Err(self.needs("a text")),
        }
    }

    /// A text, number or truth value, as it is written.
    pub(super) fn word(&self) -> Result<&'a str, Fault> {
        match &self.node.value {
            Value::Scalar { text, kind } if *kind != ScalarKind::Nothing => Ok(text),
            _ => Err(self.needs("a text")),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&self) -> Result<bool, Fault> {
        match &self.node.value {
            Value::Scalar {
                kind: ScalarKind::Bool(truth),
                ..
            } => Ok(*truth),
            _ => Err(self.needs("true or false")),
        }
    }

    /// A text with a form.
    pub(super) fn parse<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Result<T, Fault> {
        parse(self.text()?).map_err(|value| self.wrong(value))
    }

    /// A text or number with a form.
    pub(super) fn parse_word<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, ValueError>,
    ) -> Result<T, Fault> {
        parse(self.word()?).map_err(|value| self.wrong(value))
    }

    /// A port of the container.
    pub(super) fn port(&self) -> Result<u16, Fault> {
        match &self.node.value {
            Value::Scalar {
                text,
                kind: ScalarKind::Number,
            } => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| self.not("not a port, 1 to 65535", text, super::ValueKind::Port)),
            _ => Err(self.needs("a number")),
        }
    }

    /// A port mapping.
    pub(super) fn port_mapping(&self) -> Result<PortMapping, Fault> {
        self.parse_word(parse_port)
    }

    /// Whether nothing stands behind the key.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(
            self.node.value,
            Value::Scalar {
                kind: ScalarKind::Nothing,
                ..
            }
        )
    }

    /// Another type is needed.
    pub(super) fn needs(&self, expected: &'static str) -> Fault {
        let key = match self.key.as_str() {
            "" => "the file".to_owned(),
            key => key.to_owned(),
        };
        Fault::new(
            self.node.at,
            Problem::WrongType {
                key,
                expected,
                found: self.node.found(),
            },
        )
    }

    /// The value cannot be.
    pub(super) fn wrong(&self, value: ValueError) -> Fault {
        let key = self.key.clone();
        Fault::new(self.node.at, Problem::Value { key, value })
    }

    /// The value cannot be, for this reason.
    pub(super) fn not(&self, reason: &str, text: &str, kind: super::ValueKind) -> Fault {
        self.wrong(ValueError::new(kind, text, reason))
    }

    /// The same thing is in the list already.
    pub(super) fn repeated(&self, value: impl ToString) -> Fault {
        Fault::new(
            self.node.at,
            Problem::Repeated {
                key: self.key.clone(),
                value: value.to_string(),
            },
        )
    }
}

/// The valid key that is most like an unknown one, if any is like it.
fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    if unknown.len() > LONGEST_KEY {
        return None;
    }
    let unknown = unknown.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|key| (strsim::normalized_damerau_levenshtein(&unknown, key), *key))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested_only_if_it_is_near() {
        let known = &["image", "env", "env_file", "ports", "lock_timeout"];
        assert_eq!(nearest("imgae", known), Some("image"));
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("lock-timeout", known), Some("lock_timeout"));
        assert_eq!(nearest("ENV", known), Some("env"));
        assert_eq!(nearest("volumes", known), None);
        assert_eq!(nearest(&"image".repeat(1000), known), None);
    }
}
