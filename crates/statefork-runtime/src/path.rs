//! Paths in a container, as the methods that copy take them.

use std::path::{Component, Path};

use crate::{Result, RuntimeError};

/// A path in a container as text: absolute, without `.`, doubled slashes, and a slash at the end.
///
/// Errors: `Invalid` for one that is not absolute, has `..` or NUL, or is no UTF-8.
pub fn container_path(path: &Path) -> Result<String> {
    let invalid = |reason: &str| RuntimeError::Invalid {
        what: format!("path {}", path.display()),
        reason: reason.to_owned(),
    };
    let mut plain = String::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                plain.push('/');
                plain.push_str(name.to_str().ok_or_else(|| invalid("not UTF-8"))?);
            }
            Component::ParentDir => return Err(invalid("there is .. in it")),
            Component::Prefix(_) => return Err(invalid("not absolute")),
        }
    }
    if !path.is_absolute() {
        return Err(invalid("not absolute"));
    }
    if plain.contains('\0') {
        return Err(invalid("there is NUL in it"));
    }
    if plain.is_empty() {
        plain.push('/');
    }
    Ok(plain)
}

/// The same, for a path that has a name: the folder that it lies in, and the name.
///
/// Errors: as those of [`container_path`], and `Invalid` for the root.
pub fn container_entry(path: &Path) -> Result<(String, String)> {
    let plain = container_path(path)?;
    match plain.rsplit_once('/') {
        Some((_, "")) | None => Err(RuntimeError::Invalid {
            what: "path /".into(),
            reason: "the root has no name under which it could be copied".into(),
        }),
        Some(("", name)) => Ok(("/".into(), name.to_owned())),
        Some((folder, name)) => Ok((folder.to_owned(), name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_spelled_in_one_way() {
        for (path, plain) in [
            ("/a//b/./c/", Some("/a/b/c")),
            ("/", Some("/")),
            ("a", None),
            ("", None),
            ("/a/../b", None),
            ("/a\0b", None),
        ] {
            let read = container_path(Path::new(path)).ok();
            assert_eq!(read.as_deref(), plain, "{path:?}");
        }
    }

    #[test]
    fn the_root_has_no_name() {
        let entry = |path| container_entry(Path::new(path)).ok();
        assert_eq!(entry("/a/b/"), Some(("/a".into(), "b".into())));
        assert_eq!(entry("/a"), Some(("/".into(), "a".into())));
        assert_eq!(entry("/"), None);
    }
}
