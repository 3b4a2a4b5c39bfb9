//! Which cgroups a container is in (cgroups(7), `/proc/PID/cgroup`).

use std::io;

use crate::ContainerId;

/// The error of a process that ended while a file of its was open (errno(3)).
const ESRCH: i32 = 3;

/// A container's own cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// The controllers of the hierarchy, separated by commas; none of version 2.
    pub(crate) controllers: String,
    /// From the root of the hierarchy, with a leading slash.
    pub(crate) path: String,
}

/// The cgroups of the process `pid` that are named after the container with this full id. None where
/// there is no such process.
pub(crate) fn of(pid: u32, container: &ContainerId) -> io::Result<Vec<Cgroup>> {
    match std::fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        cgroups => Ok(named_after(&cgroups?, container)),
    }
}

/// Those lines of `/proc/PID/cgroup` that lead to a container's own.
pub(crate) fn named_after(cgroups: &str, container: &ContainerId) -> Vec<Cgroup> {
    let of = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_own = !container.as_str().is_empty() && path.contains(container.as_str());
        is_own.then(|| Cgroup {
            controllers: controllers.to_owned(),
            path: path.to_owned(),
        })
    };
    cgroups.lines().filter_map(of).collect()
}

/// Whether an error of reading below `/proc/PID` says that there is no such process.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_container_or_none_has_none() {
        let cgroups = "4:freezer:/docker/0a1b\n1:cpu,cpuacct:/x/0a1b\n0::/\n";
        let found = named_after(cgroups, &ContainerId::new("0a1b"));
        let found: Vec<_> = found
            .iter()
            .map(|cgroup| (cgroup.controllers.as_str(), cgroup.path.as_str()))
            .collect();
        assert_eq!(
            found,
            [("freezer", "/docker/0a1b"), ("cpu,cpuacct", "/x/0a1b")]
        );
        assert!(named_after(cgroups, &ContainerId::new("0a1c")).is_empty());
        assert!(named_after(cgroups, &ContainerId::new("")).is_empty());
        assert!(of(u32::MAX, &ContainerId::new("0a1b")).unwrap().is_empty());
    }
}
