//! Where the daemon's socket is.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use statefork_runtime::{Result, RuntimeError};

/// Where a daemon that runs as root listens.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// The path of the socket: the given one, else that of `DOCKER_HOST`, else the first of the usual
/// places where something is.
pub(crate) fn find(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(path) = given {
        return text(path);
    }
    if let Some(host) = set("DOCKER_HOST") {
        return of_url(&host.to_string_lossy());
    }
    let rootless = set("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("docker.sock"));
    match rootless {
        Some(rootless) if !is_there(Path::new(SYSTEM_SOCKET)) && is_there(&rootless) => {
            text(&rootless)
        }
        _ => Ok(SYSTEM_SOCKET.to_owned()),
    }
}

fn of_url(url: &str) -> Result<String> {
    match url.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(RuntimeError::Unsupported {
            op: "use DOCKER_HOST",
            reason: format!(
                "{url} is not unix:///PATH; only a daemon on this machine can be used: unset \
                 DOCKER_HOST, or name the socket in it or in the configuration"
            ),
        }),
    }
}

/// A socket that we may not look at is there, too.
fn is_there(path: &Path) -> bool {
    !matches!(path.metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| RuntimeError::Invalid {
            what: format!("socket {}", path.display()),
            reason: "its path is not UTF-8".into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use statefork_runtime::ErrorKind;

    fn with(variables: &[(&str, &str)]) -> Result<String> {
        find(None, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_given_socket_comes_before_the_environment() {
        let found = find(Some(Path::new("/a.sock")), |_| {
            Some("unix:///b.sock".into())
        });
        assert_eq!(found.unwrap(), "/a.sock");
    }

    #[test]
    fn docker_host_names_a_unix_socket() {
        assert_eq!(
            with(&[("DOCKER_HOST", "unix:///b.sock")]).unwrap(),
            "/b.sock"
        );
        for other in ["tcp://127.0.0.1:2375", "ssh://host", "unix://relative"] {
            let error = with(&[("DOCKER_HOST", other)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(other), "{error}");
        }
    }

    #[test]
    fn an_empty_docker_host_is_none() {
        let found = with(&[("DOCKER_HOST", ""), ("XDG_RUNTIME_DIR", "/nowhere")]);
        assert_eq!(found.unwrap(), SYSTEM_SOCKET);
    }
}
