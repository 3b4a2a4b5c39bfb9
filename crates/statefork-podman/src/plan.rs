//! What a commit has to be told so that the image of a capture has the settings of the image that
//! its container was made from, and the labels of that and of the request.
//!
//! A commit takes the container's settings and labels over. It can be told other values, which
//! costs nothing, but not to take a variable or a label away; then the image has to be rewritten
//! (module `rewrite`). The labels of our containers only ever need other values.

use serde_json::json;
use statefork_runtime::{EnvVar, ImageConfig, Labels};

use crate::describe::Settings;

/// Variables that Podman adds by itself. Those that it reads from the image's files or makes up
/// for each container are not committed.
const OWN_VARIABLES: [&str; 5] = ["PATH", "TERM", "container", "HOME", "HOSTNAME"];

/// How to arrive at the configuration of a capture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// All its labels.
    pub(crate) labels: Labels,
    /// What the commit is told, in the syntax of its parameter `changes`.
    pub(crate) changes: Vec<String>,
    /// Whether the commit alone gets there.
    pub(crate) by_commit: bool,
}

impl Plan {
    /// Compares what a commit would take over from the container with what is wanted.
    pub(crate) fn new(container: &Settings, base: &ImageConfig, request: &Labels) -> Self {
        let mut labels = base.labels.clone();
        labels.extend(request.clone());
        let mut changes = Vec::new();
        let by_commit = set_labels(&container.labels, &labels, &mut changes)
            & set_words("CMD", &container.command, &base.command, &mut changes)
            & set_words(
                "ENTRYPOINT",
                &container.entrypoint,
                &base.entrypoint,
                &mut changes,
            )
            & set_text("USER", &container.user, base.user.as_deref(), &mut changes)
            & set_text(
                "WORKDIR",
                &container.workdir,
                base.workdir
                    .as_ref()
                    .and_then(|path| path.to_str())
                    .or(Some("/")),
                &mut changes,
            )
            & has_variables(&container.env, &base.env);
        Self {
            labels,
            changes,
            by_commit,
        }
    }
}

fn set_labels(container: &Labels, wanted: &Labels, changes: &mut Vec<String>) -> bool {
    let mut possible = container.keys().all(|key| wanted.contains_key(key));
    for (key, value) in wanted {
        if container.get(key) != Some(value) {
            possible &= !key.contains(|c: char| c == '=' || c == '"' || c.is_whitespace());
            // One pair of quotes is taken off the value; nothing in it is an escape.
            changes.push(format!("LABEL {key}=\"{value}\""));
        }
    }
    possible
}

fn set_words(
    instruction: &str,
    container: &[String],
    wanted: &[String],
    changes: &mut Vec<String>,
) -> bool {
    // Podman shows an entry point as one text, its words joined.
    if container.join(" ") == wanted.join(" ") {
        return true;
    }
    changes.push(format!("{instruction} {}", json!(wanted)));
    !wanted.is_empty()
}

fn set_text(
    instruction: &str,
    container: &str,
    wanted: Option<&str>,
    changes: &mut Vec<String>,
) -> bool {
    let wanted = wanted.unwrap_or_default();
    if container == wanted {
        return true;
    }
    changes.push(format!("{instruction} {wanted}"));
    !wanted.is_empty() && !wanted.contains(char::is_whitespace)
}

/// Whether the variables of the container are those of the image.
fn has_variables(container: &[String], wanted: &[EnvVar]) -> bool {
    container.iter().all(|variable| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        match wanted.iter().find(|variable| variable.name == name) {
            Some(wanted) => wanted.value == value,
            None => OWN_VARIABLES.contains(&name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_commit_is_told_what_differs() {
        let base = ImageConfig {
            command: words(&["sh"]),
            labels: labels(&[("vendor", "x"), ("type", "build")]),
            ..ImageConfig::default()
        };
        let container = Settings {
            command: words(&["sleep", "1"]),
            workdir: "/etc".into(),
            env: words(&["PATH=/bin", "HOSTNAME=h"]),
            labels: labels(&[("vendor", "y"), ("type", "container")]),
            ..Settings::default()
        };
        let request = labels(&[("type", "capture"), ("new", "a \"b\"")]);
        let plan = Plan::new(&container, &base, &request);
        assert!(plan.by_commit);
        assert_eq!(
            plan.changes,
            [
                "LABEL new=\"a \"b\"\"",
                "LABEL type=\"capture\"",
                "LABEL vendor=\"x\"",
                "CMD [\"sh\"]",
                "WORKDIR /",
            ]
        );
    }

    #[test]
    fn what_must_go_needs_more_than_a_commit() {
        let none = ImageConfig::default;
        let clean = Settings {
            workdir: "/".into(),
            ..Settings::default()
        };
        assert!(Plan::new(&clean, &none(), &Labels::new()).by_commit);
        for container in [
            Settings {
                labels: labels(&[("extra", "1")]),
                ..clean.clone()
            },
            Settings {
                env: words(&["NEW=1"]),
                ..clean.clone()
            },
            Settings {
                user: "7".into(),
                ..clean.clone()
            },
            Settings {
                entrypoint: words(&["e"]),
                ..clean.clone()
            },
        ] {
            let plan = Plan::new(&container, &none(), &Labels::new());
            assert!(!plan.by_commit, "{container:?}");
        }
    }
}
