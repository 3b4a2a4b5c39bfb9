//! The paths in archives.

use super::error::{ImportError, Refusal};

/// Bytes that a path may have: Linux takes no longer one (`PATH_MAX`, its end included).
const PATH_LIMIT: usize = 4095;
/// Bytes that one name may have (`NAME_MAX`).
const NAME_LIMIT: usize = 255;
/// Folders that may be in each other: whoever removes them has each open at once.
const DEPTH_LIMIT: usize = 256;

/// A path without detours: no `/` at its beginning or end, no empty part, no `.`; empty for the
/// root. `..`, a byte 0 and what is longer than Linux takes are refused.
pub(super) fn plain(path: &[u8]) -> Result<Vec<u8>, ImportError> {
    let refused = |refusal| Err(ImportError::refused(path, refusal));
    if path.contains(&0) {
        return refused(Refusal::Nul);
    }
    let mut plain = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return refused(Refusal::Climbs),
            _ if part.len() > NAME_LIMIT => return refused(Refusal::TooLong),
            _ => {}
        }
        if !plain.is_empty() {
            plain.push(b'/');
        }
        plain.extend_from_slice(part);
        depth += 1;
    }
    if plain.len() > PATH_LIMIT {
        return refused(Refusal::TooLong);
    }
    if depth > DEPTH_LIMIT {
        return refused(Refusal::TooDeep);
    }
    Ok(plain)
}

/// A plain path as its folder and its name; `None` for the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// The plain path of `name` in the folder `folder`.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"" => name.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detours_go_and_climbing_is_refused() {
        for (path, expected) in [
            ("/a//b/./c/", "a/b/c"),
            ("./", ""),
            ("/", ""),
            ("..a/.b", "..a/.b"),
        ] {
            assert_eq!(plain(path.as_bytes()).unwrap(), expected.as_bytes());
        }
        let deep = "d/".repeat(257);
        let long = "n".repeat(256);
        let longer = format!("{}/", "n".repeat(250)).repeat(17);
        for (path, expected) in [
            ("..", Refusal::Climbs),
            ("a/../b", Refusal::Climbs),
            ("/../a", Refusal::Climbs),
            ("a\0b", Refusal::Nul),
            (&deep, Refusal::TooDeep),
            (&long, Refusal::TooLong),
            (&longer, Refusal::TooLong),
        ] {
            match plain(path.as_bytes()) {
                Err(ImportError::Refused { refusal, .. }) => assert_eq!(refusal, expected),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_path_is_its_folder_and_its_name() {
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b""), None);
        assert_eq!(join(b"a/b", b"c"), b"a/b/c");
        assert_eq!(join(b"", b"c"), b"c");
    }
}
