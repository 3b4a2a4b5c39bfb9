//! What a container takes of the machine (proc(5); Linux, cgroup-v1 and cgroup-v2): asked of the
//! kernel, alike for every backend whose containers run on this machine.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ContainerId;
use crate::cgroup::{self, Cgroup, is_absent};

/// What a container's processes take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that its processes have and that the kernel could get back only by swapping:
    /// anonymous and shared memory. What two of them share counts twice; files in a tmpfs that none of
    /// them has mapped do not count.
    pub memory_bytes: u64,
    /// Processor time of its processes and of those that they have waited for.
    pub cpu: Duration,
}

/// What the processes of a container take now. `pid` is one of them, `container` its full id.
///
/// `None` where that cannot be told: there is no such process, or its cgroup is not named after the
/// container.
pub fn usage(pid: u32, container: &ContainerId) -> io::Result<Option<Usage>> {
    for folder in folders(&cgroup::of(pid, container)?) {
        if folder.is_dir() {
            let mut pids = BTreeSet::new();
            members(&folder, &mut pids)?;
            return sum(&pids).map(Some);
        }
    }
    Ok(None)
}

/// The folders of a container's own cgroups that have all its processes.
fn folders(cgroups: &[Cgroup]) -> Vec<PathBuf> {
    let of = |Cgroup { controllers, path }: &Cgroup| {
        let hierarchies: &[&str] = match controllers.as_str() {
            "" => &["", "/unified"],
            "freezer" => &["/freezer"],
            _ => &[],
        };
        let folders = hierarchies
            .iter()
            .map(|name| PathBuf::from(format!("/sys/fs/cgroup{name}{path}")));
        folders.collect::<Vec<_>>()
    };
    cgroups.iter().flat_map(of).collect()
}

/// The processes of a cgroup and of those below it.
fn members(folder: &Path, pids: &mut BTreeSet<u32>) -> io::Result<()> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            members(&entry.path(), pids)?;
        }
    }
    Ok(())
}

fn sum(pids: &BTreeSet<u32>) -> io::Result<Usage> {
    let ticks = rustix::param::clock_ticks_per_second();
    let mut usage = Usage::default();
    for pid in pids {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let read = |name| match std::fs::read_to_string(folder.join(name)) {
            // It has ended meanwhile.
            Err(error) if is_absent(&error) => Ok(None),
            text => text.map(Some),
        };
        if let (Some(status), Some(stat)) = (read("status")?, read("stat")?) {
            usage.memory_bytes += memory_of(&status);
            usage.cpu += Duration::from_millis(ticks_of(&stat) * 1000 / ticks.max(1));
        }
    }
    Ok(usage)
}

/// Bytes, of `/proc/PID/status`; one that is ending has none.
fn memory_of(status: &str) -> u64 {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix("kB"));
        number.and_then(|number| number.trim().parse::<u64>().ok())
    };
    let kilobytes = field("RssAnon:").unwrap_or(0) + field("RssShmem:").unwrap_or(0);
    kilobytes * 1024
}

/// Fields 14 to 17 of `/proc/PID/stat`: its own time and that of the children it has waited for.
fn ticks_of(stat: &str) -> u64 {
    // The command's name, field 2, is in parentheses and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(11).take(4);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::named_after;

    #[test]
    fn the_container_s_own_cgroups_are_chosen() {
        let container = ContainerId::new("0a1b");
        let found = folders(&named_after(
            "5:memory:/m/0a1b\n4:freezer:/x/0a1b\n0::/docker/0a1b\n",
            &container,
        ));
        let found: Vec<_> = found
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/freezer/x/0a1b",
                "/sys/fs/cgroup/docker/0a1b",
                "/sys/fs/cgroup/unified/docker/0a1b"
            ]
        );
        assert!(folders(&named_after("4:freezer:/docker/0a1c\n0::/\n", &container)).is_empty());
        assert_eq!(usage(u32::MAX, &container).unwrap(), None);
    }

    #[test]
    fn the_kernel_s_figures_are_read() {
        let status = "Name:\tx\nRssAnon:\t    2048 kB\nRssFile:\t 99 kB\nRssShmem:\t  1024 kB\n";
        assert_eq!(memory_of(status), 3 << 20);
        assert_eq!(memory_of("Name:\tx\nState:\tZ (zombie)\n"), 0);
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 9";
        assert_eq!(ticks_of(stat), 4330);
        let own = BTreeSet::from([std::process::id()]);
        assert!(sum(&own).unwrap().memory_bytes > 0);
    }
}
