//! The keys of readiness.

use super::application::command;
use super::positive_duration;
use crate::config::node::Fault;
use crate::config::read::{Field, Section};
use crate::config::{Check, Config, Readiness, ValueKind};

/// The keys that name a check.
const CHECKS: &[&str] = &["http", "tcp", "exec", "log", "none"];

/// The path of a GET where none is given.
const DEFAULT_PATH: &str = "/";

pub(super) fn apply(root: &Section<'_>, config: &mut Config) -> Result<(), Fault> {
    let Some(field) = root.get("readiness") else {
        return Ok(());
    };
    let section = field.section(&["http", "tcp", "exec", "log", "none", "timeout", "interval"])?;
    let Some(check_field) = section.one_of(CHECKS)? else {
        return Err(section.lacks("a check: http, tcp, exec, log or none"));
    };
    let mut readiness = Readiness::of(check(&check_field)?);
    if let Some(field) = section.get("timeout") {
        readiness.timeout = positive_duration(&field)?;
    }
    if let Some(field) = section.get("interval") {
        readiness.interval = positive_duration(&field)?;
        if readiness.interval > readiness.timeout {
            let reason = "longer than readiness.timeout";
            return Err(field.not(reason, field.word()?, ValueKind::Duration));
        }
    }
    // A short time-out alone leaves the default interval no room.
    readiness.interval = readiness.interval.min(readiness.timeout);
    config.readiness = Some(readiness);
    Ok(())
}

fn check(field: &Field<'_>) -> Result<Check, Fault> {
    match field.key.as_str() {
        "readiness.http" => {
            let section = field.section(&["port", "path"])?;
            Ok(Check::Http {
                port: section.need("port", "a port, of the container")?.port()?,
                path: match section.get("path") {
                    Some(field) => path(&field)?,
                    None => DEFAULT_PATH.to_owned(),
                },
            })
        }
        "readiness.tcp" => {
            let section = field.section(&["port"])?;
            Ok(Check::Tcp {
                port: section.need("port", "a port, of the container")?.port()?,
            })
        }
        "readiness.exec" => Ok(Check::Exec {
            command: command(field)?,
        }),
        "readiness.log" => {
            let contains = field.word()?;
            if contains.is_empty() || contains.contains('\n') {
                let reason = "a part of a line is needed";
                return Err(field.not(reason, contains, ValueKind::LogText));
            }
            Ok(Check::Log {
                contains: contains.to_owned(),
            })
        }
        _ if field.truth()? => Ok(Check::None),
        _ => Err(field.not(
            "only true has a meaning; another check replaces it",
            "false",
            ValueKind::Check,
        )),
    }
}

/// What goes into the request line (RFC 9112, section 3.2.1).
fn path(field: &Field<'_>) -> Result<String, Fault> {
    let text = field.text()?;
    if !text.starts_with('/') || !text.chars().all(|c| c.is_ascii_graphic()) {
        let reason = "a path that begins with / is needed, other characters %-encoded";
        return Err(field.not(reason, text, ValueKind::Path));
    }
    Ok(text.to_owned())
}
