//! What Tab completes: commands, their options, revisions, branches, tags.

use clap::CommandFactory;
use reedline::{Completer, CompletionResult, Span, Suggestion};
use statefork_core::{Environment, Node};

use crate::arguments;
use crate::text::first_line;

/// A word that can stand in the line, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    about: Option<String>,
}

/// Completes lines for one environment.
pub(super) struct Completion {
    environment: Environment,
    commands: clap::Command,
}

impl Completion {
    pub(super) fn new(environment: Environment) -> Self {
        let mut commands = arguments::Line::command();
        commands.build();
        Self {
            environment,
            commands,
        }
    }

    /// What there is to name. Without a store there is nothing to complete, which the next command
    /// will tell.
    fn names(&self) -> Names {
        Names::of(&self.environment.list().unwrap_or_default())
    }
}

/// What can be named.
#[derive(Default)]
struct Names {
    branches: Vec<Word>,
    tags: Vec<Word>,
    /// The newest first.
    ids: Vec<Word>,
}

impl Names {
    fn of(nodes: &[Node]) -> Self {
        let mut names = Self::default();
        for node in nodes.iter().rev() {
            let message = node.message.as_deref().map(first_line);
            let about = |what: &str| match &message {
                Some(message) => Some(format!("{what}: {message}")),
                None => Some(format!("{what}: {}", node.id)),
            };
            let word = |text: &String, about| Word {
                text: text.clone(),
                about,
            };
            let branches = node.branches.iter();
            names
                .branches
                .extend(branches.map(|name| word(name, about("branch"))));
            let tags = node.tags.iter();
            names.tags.extend(tags.map(|name| word(name, about("tag"))));
            names.ids.push(word(&node.id.to_string(), message));
        }
        names
            .branches
            .sort_by(|one, other| one.text.cmp(&other.text));
        names.tags.sort_by(|one, other| one.text.cmp(&other.text));
        names
    }

    /// What can stand for an argument.
    fn for_argument(self, named: Named) -> Vec<Word> {
        match named {
            Named::Branch => self.branches,
            Named::Tag => self.tags,
            Named::Revision => {
                let head = Word {
                    text: "HEAD".to_owned(),
                    about: Some("the last snapshot".to_owned()),
                };
                [vec![head], self.branches, self.tags, self.ids].concat()
            }
        }
    }
}

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Branch,
    Tag,
    Revision,
}

impl Named {
    /// What the positional argument at a place of a command names, by its id.
    fn by(command: &clap::Command, place: usize) -> Option<Self> {
        let mut positionals = command.get_positionals();
        let argument = match positionals.nth(place) {
            Some(argument) => argument,
            // The last may take more than one.
            None => command.get_positionals().last().filter(|argument| {
                argument
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1)
            })?,
        };
        match argument.get_id().as_str() {
            "branch" => Some(Self::Branch),
            "tag" => Some(Self::Tag),
            "revision" => Some(Self::Revision),
            _ => None,
        }
    }
}

impl Completer for Completion {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = line.get(..pos).unwrap_or(line);
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (earlier, begun) = before.split_at(start);
        let earlier: Vec<_> = earlier.split_whitespace().collect();
        let words = words(&self.commands, &earlier, begun, || self.names());
        let suggestions: Vec<_> = words
            .into_iter()
            .map(|word| Suggestion {
                value: word.text,
                description: word.about,
                span: Span::new(start, pos),
                append_whitespace: true,
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

/// The words that can follow `earlier` and begin with `begun`.
fn words(
    commands: &clap::Command,
    earlier: &[&str],
    begun: &str,
    names: impl FnOnce() -> Names,
) -> Vec<Word> {
    let mut command = commands;
    let mut arguments = 0;
    for word in earlier {
        match command.find_subcommand(word) {
            Some(inner) => command = inner,
            None if word.starts_with('-') && *word != "-" => {}
            None => arguments += 1,
        }
    }
    let mut words: Vec<Word> = if begun.starts_with('-') {
        command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| {
                Some(Word {
                    text: format!("--{}", argument.get_long()?),
                    about: argument.get_help().map(ToString::to_string),
                })
            })
            .collect()
    } else if let Some(named) = Named::by(command, arguments) {
        names().for_argument(named)
    } else {
        command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set())
            .map(|inner| Word {
                text: inner.get_name().to_owned(),
                about: inner.get_about().map(ToString::to_string),
            })
            .collect()
    };
    words.retain(|word| word.text.starts_with(begun));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::tests::node;

    /// On a graph with one branch, `trial`, and the tags `base` and `v1`.
    fn completed(line: &str) -> Vec<String> {
        let mut commands = arguments::Line::command();
        commands.build();
        let (earlier, begun) = line.rsplit_once(' ').unwrap_or(("", line));
        let earlier: Vec<_> = earlier.split_whitespace().collect();
        let base = Node {
            tags: vec!["base".to_owned()],
            ..node(None)
        };
        let child = Node {
            tags: vec!["v1".to_owned()],
            branches: vec!["trial".to_owned()],
            ..node(Some(&base))
        };
        let ids = [base.id.to_string(), child.id.to_string()];
        words(&commands, &earlier, begun, || Names::of(&[base, child]))
            .into_iter()
            .map(|word| match ids.iter().position(|id| *id == word.text) {
                Some(place) => format!("ID{place}"),
                None => word.text,
            })
            .collect()
    }

    #[test]
    fn commands_and_options_complete() {
        assert_eq!(completed("sn"), ["snapshot"]);
        assert_eq!(completed("ex"), ["exec", "exit"]);
        assert_eq!(completed("down --p"), ["--purge"]);
        assert_eq!(completed("config ch"), ["check"]);
        assert_eq!(completed("branch r"), ["rm", "rename"]);
        assert_eq!(completed("help li"), ["list"]);
        // Commands for shims are none for people.
        assert_eq!(completed("rec"), [""; 0]);
    }

    #[test]
    fn what_can_be_named_completes() {
        let revisions = ["HEAD", "trial", "base", "v1", "ID1", "ID0"];
        assert_eq!(completed("restore "), revisions);
        assert_eq!(completed("restore --save "), revisions);
        assert_eq!(completed("show H"), ["HEAD"]);
        assert_eq!(completed("fork v"), ["v1"]);
        assert_eq!(completed("restore HEAD "), [""; 0]);
        assert_eq!(completed("rm v1 ba"), ["base"]);
        assert_eq!(completed("tag "), ["base", "v1"]);
        assert_eq!(completed("tag -d v"), ["v1"]);
        assert_eq!(completed("tag new H"), ["HEAD"]);
        assert_eq!(completed("switch "), ["trial"]);
        assert_eq!(completed("branch rm t"), ["trial"]);
        assert_eq!(completed("branch promote "), ["trial"]);
        assert_eq!(completed("branch rename trial "), [""; 0]);
    }
}
