//! Names: which ones people may give, and which ones objects get in a runtime.

use sha2::{Digest, Sha256};

use crate::error::{CoreError, Result};
use crate::model::SnapshotId;

/// Checks a name of an environment: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, not `HEAD`, not `base`, not
/// 4 to 12 hexadecimal digits only.
pub fn check_name(name: &str) -> Result<()> {
    let fail = |reason| {
        Err(CoreError::InvalidName {
            name: name.to_owned(),
            reason,
        })
    };
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return fail("it must begin with a letter or a digit");
    }
    if name.len() > 63 {
        return fail("it has more than 63 characters");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return fail("it may hold letters, digits, '.', '_' and '-' only");
    }
    if name == "HEAD" || name == crate::BASE {
        return fail("it is reserved");
    }
    if is_id_prefix(name) {
        return fail("it looks like the id of a snapshot");
    }
    Ok(())
}

/// The one of these names that looks most like `name`, by edits; `None` if none does.
pub(crate) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let lower = name.to_lowercase();
    names
        .map(|candidate| {
            (
                strsim::osa_distance(&candidate.to_lowercase(), &lower),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
pub(crate) fn glob_matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| glob_matches(rest, &name[at..]))
        }
        Some(first) => match name.chars().next() {
            Some(c) if first == '?' || first == c => {
                glob_matches(&pattern[first.len_utf8()..], &name[c.len_utf8()..])
            }
            _ => false,
        },
    }
}

/// Whether a text can be the prefix of a snapshot's id.
pub(crate) fn is_id_prefix(text: &str) -> bool {
    (4..=SnapshotId::LENGTH).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// What the names of all images begin with that are made for environments.
const OWN_IMAGES: &str = "statefork.local/";

/// Whether this is the name of an image that was made for an environment: of a capture, a build or
/// a prepared image.
pub fn is_own_image(name: &str) -> bool {
    name.starts_with(OWN_IMAGES)
}

/// The image name of an environment's objects in the runtime, `statefork.local/…`, without a tag.
///
/// An image name is stricter than an environment's (OCI distribution-spec 1.1, "Pulling
/// manifests": lower case, separators single and inside): one that does not fit is made to, with
/// a digest behind it so that two never meet.
pub(crate) fn image_repository(environment: &str) -> String {
    let mut fitted = String::new();
    for c in environment.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => fitted.push(c),
            _ if fitted.ends_with('-') => {}
            _ => fitted.push('-'),
        }
    }
    let fitted = fitted.trim_end_matches('-');
    if fitted == environment {
        return format!("{OWN_IMAGES}{fitted}");
    }
    let digest = Sha256::digest(environment.as_bytes());
    let digest: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{OWN_IMAGES}{fitted}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "default", "A.b_c-d", "abc", "feedbeefcafe0"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in [
            "",
            "-a",
            "a b",
            "ä",
            "HEAD",
            "base",
            "beef",
            "0123456789ab",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_fits_the_whole_name() {
        for (pattern, name, fits) in [
            ("f*", "fork-1", true),
            ("f*", "a-f", false),
            ("*", "anything", true),
            ("f?rk-*", "fork-12", true),
            ("f?", "f", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("", "", true),
        ] {
            assert_eq!(glob_matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn environments_never_share_an_image_name() {
        assert_eq!(image_repository("shop"), "statefork.local/shop");
        let names = ["Shop", "shop", "shop-", "shop_", "s--hop", "s-hop"];
        let mut repositories: Vec<_> = names.map(image_repository).into();
        repositories.sort();
        repositories.dedup();
        assert_eq!(repositories.len(), names.len(), "{repositories:?}");
    }
}
