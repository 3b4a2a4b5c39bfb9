//! The environment variables of the application: `env_file` and `env`.

use std::path::{Path, PathBuf};

use super::Document;
use crate::config::file::read_text;
use crate::config::node::{Fault, Value};
use crate::config::read::{Field, Section};
use crate::config::value::{caller_value, env_var, read_env_lines, set_env};
use crate::config::{Config, ConfigError, Origin, Problem, UnsetVariable};

/// The files that `env_file` names.
pub(super) fn files(document: &Document<'_>, root: &Section<'_>) -> Result<Vec<PathBuf>, Fault> {
    let Some(field) = root.get("env_file") else {
        return Ok(Vec::new());
    };
    match field.node.value {
        Value::List(_) => field
            .list()?
            .iter()
            .map(|item| document.file_path(item))
            .collect(),
        Value::Scalar { .. } => Ok(vec![document.file_path(&field)?]),
        Value::Map(_) => Err(field.needs("a text or a list")),
    }
}

/// Adds the variables of a file; a later file wins.
pub(super) fn apply_file(
    document: &Document<'_>,
    path: &Path,
    config: &mut Config,
) -> Result<(), ConfigError> {
    let text = read_text(path, path)?;
    let variables = read_env_lines(&text, document.caller).map_err(|fault| fault.located(path))?;
    for (line, variable) in variables {
        let origin = Origin::File {
            path: path.to_owned(),
            line,
        };
        config
            .origins
            .insert(format!("env.{}", variable.name), origin);
        set_env(&mut config.application.spec.env, variable);
    }
    Ok(())
}

/// Adds the variables of `env`, which win over those of files.
pub(super) fn apply(
    document: &Document<'_>,
    root: &Section<'_>,
    config: &mut Config,
) -> Result<(), Fault> {
    let Some(field) = root.get("env") else {
        return Ok(());
    };
    match &field.node.value {
        Value::Map(entries) => {
            for (variable, entry) in field.map()?.fields().zip(entries) {
                let value = match variable.is_nothing() {
                    true => None,
                    false => Some(variable.word()?),
                };
                add(document, &variable, &entry.key, value, config)?;
            }
        }
        Value::List(_) => {
            let mut names = Vec::new();
            for item in field.list()? {
                let text = item.word()?;
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (text, None),
                };
                if names.contains(&name) {
                    return Err(item.repeated(name));
                }
                names.push(name);
                add(document, &item, name, value, config)?;
            }
        }
        Value::Scalar { .. } => return Err(field.needs("a map or a list")),
    }
    Ok(())
}

/// Adds one variable, with the caller's value where it has none of its own.
fn add(
    document: &Document<'_>,
    field: &Field<'_>,
    name: &str,
    value: Option<&str>,
    config: &mut Config,
) -> Result<(), Fault> {
    let wrong = |value| {
        Fault::new(
            field.at,
            Problem::Value {
                key: "env".to_owned(),
                value,
            },
        )
    };
    let (value, origin) = match value {
        Some(value) => (Some(value.to_owned()), document.origin(field)),
        None => {
            let origin = Origin::Environment {
                variable: name.to_owned(),
            };
            (caller_value(name, document.caller).map_err(wrong)?, origin)
        }
    };
    match value {
        Some(value) => {
            let variable = env_var(name, &value).map_err(wrong)?;
            set_env(&mut config.application.spec.env, variable);
        }
        None => config.unset.push(UnsetVariable {
            name: name.to_owned(),
            path: document.path.to_owned(),
            line: field.at.line,
            column: field.at.column,
        }),
    }
    config.origins.insert(format!("env.{name}"), origin);
    Ok(())
}
