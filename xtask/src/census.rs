//! What a run may leave on the machine: counted before, and compared after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::daemons::identity;
use crate::engine::Engine;

/// Programs of ours that must not outlive a run.
const PROGRAMS: [&str; 2] = ["statefork", "statefork-shim"];

/// How the names of the embedded runtime's links begin, of which each container has one.
const LINK: &str = "sf";

/// Below which of each hierarchy the embedded runtime has its control groups.
const GROUPS: &str = "statefork";

/// How long what was removed may take to go: engines free ports and processes after they answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything there is, in words.
#[derive(Debug)]
pub(crate) struct Census(BTreeSet<String>);

impl Census {
    /// Counts what is in the engines, our processes, the links and control groups of the embedded
    /// runtime, and the ports that are listened on.
    pub(crate) fn take(engines: &[Engine]) -> Result<Self> {
        let mut there = BTreeSet::new();
        for engine in engines {
            let objects = engine.objects()?;
            there.extend(objects.iter().map(|o| format!("{} {o}", engine.kind)));
        }
        there.extend(processes());
        there.extend(links());
        there.extend(control_groups());
        there.extend(listeners());
        Ok(Self(there))
    }

    /// Fails, naming each thing, if there is something that was not there before and that does not
    /// go by itself within 15 s.
    pub(crate) fn compare(&self, engines: &[Engine]) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = Self::take(engines)?;
            let left: Vec<&str> = now.0.difference(&self.0).map(String::as_str).collect();
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!(
                    "left behind (unless somebody else has made it meanwhile):\n  {}",
                    left.join("\n  ")
                );
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn processes() -> Vec<String> {
    let mut found = Vec::new();
    let ours = identity::find(|args| {
        Path::new(args[0])
            .file_name()
            .is_some_and(|name| PROGRAMS.iter().any(|program| name == *program))
    });
    for process in ours {
        let bytes = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        found.push(format!("process {} {}", process.pid, line.trim()));
    }
    found
}

fn links() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split(':').next());
    names
        .map(str::trim)
        .filter(|name| name.starts_with(LINK))
        .map(|name| format!("link {name}"))
        .collect()
}

/// Those of the hierarchies that lie where they usually do (cgroups(7)): of version 2 alone, or one for
/// each controller of version 1 and that of version 2 beside them.
fn control_groups() -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    let mut roots: Vec<_> = hierarchies.map(|entry| entry.path()).collect();
    roots.push(root.to_owned());
    let groups = roots
        .iter()
        .flat_map(|root| fs::read_dir(root.join(GROUPS)))
        .flatten()
        .flatten();
    groups
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .map(|path| format!("control group {}", path.display()))
        .collect()
}

/// The TCP ports that are listened on, each with who does.
fn listeners() -> Vec<String> {
    let mut sockets = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(listener));
    }
    let mut holders: BTreeMap<u64, String> = BTreeMap::new();
    for (pid, inode) in open_sockets() {
        if sockets.contains_key(&inode) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            holders
                .entry(inode)
                .or_insert_with(|| name.trim().to_owned());
        }
    }
    let mut found = Vec::new();
    for (inode, address) in sockets {
        let holder = holders.get(&inode).map_or("unknown", String::as_str);
        found.push(format!("port {address}, listened on by {holder}"));
    }
    found
}

/// The inode and address of a listening socket, from a line of `/proc/net/tcp` (proc(5)).
fn listener(line: &str) -> Option<(u64, SocketAddr)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let words: Vec<u8> = (0..ip.len() / 8)
        .map(|word| u32::from_str_radix(&ip[word * 8..word * 8 + 8], 16))
        // The kernel prints each word as a number of this machine.
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Result<Vec<_>, _>>()
        .ok()?
        .concat();
    let ip = match words.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(words).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((fields.get(9)?.parse().ok()?, SocketAddr::new(ip, port)))
}

/// Each process with the inodes of its sockets, as far as we may see them.
fn open_sockets() -> Vec<(i32, u64)> {
    let mut open = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:["))
                .and_then(|text| text.strip_suffix(']'))
                .and_then(|text| text.parse().ok());
            open.extend(inode.map(|inode| (pid, inode)));
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_named_with_who_listens() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else {
                // A machine without IPv6.
                continue;
            };
            let address = listener.local_addr().unwrap();
            let named = format!("port {address}, listened on by ");
            let found = listeners();
            assert!(
                found
                    .iter()
                    .any(|port| port.starts_with(&named) && !port.ends_with("unknown")),
                "{named} in {found:?}"
            );
        }
    }
}
