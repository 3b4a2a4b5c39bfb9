//! Limits on open files and processes of a container.
//!
//! Podman asks for its defaults even where hard limits are lower and cannot be raised, and then no
//! container starts. The request therefore names limits that can be set: what a container gets is
//! inherited from the service, so it is the service's hard limits that count, and ours where they
//! cannot be seen.

use std::path::Path;

use podman_api::models::PosixRlimit;
use rustix::process::{Resource, getrlimit};
use tokio::net::UnixStream;

/// Podman's own default for both.
const DEFAULT: u64 = 1_048_576;

/// The limits to ask for, where Podman's defaults are too high. A service that cannot be reached
/// is none of this function's business: the request itself will say so.
pub(crate) async fn to_ask_for(socket: &Path) -> Vec<PosixRlimit> {
    let limits = service_limits(socket).await.unwrap_or_default();
    // The API wants the names without the prefix RLIMIT_.
    [
        ("NOFILE", Resource::Nofile, "Max open files"),
        ("NPROC", Resource::Nproc, "Max processes"),
    ]
    .into_iter()
    .filter_map(|(name, resource, line)| {
        let own = getrlimit(resource).maximum;
        let hard = own.into_iter().chain(hard_limit(&limits, line)).min()?;
        (hard < DEFAULT).then(|| PosixRlimit {
            hard: Some(hard),
            soft: Some(hard),
            type_: Some(name.into()),
        })
    })
    .collect()
}

/// The limits of the process that listens at the socket (proc(5), `/proc/PID/limits`).
async fn service_limits(socket: &Path) -> Option<String> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()
}

/// The hard limit in a line of `/proc/PID/limits`: name, soft limit, hard limit, unit.
fn hard_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_the_second_number() {
        let limits = "Limit       Soft Limit   Hard Limit   Units\n\
                      Max processes    1024    32768    processes\n\
                      Max open files   20000   unlimited  files\n";
        assert_eq!(hard_limit(limits, "Max processes"), Some(32768));
        assert_eq!(hard_limit(limits, "Max open files"), None);
        assert_eq!(hard_limit("", "Max processes"), None);
    }
}
