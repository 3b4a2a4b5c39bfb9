//! Mounts.

use std::path::{Component, Path, PathBuf};

use statefork_runtime::{Mount, MountSource};

use super::{ValueError, ValueKind};

/// Reads `SOURCE:TARGET[:ro|:rw]`. A source with a slash or a leading point is a path of the host,
/// relative to `folder`; any other is a volume's name.
pub fn parse_mount(text: &str, folder: &Path) -> Result<Mount, ValueError> {
    let fail = |reason: &str| ValueError::new(ValueKind::Mount, text, reason);
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(fail("SOURCE:TARGET or SOURCE:TARGET:ro is needed"));
    };
    let read_only = match (parts.next(), parts.next()) {
        (None, _) | (Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(fail("only ro and rw can follow the target")),
    };
    Ok(Mount {
        source: parse_mount_source(source, folder).map_err(|error| fail(error.reason()))?,
        target: parse_mount_target(target).map_err(|error| fail(error.reason()))?,
        read_only,
    })
}

/// Reads where a mount's files come from, as in [`parse_mount`].
pub fn parse_mount_source(text: &str, folder: &Path) -> Result<MountSource, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Mount, text, reason));
    if text.starts_with('~') {
        return fail("~ is not expanded, the path must be written out");
    }
    if text.contains('/') || text.starts_with('.') {
        return Ok(MountSource::Bind(resolve(folder, Path::new(text))));
    }
    let mut characters = text.chars();
    let is_name = characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !is_name {
        return fail("the source is neither a path (/… or ./…) nor a volume's name");
    }
    Ok(MountSource::Volume(text.to_owned()))
}

/// Reads a path in the container: absolute, not the root, without `..`.
pub(in crate::config) fn parse_mount_target(text: &str) -> Result<PathBuf, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Path, text, reason));
    let path = Path::new(text);
    if !path.is_absolute() {
        return fail("the path in the container must be absolute");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return fail("the path in the container must not hold ..");
    }
    if path.components().nth(1).is_none() {
        return fail("the root of the container cannot be replaced");
    }
    Ok(path.components().collect())
}

/// The path, from `folder` where it is relative, without empty and `.` parts. A `..` stays: what
/// it means depends on symbolic links.
pub(in crate::config) fn resolve(folder: &Path, path: &Path) -> PathBuf {
    folder
        .join(path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(MountSource, String, bool), String> {
        parse_mount(text, Path::new("/etc/app"))
            .map(|mount| {
                (
                    mount.source,
                    mount.target.display().to_string(),
                    mount.read_only,
                )
            })
            .map_err(|error| error.reason().to_owned())
    }

    #[test]
    fn a_path_is_a_bind_mount_and_a_name_a_volume() {
        let bind = |path: &str| MountSource::Bind(path.into());
        for (text, source, read_only) in [
            ("/srv/x:/data", bind("/srv/x"), false),
            ("./x:/data/", bind("/etc/app/x"), false),
            (".:/data:rw", bind("/etc/app"), false),
            ("../x:/data:ro", bind("/etc/app/../x"), true),
            ("a/b:/data", bind("/etc/app/a/b"), false),
            ("cache:/data:ro", MountSource::Volume("cache".into()), true),
        ] {
            assert_eq!(
                read(text).unwrap(),
                (source, "/data".into(), read_only),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("/data", "SOURCE:TARGET or SOURCE:TARGET:ro is needed"),
            ("x:data", "the path in the container must be absolute"),
            ("x:/", "the root of the container cannot be replaced"),
            ("x:/a/../b", "the path in the container must not hold .."),
            ("x:/a:z", "only ro and rw can follow the target"),
            ("x:/a:ro:rw", "only ro and rw can follow the target"),
            ("~/x:/a", "~ is not expanded, the path must be written out"),
            (
                ":/a",
                "the source is neither a path (/… or ./…) nor a volume's name",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), reason, "{text}");
        }
    }
}
