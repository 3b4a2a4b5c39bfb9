//! The options of a tmpfs as a daemon tells them.

/// What a text of options for a tmpfs says (tmpfs(5)), as daemons keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// How much it may hold, in bytes.
    pub size: Option<u64>,
    /// Whether nothing can be written there.
    pub read_only: bool,
    /// Options that [`MountSource::Tmpfs`](crate::MountSource::Tmpfs) cannot say.
    pub others: Vec<String>,
}

/// What every tmpfs has, or what changes nothing.
const USUAL: [&str; 5] = ["", "rw", "nosuid", "nodev", "mode=1777"];

impl TmpfsOptions {
    /// Reads options that are separated by commas; `usual` are those that the daemon adds by
    /// itself.
    pub fn parse(text: &str, usual: &[&str]) -> Self {
        let mut read = Self::default();
        for option in text.split(',').map(str::trim) {
            match option.strip_prefix("size=").map(bytes) {
                // 0 is no limit.
                Some(Some(size)) => read.size = Some(size).filter(|size| *size > 0),
                _ if option == "ro" => read.read_only = true,
                _ if USUAL.contains(&option) || usual.contains(&option) => {}
                _ => read.others.push(option.to_owned()),
            }
        }
        read
    }
}

/// Bytes from a number with `k`, `m` or `g` behind it, or nothing. `None` for anything else, a share
/// of the machine's memory among it.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let suffixes = [('k', 10), ('m', 20), ('g', 30)];
    let suffixed = suffixes
        .iter()
        .find_map(|(suffix, shift)| Some((text.strip_suffix(*suffix)?, *shift)));
    let (number, shift) = suffixed.unwrap_or((&text, 0));
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_what_is_no_size_is_told() {
        let of = |text| TmpfsOptions::parse(text, &["noexec"]);
        assert_eq!(of(""), TmpfsOptions::default());
        assert_eq!(of("rw,noexec,size=64m").size, Some(64 << 20));
        assert_eq!(of("size=1024,ro").size, Some(1024));
        assert_eq!(of("size=1G").size, Some(1 << 30));
        assert_eq!(of("size=64m,size=0"), TmpfsOptions::default());
        assert_eq!(of("size=64kmg").others, ["size=64kmg"]);
        assert!(of("size=1024,ro").read_only);
        let other = of("size=50%,exec,uid=1000");
        assert_eq!(other.size, None);
        assert_eq!(other.others, ["size=50%", "exec", "uid=1000"]);
    }
}
