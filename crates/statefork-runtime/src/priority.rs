//! How urgent a container is to the kernel beside others (Linux, cgroup-v1 "cpu.shares" and cgroup-v2,
//! "CPU"; else sched(7), "The autogroup feature"): for what is made in the background, where somebody
//! else's work should not wait for it.

use std::io;
use std::path::PathBuf;

use crate::ContainerId;
use crate::cgroup::{self, Cgroup, is_absent};

/// The share of the processors that a container has beside others.
#[derive(Debug)]
pub struct Share {
    file: PathBuf,
    /// What is written there again.
    usual: String,
}

impl Share {
    /// Gives a container the least share that there is, until it is given [back](Self::give_back). `pid`
    /// is a process of it, `container` its full id.
    ///
    /// `None` where it has none of its own: there is no such process, its cgroup is not named after the
    /// container, or neither that nor its session has a share.
    pub fn least(pid: u32, container: &ContainerId) -> io::Result<Option<Self>> {
        let cgroups = cgroup::of(pid, container)?;
        for (file, least) in files(&cgroups) {
            match std::fs::read_to_string(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                usual => {
                    let usual = usual?;
                    std::fs::write(&file, least)?;
                    let usual = usual.trim().to_owned();
                    return Ok(Some(Self { file, usual }));
                }
            }
        }
        let is_named = |cgroup: &Cgroup| cgroup.path.ends_with(container.as_str());
        match cgroups.iter().any(is_named) {
            true => Self::least_of_session(pid),
            false => Ok(None),
        }
    }

    /// The same by the niceness of the session that `pid` is in, which is the container's own.
    fn least_of_session(pid: u32) -> io::Result<Option<Self>> {
        let file = PathBuf::from(format!("/proc/{pid}/autogroup"));
        let said = match std::fs::read_to_string(&file) {
            Err(error) if is_absent(&error) => return Ok(None),
            said => said?,
        };
        // `/autogroup-NUMBER nice NICE`
        let Some((_, usual)) = said.trim().rsplit_once(" nice ") else {
            return Ok(None);
        };
        std::fs::write(&file, "19")?;
        let usual = usual.to_owned();
        Ok(Some(Self { file, usual }))
    }

    /// Gives back what it had. A container that is gone needs none.
    pub fn give_back(self) -> io::Result<()> {
        match std::fs::write(&self.file, &self.usual) {
            Err(error) if is_absent(&error) => Ok(()),
            written => written,
        }
    }
}

/// The files that say it, and the least that can be written there.
fn files(cgroups: &[Cgroup]) -> Vec<(PathBuf, &'static str)> {
    let of = |Cgroup { controllers, path }: &Cgroup| {
        if controllers.is_empty() {
            let file = format!("/sys/fs/cgroup{path}/cpu.weight");
            Some((file.into(), "1"))
        } else if controllers.split(',').any(|name| name == "cpu") {
            let file = format!("/sys/fs/cgroup/cpu{path}/cpu.shares");
            Some((file.into(), "2"))
        } else {
            None
        }
    };
    cgroups.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::named_after;

    #[test]
    fn either_version_has_its_file() {
        let container = ContainerId::new("0a1b");
        let found = files(&named_after(
            "9:cpu,cpuacct:/docker/0a1b\n4:freezer:/x/0a1b\n0::/s/0a1b\n",
            &container,
        ));
        let found: Vec<_> = found
            .iter()
            .map(|(file, least)| (file.display().to_string(), *least))
            .collect();
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/cpu/docker/0a1b/cpu.shares".to_owned(), "2"),
                ("/sys/fs/cgroup/s/0a1b/cpu.weight".to_owned(), "1")
            ]
        );
        assert!(files(&named_after("1:cpu:/docker/0a1c\n0::/\n", &container)).is_empty());
        assert!(Share::least(u32::MAX, &container).unwrap().is_none());
    }
}
