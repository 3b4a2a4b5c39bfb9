//! Names of images and containers.
//!
//! The daemon takes the beginning of an id for the id, and the client library puts names into
//! paths as they are; so what is no name never gets there.

use statefork_runtime::{Result, RuntimeError};

/// Whether it is a whole id: 64 hexadecimal digits, with or without the algorithm.
pub(crate) fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    digits.len() == 64 && digits.chars().all(is_hex)
}

/// Whether the daemon would look for ids that begin with it.
pub(crate) fn may_begin_an_id(name: &str) -> bool {
    name.len() < 64 && name.chars().all(is_hex)
}

fn is_hex(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

/// Whether a container can have this name or id.
pub(crate) fn can_name_a_container(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// How the daemon is asked for an image: an id as it is, a name in full, with registry,
/// repository and tag or digest. `None` for what is neither.
pub(crate) fn image_reference(name: &str) -> Option<String> {
    if is_id(name) {
        return Some(name.to_owned());
    }
    match name.split_once('@') {
        Some((repository, digest)) if digest.starts_with("sha256:") && is_id(digest) => {
            Some(format!("{}@{digest}", repository_in_full(repository)?))
        }
        Some(_) => None,
        None => in_full(name).map(|(repository, tag)| format!("{repository}:{tag}")),
    }
}

/// Splits a name into its repository, in full, and its tag (`latest` unless given). `None` for
/// what is no name.
pub(crate) fn in_full(name: &str) -> Option<(String, &str)> {
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    let tag_is_valid = (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    tag_is_valid.then(|| repository_in_full(repository).map(|repository| (repository, tag)))?
}

fn repository_in_full(repository: &str) -> Option<String> {
    let is_valid = |part: &str, extra: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
    };
    let (registry, path) = match repository.split_once('/') {
        Some((registry, path)) if registry == "localhost" || registry.contains(['.', ':']) => {
            (registry, path.to_owned())
        }
        Some(_) => ("docker.io", repository.to_owned()),
        None => ("docker.io", format!("library/{repository}")),
    };
    (is_valid(registry, ".-:") && path.split('/').all(|part| is_valid(part, "._-")))
        .then(|| format!("{registry}/{path}"))
}

/// Like [`in_full`], for a name that an image is to get.
pub(crate) fn new_image_name(name: &str) -> Result<(String, &str)> {
    in_full(name).ok_or_else(|| RuntimeError::Invalid {
        what: format!("image name {name:?}"),
        reason: "not [REGISTRY/]REPOSITORY[:TAG] in lower case".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_in_full() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (name, full) in [
            ("app", Some("docker.io/library/app:latest")),
            ("team/app:1", Some("docker.io/team/app:1")),
            ("localhost/app", Some("localhost/app:latest")),
            ("127.0.0.1:5000/app", Some("127.0.0.1:5000/app:latest")),
            (&digest, Some(digest.as_str())),
            ("", None),
            ("App", None),
            ("app:", None),
            ("a//b", None),
            ("../containers", None),
            ("app?force=1", None),
            ("app@sha256:0a", None),
        ] {
            assert_eq!(image_reference(name).as_deref(), full, "{name}");
        }
    }

    #[test]
    fn the_beginning_of_an_id_is_not_an_id() {
        assert!(may_begin_an_id("0a1b"));
        assert!(!is_id("0a1b"));
        assert!(!may_begin_an_id("main"));
        assert!(is_id(&"0a".repeat(32)));
    }
}
