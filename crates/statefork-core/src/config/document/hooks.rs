//! The keys of hooks.

use super::application::command;
use super::positive_duration;
use crate::config::node::{Fault, Value};
use crate::config::read::{Field, Section};
use crate::config::{Config, ValueKind};

/// What runs a hook that is a text.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

pub(super) fn apply(root: &Section<'_>, config: &mut Config) -> Result<(), Fault> {
    let Some(field) = root.get("hooks") else {
        return Ok(());
    };
    let section = field.section(&["after_restore", "timeout"])?;
    if let Some(field) = section.get("after_restore") {
        config.hooks.after_restore = Some(hook(&field)?);
    }
    if let Some(field) = section.get("timeout") {
        config.hooks.timeout = positive_duration(&field)?;
    }
    Ok(())
}

/// A list of words, or a text for the container's shell.
fn hook(field: &Field<'_>) -> Result<Vec<String>, Fault> {
    if let Value::List(_) = field.node.value {
        return command(field);
    }
    let text = field.text()?;
    if text.trim().is_empty() {
        return Err(field.not("a command is needed", text, ValueKind::Command));
    }
    let words = SHELL.into_iter().chain([text]);
    Ok(words.map(ToOwned::to_owned).collect())
}
