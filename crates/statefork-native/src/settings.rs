//! From a container's settings and its image's configuration to the plan of its first process.

use std::path::{Path, PathBuf};

use statefork_runtime::{ContainerId, ContainerSpec, EnvVar, ImageConfig, Result, RuntimeError};

use crate::plan::ProcessPlan;

/// Linux `HOST_NAME_MAX`.
const LONGEST_HOST_NAME: usize = 64;

/// The first process. Errors: `Invalid` where there is nothing to run.
pub(crate) fn process(
    spec: &ContainerSpec,
    image: &ImageConfig,
    hostname: &str,
) -> Result<ProcessPlan> {
    let mut argv = match &spec.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone(),
    };
    match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => argv.extend(command.iter().cloned()),
        // Arguments are the entry point's own.
        (None, Some(_)) => {}
        (None, None) => argv.extend(image.command.iter().cloned()),
    }
    if argv.is_empty() {
        return Err(RuntimeError::Invalid {
            what: "an empty command".into(),
            reason: "neither the image nor the settings say what to run".into(),
        });
    }
    Ok(ProcessPlan {
        argv,
        env: variables(&image.env, &spec.env, hostname),
        workdir: workdir(spec, image),
        user: user(spec, image),
        no_new_privileges: no_new_privileges(spec),
    })
}

/// Whether processes of a container get no more rights: they do not, unless they are to.
pub(crate) fn no_new_privileges(spec: &ContainerSpec) -> bool {
    spec.no_new_privileges.unwrap_or(true)
}

/// The user of a container, empty for root.
pub(crate) fn user(spec: &ContainerSpec, image: &ImageConfig) -> String {
    let user = spec.user.as_ref().or(image.user.as_ref());
    user.cloned().unwrap_or_default()
}

/// The working directory of a container.
pub(crate) fn workdir(spec: &ContainerSpec, image: &ImageConfig) -> PathBuf {
    let workdir = spec.workdir.as_ref().or(image.workdir.as_ref());
    // One that is not absolute counts from the root.
    workdir.map_or_else(|| "/".into(), |workdir| Path::new("/").join(workdir))
}

/// The image's variables, those that were asked for in their places, and the host name.
pub(crate) fn variables(
    image: &[EnvVar],
    more: &[EnvVar],
    hostname: &str,
) -> Vec<(String, String)> {
    let host = EnvVar {
        name: "HOSTNAME".into(),
        value: hostname.into(),
    };
    let mut variables: Vec<(String, String)> = Vec::new();
    for EnvVar { name, value } in std::iter::once(&host).chain(image).chain(more) {
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => variables.push((name.clone(), value.clone())),
        }
    }
    variables
}

/// The host name of a container: the beginning of its id unless it has one.
///
/// Errors: `Invalid` for one that Linux refuses.
pub(crate) fn hostname(container: &ContainerId, spec: &ContainerSpec) -> Result<String> {
    let Some(name) = &spec.hostname else {
        return Ok(container.short().to_owned());
    };
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST_HOST_NAME {
        "it is longer than 64 bytes"
    } else if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    {
        "a host name has letters, digits, '-', '.' and '_' only"
    } else {
        return Ok(name.clone());
    };
    Err(RuntimeError::Invalid {
        what: format!("host name {name:?}"),
        reason: reason.into(),
    })
}

/// Checks the name of a container. Errors: `Invalid`.
pub(crate) fn check_container_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(RuntimeError::Invalid {
        what: format!("container name {name:?}"),
        reason:
            "it has letters, digits, '_', '.' and '-' only, and begins with one of the former two"
                .into(),
    })
}

/// Checks a name of an image, with or without a tag. Errors: `Invalid`.
pub(crate) fn check_image_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let ends = name.ends_with(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if begins && ends && name.chars().all(is_plain) && !name.contains("//") {
        return Ok(());
    }
    Err(RuntimeError::Invalid {
        what: format!("image name {name:?}"),
        reason: "it has letters, digits, '_', '.', '-', '/' and ':' only".into(),
    })
}

/// The settings of a container without what only repeats its image.
pub(crate) fn own(spec: &ContainerSpec, image: &ImageConfig) -> ContainerSpec {
    let mut own = spec.clone();
    own.env.retain(|variable| !image.env.contains(variable));
    own.user = own.user.filter(|user| image.user.as_ref() != Some(user));
    own.workdir = own
        .workdir
        .filter(|workdir| image.workdir.as_ref() != Some(workdir));
    if own.entrypoint.is_none() {
        own.command = own.command.filter(|command| *command != image.command);
    }
    own.mounts.sort_by(|one, two| one.target.cmp(&two.target));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar {
            name: name.into(),
            value: value.into(),
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["run".into()],
            command: vec!["it".into()],
            env: vec![variable("A", "1"), variable("B", "2")],
            ..ImageConfig::default()
        }
    }

    fn argv(entrypoint: Option<&str>, command: Option<&str>) -> Option<String> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let spec = ContainerSpec {
            entrypoint: entrypoint.map(words),
            command: command.map(words),
            ..ContainerSpec::default()
        };
        let plan = process(&spec, &image(), "host").ok()?;
        Some(plan.argv.join(" "))
    }

    #[test]
    fn a_command_is_the_arguments_of_an_entry_point() {
        for (entrypoint, command, expected) in [
            (None, None, Some("run it")),
            (None, Some("that"), Some("run that")),
            (None, Some(""), Some("run")),
            (Some("other"), None, Some("other")),
            (Some(""), Some("that"), Some("that")),
            (Some(""), None, None),
        ] {
            assert_eq!(argv(entrypoint, command).as_deref(), expected);
        }
    }

    #[test]
    fn variables_are_replaced_by_name() {
        let all = variables(
            &image().env,
            &[variable("B", "3"), variable("HOSTNAME", "x")],
            "h",
        );
        let all: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(all, ["HOSTNAME=x", "A=1", "B=3"]);
    }

    #[test]
    fn names_are_checked() {
        assert!(check_container_name("a-1.b_c").is_ok());
        for name in ["", "-a", "a b", "../a", "a/b"] {
            assert!(check_container_name(name).is_err(), "{name}");
        }
        assert!(check_image_name("statefork.local/shop:0123").is_ok());
        for name in ["", "a b", "/a", "a//b", "a:", "a@b"] {
            assert!(check_image_name(name).is_err(), "{name}");
        }
    }
}
