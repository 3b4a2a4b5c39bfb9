//! Names: of environments, hosts, users and images.

use std::path::PathBuf;

use super::mount::parse_mount_target;
use super::{ValueError, ValueKind};

/// Linux `HOST_NAME_MAX`.
const HOSTNAME_MAX: usize = 64;

/// Reads the name of an environment: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, not `HEAD`, not `base`, not
/// 4 to 12 hexadecimal digits only, which would be taken for a snapshot's id.
pub fn parse_name(text: &str) -> Result<String, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Name, text, reason));
    let mut characters = text.chars();
    if !characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        || !characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return fail(
            "a letter or digit is needed, then letters, digits, points, underscores and hyphens",
        );
    }
    if text.len() > 63 {
        return fail("longer than 63 characters");
    }
    if text == "HEAD" || text == "base" {
        return fail("this name has a meaning of its own");
    }
    if (4..=12).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return fail("4 to 12 hexadecimal digits would be taken for the id of a snapshot");
    }
    Ok(text.to_owned())
}

/// Reads a host name: at most 64 bytes, labels of letters, digits and hyphens between points
/// (RFC 1123, section 2.1).
pub fn parse_hostname(text: &str) -> Result<String, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Hostname, text, reason));
    if text.len() > HOSTNAME_MAX {
        return fail("longer than 64 bytes");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if !text.split('.').all(is_label) {
        return fail("letters, digits and inner hyphens are needed, in parts between points");
    }
    Ok(text.to_owned())
}

/// Reads `USER[:GROUP]`, names or numbers.
pub fn parse_user(text: &str) -> Result<String, ValueError> {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if !is_part(user) || !group.is_none_or(is_part) {
        return Err(ValueError::new(
            ValueKind::User,
            text,
            "USER or USER:GROUP is needed, names or numbers",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the name or id of an image.
pub fn parse_image(text: &str) -> Result<String, ValueError> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_graphic());
    if !fits {
        return Err(ValueError::new(
            ValueKind::Image,
            text,
            "a name such as localhost/target-app:latest or an id is needed",
        ));
    }
    Ok(text.to_owned())
}

/// Reads a working directory in the container: an absolute path.
pub fn parse_workdir(text: &str) -> Result<PathBuf, ValueError> {
    if text == "/" {
        return Ok(PathBuf::from(text));
    }
    parse_mount_target(text)
        .map_err(|error| ValueError::new(ValueKind::Workdir, text, error.reason()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in [
            "a",
            "default",
            "A.b_c-d",
            "abc",
            "0123456789abc",
            &"x".repeat(63),
        ] {
            assert_eq!(parse_name(good).unwrap(), good);
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a b",
            "a/b",
            "ä",
            "HEAD",
            "base",
            "beef",
            "0123456789ab",
            &"x".repeat(64),
        ] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_names_fit_the_kernel() {
        for good in ["web", "web-1.example.org", "1a", &"a".repeat(63)] {
            assert_eq!(parse_hostname(good).unwrap(), good);
        }
        for bad in ["", "-a", "a-", "a..b", "a_b", &"a".repeat(65)] {
            assert!(parse_hostname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_images_and_folders_have_a_form() {
        for good in ["root", "1000", "1000:1000", "app:users"] {
            assert_eq!(parse_user(good).unwrap(), good);
        }
        for bad in ["", ":", "a:", ":b", "a:b:c", "a b"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
        assert!(parse_image("localhost/a:b@sha256:00").is_ok());
        for bad in ["", "-x", "a b", "a\n"] {
            assert!(parse_image(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_workdir("/").unwrap(), PathBuf::from("/"));
        assert!(parse_workdir("srv").is_err());
    }
}
