//! Mounts.

use std::path::{Component, Path, PathBuf};

use statefork_runtime::{Mount, MountKind, MountSource};

use super::{ValueError, ValueKind, parse_size};

/// Reads `SOURCE:TARGET[:ro|:rw]`, or `type=TYPE,…` as Docker spells it. A source with a slash or a
/// leading point is a path of the host, relative to `folder`; any other is a volume's name.
pub fn parse_mount(text: &str, folder: &Path) -> Result<Mount, ValueError> {
    let fail = |reason: &str| ValueError::new(ValueKind::Mount, text, reason);
    if text.split(',').any(|pair| pair.starts_with("type=")) {
        return parse_pairs(text, folder);
    }
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

/// Reads `type=bind|volume|tmpfs` with `source`, `target`, `readonly` and, of a tmpfs, `size`, under
/// any of the names that Docker has for them.
fn parse_pairs(text: &str, folder: &Path) -> Result<Mount, ValueError> {
    let fail = |reason: &str| ValueError::new(ValueKind::Mount, text, reason);
    let (mut kind, mut source, mut target, mut size) = (None, None, None, None);
    let mut read_only = false;
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "type" => kind = Some(parse_mount_type(value).map_err(|error| fail(error.reason()))?),
            "source" | "src" => source = Some(value),
            "target" | "destination" | "dst" => target = Some(value),
            "readonly" | "ro" => {
                read_only = match value {
                    "" | "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(fail("readonly is true or false")),
                }
            }
            "size" | "tmpfs-size" => {
                size = Some(parse_size(value).map_err(|error| fail(error.reason()))?);
            }
            _ => {
                return Err(fail(
                    "only type, source, target, readonly and size can be given",
                ));
            }
        }
    }
    let source = source_of(kind, source, size, folder).map_err(|fault| fail(fault.reason()))?;
    let target = target.ok_or_else(|| fail("a target is needed"))?;
    Ok(Mount {
        source,
        target: parse_mount_target(target).map_err(|error| fail(error.reason()))?,
        read_only,
    })
}

/// What is wrong with the parts of a mount together.
pub(in crate::config) enum SourceFault {
    /// There is none, and it is needed.
    Missing,
    /// There is one, and memory has none.
    OfMemory,
    /// There is a size, and it is no memory.
    SizeOfOther,
    /// It is that of another kind of mount.
    OfOtherKind,
    /// It cannot be read.
    Unreadable(ValueError),
}

impl SourceFault {
    /// The reason, for people.
    pub(in crate::config) fn reason(&self) -> &str {
        match self {
            Self::Missing => "a source is needed",
            Self::OfMemory => "a tmpfs has no source",
            Self::SizeOfOther => "only a tmpfs has a size",
            Self::OfOtherKind => {
                "the source of a bind is a path, with a slash, that of a volume a name"
            }
            Self::Unreadable(error) => error.reason(),
        }
    }
}

/// Where a mount's files come from, by its parts. Without a kind the source says which of bind and
/// volume it is.
pub(in crate::config) fn source_of(
    kind: Option<MountKind>,
    source: Option<&str>,
    size: Option<u64>,
    folder: &Path,
) -> Result<MountSource, SourceFault> {
    let text = match (kind, source, size) {
        (Some(MountKind::Tmpfs), None, size) => return Ok(MountSource::Tmpfs { size }),
        (Some(MountKind::Tmpfs), Some(_), _) => return Err(SourceFault::OfMemory),
        (_, _, Some(_)) => return Err(SourceFault::SizeOfOther),
        (_, None, None) => return Err(SourceFault::Missing),
        (_, Some(text), None) => text,
    };
    let source = parse_mount_source(text, folder).map_err(SourceFault::Unreadable)?;
    let is_as_said = match kind {
        Some(MountKind::Bind) => matches!(source, MountSource::Bind(_)),
        Some(MountKind::Volume) => matches!(source, MountSource::Volume(_)),
        Some(MountKind::Tmpfs) | None => true,
    };
    match is_as_said {
        true => Ok(source),
        false => Err(SourceFault::OfOtherKind),
    }
}

/// Reads `bind`, `volume` or `tmpfs`.
pub(in crate::config) fn parse_mount_type(text: &str) -> Result<MountKind, ValueError> {
    match text {
        "bind" => Ok(MountKind::Bind),
        "volume" => Ok(MountKind::Volume),
        "tmpfs" => Ok(MountKind::Tmpfs),
        _ => Err(ValueError::new(
            ValueKind::Mount,
            text,
            "the type is bind, volume or tmpfs",
        )),
    }
}

/// Reads `TARGET[:size=SIZE]`, a tmpfs.
pub fn parse_tmpfs(text: &str) -> Result<Mount, ValueError> {
    let fail = |reason: &str| ValueError::new(ValueKind::Mount, text, reason);
    let (target, size) = match text.split_once(':') {
        None => (text, None),
        Some((target, options)) => {
            let size = options.strip_prefix("size=");
            let size = size.ok_or_else(|| fail("only size=SIZE can follow the path"))?;
            let size = parse_size(size).map_err(|error| fail(error.reason()))?;
            (target, Some(size))
        }
    };
    Ok(Mount {
        source: MountSource::Tmpfs { size },
        target: parse_mount_target(target).map_err(|error| fail(error.reason()))?,
        read_only: false,
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
    fn docker_s_spelling_is_read_too() {
        let tmpfs = |size| MountSource::Tmpfs { size };
        for (text, source, read_only) in [
            ("type=tmpfs,target=/data", tmpfs(None), false),
            (
                "type=tmpfs,dst=/data,tmpfs-size=64m,readonly",
                tmpfs(Some(64 << 20)),
                true,
            ),
            ("target=/data,type=tmpfs,size=1k", tmpfs(Some(1024)), false),
            (
                "type=bind,src=/srv,target=/data",
                MountSource::Bind("/srv".into()),
                false,
            ),
            (
                "type=volume,source=cache,destination=/data,ro=true",
                MountSource::Volume("cache".into()),
                true,
            ),
        ] {
            let read = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read, (source, "/data".into(), read_only), "{text}");
        }
        let flag = parse_tmpfs("/data:size=1k").unwrap();
        assert_eq!(flag.source, tmpfs(Some(1024)));
        assert!(parse_tmpfs("/data:uid=5").is_err() && parse_tmpfs("data").is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("type=tmpfs,source=x,target=/a", "a tmpfs has no source"),
            ("type=tmpfs", "a target is needed"),
            ("type=bind,target=/a", "a source is needed"),
            (
                "type=bind,source=x,target=/a",
                "the source of a bind is a path, with a slash, that of a volume a name",
            ),
            (
                "type=volume,source=/x,target=/a",
                "the source of a bind is a path, with a slash, that of a volume a name",
            ),
            (
                "type=volume,source=x,target=/a,size=1m",
                "only a tmpfs has a size",
            ),
            (
                "type=cluster,target=/a",
                "the type is bind, volume or tmpfs",
            ),
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
