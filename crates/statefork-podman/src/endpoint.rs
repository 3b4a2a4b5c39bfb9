//! Where the service listens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use statefork_runtime::{Result, RuntimeError, RuntimeOptions};

/// The variable that Podman's own clients read.
const VARIABLE: &str = "CONTAINER_HOST";
/// The usual socket of root's service.
const ROOT_SOCKET: &str = "/run/podman/podman.sock";

/// The socket of the service: that of the options, else the one that `CONTAINER_HOST` names, else
/// the usual one of this user. Looks at no file.
///
/// Errors: `Invalid` for a `CONTAINER_HOST` that is no UNIX socket.
pub(crate) fn socket(options: &RuntimeOptions) -> Result<PathBuf> {
    choose(
        options.socket.as_deref(),
        std::env::var_os(VARIABLE),
        rustix::process::geteuid().is_root(),
        std::env::var_os("XDG_RUNTIME_DIR"),
    )
}

/// The endpoint as a URL.
pub(crate) fn url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

fn choose(
    given: Option<&Path>,
    variable: Option<OsString>,
    root: bool,
    run_dir: Option<OsString>,
) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        return from_variable(&value.to_string_lossy());
    }
    match run_dir.filter(|dir| !root && !dir.is_empty()) {
        Some(dir) => Ok(Path::new(&dir).join("podman/podman.sock")),
        None => Ok(PathBuf::from(ROOT_SOCKET)),
    }
}

fn from_variable(value: &str) -> Result<PathBuf> {
    match value.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(RuntimeError::Invalid {
            what: format!("{VARIABLE}={value}"),
            reason: format!(
                "only a UNIX socket can be used (unix:///PATH); set the runtime's socket in the \
                 configuration, or unset {VARIABLE}"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(given: Option<&str>, variable: Option<&str>, root: bool) -> Result<String> {
        choose(
            given.map(Path::new),
            variable.map(OsString::from),
            root,
            Some("/run/user/7".into()),
        )
        .map(|path| path.display().to_string())
    }

    #[test]
    fn the_options_come_first_then_the_variable_then_the_usual_place() {
        let variable = Some("unix:///tmp/v.sock");
        assert_eq!(
            chosen(Some("/tmp/o.sock"), variable, true).unwrap(),
            "/tmp/o.sock"
        );
        assert_eq!(chosen(None, variable, true).unwrap(), "/tmp/v.sock");
        assert_eq!(chosen(None, Some(""), true).unwrap(), ROOT_SOCKET);
        assert_eq!(
            chosen(None, None, false).unwrap(),
            "/run/user/7/podman/podman.sock"
        );
    }

    #[test]
    fn another_scheme_is_refused_with_a_way_out() {
        for value in [
            "ssh://root@host/run/podman.sock",
            "tcp://host:1",
            "unix://x",
        ] {
            let error = chosen(None, Some(value), true).unwrap_err().to_string();
            assert!(
                error.contains(value) && error.contains("unset CONTAINER_HOST"),
                "{error}"
            );
        }
    }
}
