//! Names of images and containers, checked before Podman sees them: it reports a bad name as an
//! error of its own, and completes short names in ways that a new name must not depend on.

use statefork_runtime::{Result, RuntimeError};

/// A name that an image is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName<'a> {
    /// Registry and path.
    pub(crate) repository: &'a str,
    /// The tag, `latest` unless given.
    pub(crate) tag: &'a str,
}

impl<'a> ImageName<'a> {
    /// Reads `[REGISTRY/]REPOSITORY[:TAG]`.
    pub(crate) fn parse(name: &'a str) -> Result<Self> {
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        };
        let of = |text: &str, extra: &str, upper: bool| {
            text.chars().all(|c| {
                c.is_ascii_lowercase()
                    || c.is_ascii_digit()
                    || extra.contains(c)
                    || (upper && c.is_ascii_uppercase())
            })
        };
        let valid = !repository.split('/').any(str::is_empty)
            && of(repository, "/._-:", false)
            && (1..=128).contains(&tag.len())
            && of(tag, "._-", true);
        if valid {
            Ok(Self { repository, tag })
        } else {
            Err(RuntimeError::Invalid {
                what: format!("image name {name:?}"),
                reason: "not [REGISTRY/]REPOSITORY[:TAG] in lower case".into(),
            })
        }
    }
}

impl std::fmt::Display for ImageName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Checks the name of a container or a volume.
pub(crate) fn check_object_name(what: &str, name: &str) -> Result<()> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(RuntimeError::Invalid {
            what: format!("{what} name {name:?}"),
            reason: "not [a-zA-Z0-9][a-zA-Z0-9_.-]*".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_the_last_slash_is_no_tag() {
        let read = |name| ImageName::parse(name).map(|name| name.to_string());
        assert_eq!(read("host:5000/app").unwrap(), "host:5000/app:latest");
        assert_eq!(read("host/app:Tag_1").unwrap(), "host/app:Tag_1");
        for bad in ["", "App", "a//b", "app:", "app:a b", "app/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
