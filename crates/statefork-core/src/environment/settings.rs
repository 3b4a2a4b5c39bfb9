//! What differs between the settings that an environment has and those that are asked for.

use std::fmt::Debug;

use statefork_runtime::{ContainerSpec, EnvVar, PortMapping};

/// The differences between two specs, in words; values of environment variables are not told.
pub(super) fn spec_differences(is: &ContainerSpec, asked: &ContainerSpec) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, is: Option<String>, asked: Option<String>| {
        if is != asked {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "unset".to_owned());
            differences.push(format!("{name} is {}, not {}", shown(is), shown(asked)));
        }
    };
    compare(
        "entrypoint",
        words(&is.entrypoint),
        words(&asked.entrypoint),
    );
    compare("command", words(&is.command), words(&asked.command));
    compare("user", is.user.clone(), asked.user.clone());
    compare("workdir", shown(&is.workdir), shown(&asked.workdir));
    compare("hostname", is.hostname.clone(), asked.hostname.clone());
    compare(
        "network",
        shown(&Some(&is.network)),
        shown(&Some(&asked.network)),
    );
    compare(
        "memory",
        shown(&is.limits.memory),
        shown(&asked.limits.memory),
    );
    compare("cpus", shown(&is.limits.cpus), shown(&asked.limits.cpus));
    compare("init", shown(&Some(is.init)), shown(&Some(asked.init)));
    compare(
        "no_new_privileges",
        shown(&is.no_new_privileges),
        shown(&asked.no_new_privileges),
    );
    for name in changed_variables(&is.env, &asked.env) {
        differences.push(format!("environment variable {name} has another value"));
    }
    if is.mounts != asked.mounts {
        differences.push("the mounts are others".to_owned());
    }
    differences
}

/// The differences between the ports that a branch has and those that are asked for. A host port
/// that may be any fits the one that was found.
pub(super) fn port_differences(is: &[PortMapping], asked: &[PortMapping]) -> Vec<String> {
    let fits = |(is, asked): (&PortMapping, &PortMapping)| {
        is.ip == asked.ip
            && is.container == asked.container
            && (is.host == asked.host || asked.host == 0)
    };
    if is.len() == asked.len() && is.iter().zip(asked).all(fits) {
        return Vec::new();
    }
    let list = |ports: &[PortMapping]| match ports {
        [] => "none".to_owned(),
        ports => ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    vec![format!("ports are {}, not {}", list(is), list(asked))]
}

fn words(command: &Option<Vec<String>>) -> Option<String> {
    command.as_ref().map(|words| format!("{words:?}"))
}

fn shown(value: &Option<impl Debug>) -> Option<String> {
    value
        .as_ref()
        .map(|value| format!("{value:?}").to_lowercase())
}

fn changed_variables<'a>(is: &'a [EnvVar], asked: &'a [EnvVar]) -> Vec<&'a str> {
    let missing = |from: &'a [EnvVar], other: &'a [EnvVar]| {
        from.iter()
            .filter(|variable| !other.contains(variable))
            .map(|variable| variable.name.as_str())
            .collect::<Vec<_>>()
    };
    let mut names = missing(is, asked);
    names.extend(missing(asked, is));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named_and_no_value_of_a_variable() {
        let variable = |value: &str| EnvVar {
            name: "TOKEN".to_owned(),
            value: value.to_owned(),
        };
        let is = ContainerSpec {
            user: Some("app".to_owned()),
            env: vec![variable("old-secret")],
            ..ContainerSpec::default()
        };
        let asked = ContainerSpec {
            env: vec![variable("new-secret")],
            hostname: Some("box".to_owned()),
            ..ContainerSpec::default()
        };
        assert_eq!(
            spec_differences(&is, &asked),
            [
                "user is app, not unset",
                "hostname is unset, not box",
                "environment variable TOKEN has another value",
            ]
        );
        assert!(spec_differences(&is, &is).is_empty());
    }

    #[test]
    fn any_free_port_fits_the_one_that_was_found() {
        let port = |text: &str| vec![text.parse::<PortMapping>().unwrap()];
        assert!(port_differences(&port("8123:8000"), &port("8000")).is_empty());
        assert_eq!(
            port_differences(&port("8123:8000"), &port("8124:8000")),
            ["ports are 127.0.0.1:8123:8000, not 127.0.0.1:8124:8000"]
        );
    }
}
