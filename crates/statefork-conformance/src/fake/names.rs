//! Names as container tools write them.

use statefork_runtime::{Result, RuntimeError};

/// Spells an image name in full: registry, repository and tag. `None` for what is no name.
pub(super) fn qualified(name: &str) -> Option<String> {
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    let plain = |part: &str, extra: &str| {
        part.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
    };
    let tag_is_valid = (1..=128).contains(&tag.len())
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !tag_is_valid || repository.split('/').any(str::is_empty) {
        return None;
    }
    let (registry, path) = match repository.split_once('/') {
        Some((registry, path)) if registry == "localhost" || registry.contains(['.', ':']) => {
            (registry, path.to_owned())
        }
        Some(_) => ("docker.io", repository.to_owned()),
        None => ("docker.io", format!("library/{repository}")),
    };
    (plain(registry, ".-:") && plain(&path, "/._-")).then(|| format!("{registry}/{path}:{tag}"))
}

/// Like [`qualified`], for a name that something is to get.
pub(super) fn new_image_name(name: &str) -> Result<String> {
    qualified(name).ok_or_else(|| RuntimeError::Invalid {
        what: format!("image name {name:?}"),
        reason: "not [REGISTRY/]REPOSITORY[:TAG] in lower case".into(),
    })
}

/// Checks the name of a container or a volume.
pub(super) fn check_object_name(what: &str, name: &str) -> Result<()> {
    let valid = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(RuntimeError::Invalid {
            what: format!("{what} name {name:?}"),
            reason: "not [a-zA-Z0-9][a-zA-Z0-9_.-]+".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_in_full() {
        for (name, full) in [
            ("app", "docker.io/library/app:latest"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("statefork.local/env:0a1b", "statefork.local/env:0a1b"),
        ] {
            assert_eq!(qualified(name).as_deref(), Some(full));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "App", "a//b", "app:", "app:a b", "app/"] {
            assert_eq!(qualified(name), None, "{name}");
        }
    }
}
