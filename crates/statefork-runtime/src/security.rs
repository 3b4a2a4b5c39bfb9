//! Security options as the command lines of daemons spell them.

/// The one that is a setting of the contract,
/// [`ContainerSpec::no_new_privileges`](crate::ContainerSpec::no_new_privileges).
pub const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// What `no-new-privileges`, alone or with `=` or `:` and `true` or `false`, says: whether no
/// process gets more rights. `None` for any other option.
pub fn no_new_privileges(option: &str) -> Option<bool> {
    match option.strip_prefix(NO_NEW_PRIVILEGES)? {
        "" => Some(true),
        value => value.strip_prefix(['=', ':'])?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_have_a_value() {
        for (option, on) in [
            ("no-new-privileges", Some(true)),
            ("no-new-privileges=false", Some(false)),
            ("no-new-privileges:true", Some(true)),
            ("no-new-privileges=no", None),
            ("no-new-privileges-ever", None),
            ("seccomp=unconfined", None),
        ] {
            assert_eq!(no_new_privileges(option), on, "{option}");
        }
    }
}
