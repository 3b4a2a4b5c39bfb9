//! What a branch's container has of its branch.

use statefork_runtime::ContainerSpec;

use crate::model::MAIN;

/// Longest host name in bytes (Linux `HOST_NAME_MAX`).
const LONGEST: usize = 64;

/// The settings that a branch's container is launched with. A host name that was set becomes
/// `NAME-BRANCH` on every branch but `main`, so that no two containers of an environment have the same;
/// one that was not is the container's own on every runtime.
pub(super) fn settings(branch: &str, spec: &ContainerSpec) -> ContainerSpec {
    let mut spec = spec.clone();
    if branch != MAIN {
        spec.hostname = spec.hostname.map(|name| host_name(&name, branch));
    }
    spec
}

fn host_name(name: &str, branch: &str) -> String {
    // Not every runtime takes an underscore.
    let mut full = format!("{name}-{}", branch.replace('_', "-"));
    if full.len() > LONGEST {
        // Branches differ at their ends, as `fork-1` and `fork-2` do.
        let room = LONGEST.saturating_sub(branch.len() + 1);
        let cut = name
            .char_indices()
            .take_while(|(at, c)| at + c.len_utf8() <= room);
        let cut: String = cut.map(|(_, c)| c).collect();
        full = format!(
            "{}-{}",
            cut.trim_end_matches(['-', '.']),
            branch.replace('_', "-")
        );
    }
    full.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: Option<&str>, branch: &str) -> Option<String> {
        let spec = ContainerSpec {
            hostname: name.map(str::to_owned),
            ..ContainerSpec::default()
        };
        settings(branch, &spec).hostname
    }

    #[test]
    fn each_branch_has_a_host_name_of_its_own() {
        assert_eq!(named(Some("shop"), "main").as_deref(), Some("shop"));
        assert_eq!(
            named(Some("shop"), "fork-1").as_deref(),
            Some("shop-fork-1")
        );
        assert_eq!(named(Some("shop"), "a_b").as_deref(), Some("shop-a-b"));
        assert_eq!(named(None, "fork-1"), None);
    }

    #[test]
    fn what_is_too_long_loses_what_branches_have_in_common() {
        let long = "n".repeat(60);
        let one = named(Some(&long), "fork-1").unwrap();
        let two = named(Some(&long), "fork-2").unwrap();
        assert!(one.len() <= LONGEST && one.ends_with("n-fork-1"), "{one}");
        assert_ne!(one, two);
        let branch = "b".repeat(63);
        let longest = named(Some("shop"), &branch).unwrap();
        assert!(
            longest.len() <= LONGEST && longest.ends_with(&branch),
            "{longest}"
        );
    }
}
