//! The keys of standby.

use crate::config::node::{Fault, Value};
use crate::config::read::Section;
use crate::config::value::parse_size;
use crate::config::{Config, Standby, ValueKind, parse_standby};

pub(super) fn apply(root: &Section<'_>, config: &mut Config) -> Result<(), Fault> {
    let Some(field) = root.get("standby") else {
        return Ok(());
    };
    let mut standby = Standby::default();
    let mut chosen = true;
    if matches!(field.node.value, Value::Map(_)) {
        let section = field.section(&["which", "count", "memory"])?;
        chosen = section.get("which").is_some() || section.get("count").is_some();
        if let Some(field) = section.get("which") {
            standby.which = field.parse_word(parse_standby)?;
        }
        if let Some(field) = section.get("count") {
            let text = field.word()?;
            standby.count = match text.parse() {
                Ok(count) if count > 0 => Some(count),
                _ => {
                    let reason = "a number from 1 on is needed";
                    return Err(field.not(reason, text, ValueKind::Standby));
                }
            };
        }
        if let Some(field) = section.get("memory") {
            config.standby_memory = Some(field.parse_word(parse_size)?);
        }
    } else {
        standby.which = field.parse_word(parse_standby)?;
        // The bare word stands for the key below it.
        if let Some(origin) = config.origins.get("standby").cloned() {
            config.origins.insert("standby.which".to_owned(), origin);
        }
    }
    // The memory is the home's; by itself it chooses nothing for the environment.
    config.standby = chosen.then_some(standby);
    Ok(())
}
