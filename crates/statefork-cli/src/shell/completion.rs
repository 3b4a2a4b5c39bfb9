//! What Tab completes: commands, their options, revisions.

use clap::CommandFactory;
use reedline::{Completer, CompletionResult, Span, Suggestion};
use statefork_core::Environment;

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

    /// Names of snapshots, the newest first. Without a store there is nothing to complete, which
    /// the next command will tell.
    fn revisions(&self) -> Vec<Word> {
        let word = |text: &str, about: &str| Word {
            text: text.to_owned(),
            about: Some(about.to_owned()),
        };
        let mut words = vec![
            word("HEAD", "the last snapshot"),
            word("base", "the image"),
            word(self.environment.branch_name(), "the branch's head"),
        ];
        let snapshots = self.environment.list().unwrap_or_default();
        words.extend(snapshots.iter().rev().map(|snapshot| Word {
            text: snapshot.id.to_string(),
            about: snapshot.message.as_deref().map(first_line),
        }));
        words
    }
}

impl Completer for Completion {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = line.get(..pos).unwrap_or(line);
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (earlier, begun) = before.split_at(start);
        let earlier: Vec<_> = earlier.split_whitespace().collect();
        let words = words(&self.commands, &earlier, begun, || self.revisions());
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
    revisions: impl FnOnce() -> Vec<Word>,
) -> Vec<Word> {
    let mut command = commands;
    let mut arguments = 0;
    for word in earlier {
        match command.find_subcommand(word) {
            Some(inner) => command = inner,
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
    } else if arguments == 0 && takes_revision(command) {
        revisions()
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

fn takes_revision(command: &clap::Command) -> bool {
    command
        .get_positionals()
        .any(|argument| argument.get_id() == "revision")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let mut commands = arguments::Line::command();
        commands.build();
        let (earlier, begun) = line.rsplit_once(' ').unwrap_or(("", line));
        let earlier: Vec<_> = earlier.split_whitespace().collect();
        let revisions = || {
            ["HEAD", "base", "4f1c00000000"]
                .map(|text| Word {
                    text: text.to_owned(),
                    about: None,
                })
                .into()
        };
        words(&commands, &earlier, begun, revisions)
            .into_iter()
            .map(|word| word.text)
            .collect()
    }

    #[test]
    fn commands_options_and_revisions_complete() {
        assert_eq!(completed("sn"), ["snapshot"]);
        assert_eq!(completed("ex"), ["exec", "exit"]);
        assert_eq!(completed("restore "), ["HEAD", "base", "4f1c00000000"]);
        assert_eq!(completed("show 4f"), ["4f1c00000000"]);
        assert_eq!(completed("restore HEAD "), [""; 0]);
        assert_eq!(completed("down --p"), ["--purge"]);
        assert_eq!(completed("config ch"), ["check"]);
        assert_eq!(completed("help li"), ["list"]);
    }
}
