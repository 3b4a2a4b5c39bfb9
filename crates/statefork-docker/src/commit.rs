//! The configuration of a captured image.
//!
//! It is that of the image that the container was made from, with the capture's labels: what the
//! container's own settings say is in the snapshot's record, and a later launch with other
//! settings must not find leftovers of it. The daemon, however, fills what the commit's
//! configuration leaves out from the container's settings. So each is given a value that means
//! "as the image says"; where no value does, the image's configuration is replaced afterwards.

use std::collections::HashMap;

use bollard::models::{ContainerConfig, ImageConfig};
use statefork_runtime::Labels;

/// The PATH that the daemon gives to a container whose settings name none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to commit with.
pub(crate) struct Plan {
    /// The commit's configuration.
    pub(crate) config: ContainerConfig,
    /// Whether the image will be as it should; otherwise it needs [`Plan::wanted`].
    pub(crate) is_exact: bool,
    /// The configuration that the image should have.
    pub(crate) wanted: ImageConfig,
}

/// Plans a commit of a container with the settings `container`, made from an image with the
/// configuration `base`.
pub(crate) fn plan(base: &ImageConfig, container: &ContainerConfig, labels: &Labels) -> Plan {
    let wanted = with_labels(base, labels);
    let known = wanted.labels.as_ref();
    let inherits_labels = container
        .labels
        .iter()
        .flatten()
        .any(|(name, _)| !known.is_some_and(|known| known.contains_key(name)));
    let (env, env_is_exact) = env(base, container);
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    // Of an image without a program, the daemon takes over the container's.
    let inherits_command =
        is_empty(&base.cmd) && is_empty(&base.entrypoint) && !is_empty(&container.cmd);
    let config = ContainerConfig {
        user: or_instead(&base.user, &container.user, "0"),
        working_dir: or_instead(&base.working_dir, &container.working_dir, "/"),
        env: Some(env),
        // Empty, not absent: only what is absent is taken over.
        entrypoint: Some(base.entrypoint.clone().unwrap_or_default()),
        cmd: Some(base.cmd.clone().unwrap_or_default()),
        labels: wanted.labels.clone(),
        exposed_ports: base.exposed_ports.clone(),
        volumes: base.volumes.clone(),
        healthcheck: base.healthcheck.clone(),
        stop_signal: base.stop_signal.clone(),
        on_build: base.on_build.clone(),
        shell: base.shell.clone(),
        ..ContainerConfig::default()
    };
    Plan {
        config,
        is_exact: env_is_exact && !inherits_labels && !inherits_command,
        wanted,
    }
}

/// A configuration with labels added.
pub(crate) fn with_labels(base: &ImageConfig, labels: &Labels) -> ImageConfig {
    let mut all: HashMap<_, _> = base.labels.clone().unwrap_or_default();
    all.extend(labels.clone());
    ImageConfig {
        labels: Some(all),
        ..base.clone()
    }
}

/// The image's value; where it has none and the container has, the value that means the same.
fn or_instead(base: &Option<String>, container: &Option<String>, same: &str) -> Option<String> {
    let given = |value: &&String| !value.is_empty();
    let base = base.as_ref().filter(given);
    let instead = container.as_ref().filter(given).map(|_| same.to_owned());
    base.cloned().or(instead)
}

/// The image's variables, and for each that only the container has its name alone, which means
/// "not set" to the daemon. Whether that says all there is to say: a few variables have a default
/// that a name alone would take away.
fn env(base: &ImageConfig, container: &ContainerConfig) -> (Vec<String>, bool) {
    let name_of = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut env = base.env.clone().unwrap_or_default();
    let known: Vec<String> = env.iter().map(|entry| name_of(entry)).collect();
    let mut is_exact = true;
    for entry in container.env.iter().flatten() {
        let name = name_of(entry);
        if known.contains(&name) {
            continue;
        }
        match name.as_str() {
            "PATH" => env.push(DEFAULT_PATH.to_owned()),
            "HOSTNAME" | "HOME" | "TERM" => is_exact = false,
            _ => env.push(name),
        }
    }
    (env, is_exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> HashMap<String, String> {
        let label = |name: &&str| ((*name).to_owned(), "x".to_owned());
        names.iter().map(label).collect()
    }

    #[test]
    fn settings_of_the_container_do_not_reach_the_image() {
        let base = ImageConfig {
            env: Some(vec!["A=image".into()]),
            cmd: Some(vec!["serve".into()]),
            ..ImageConfig::default()
        };
        let container = ContainerConfig {
            env: Some(vec!["A=container".into(), "SECRET=s".into()]),
            cmd: Some(vec!["other".into()]),
            entrypoint: Some(vec!["/wrap".into()]),
            user: Some("nobody".into()),
            ..ContainerConfig::default()
        };
        let plan = plan(&base, &container, &Labels::new());
        assert!(plan.is_exact);
        assert_eq!(plan.config.env.unwrap(), ["A=image", "SECRET"]);
        assert_eq!(plan.config.cmd.unwrap(), ["serve"]);
        assert_eq!(plan.config.entrypoint, Some(Vec::new()));
        assert_eq!(plan.config.user.as_deref(), Some("0"));
        assert_eq!(plan.config.working_dir, None);
    }

    #[test]
    fn a_label_that_the_capture_does_not_have_makes_a_second_step() {
        let base = ImageConfig {
            labels: Some(labels(&["image"])),
            ..ImageConfig::default()
        };
        let mut container = ContainerConfig {
            labels: Some(labels(&["image", "ours"])),
            ..ContainerConfig::default()
        };
        let ours: Labels = labels(&["ours"]).into_iter().collect();
        assert!(plan(&base, &container, &ours).is_exact);
        container.labels = Some(labels(&["image", "ours", "other"]));
        let plan = plan(&base, &container, &ours);
        assert!(!plan.is_exact);
        assert_eq!(plan.wanted.labels, Some(labels(&["image", "ours"])));
    }

    #[test]
    fn a_default_variable_is_not_taken_away() {
        let container = |entry: &str| ContainerConfig {
            env: Some(vec![entry.into()]),
            ..ContainerConfig::default()
        };
        let base = ImageConfig::default();
        let with_path = plan(&base, &container("PATH=/x"), &Labels::new());
        assert_eq!(with_path.config.env.unwrap(), [DEFAULT_PATH]);
        assert!(!plan(&base, &container("HOSTNAME=h"), &Labels::new()).is_exact);
    }
}
