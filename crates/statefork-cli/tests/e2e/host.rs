//! What an environment of native has on the machine besides its files: processes, cgroups, links,
//! rules of the network, mounts. And what must not be left of it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use statefork_runtime::ContainerId;

use crate::world::{World, text, wait_for};

/// How long what was killed may take to be gone. Process 1 of some machines reaps late.
const GONE: Duration = Duration::from_secs(10);
/// The message of nftables (linux/netfilter/nf_tables.h): all rules.
const RULES: u16 = 7;

/// What an environment with a storage of its own has had, as far as somebody looked.
pub(crate) struct Host<'a> {
    world: &'a World,
    containers: BTreeSet<ContainerId>,
    /// Processes, by number and start.
    processes: HashSet<(Pid, u64)>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self {
            world,
            containers: BTreeSet::new(),
            processes: HashSet::new(),
        }
    }

    /// Remembers the containers that there are now, and their processes.
    pub(crate) fn look(&mut self) {
        let found = fs::read_dir(self.containers_folder()).unwrap();
        let names = found.map(|found| found.unwrap().file_name().into_string().unwrap());
        for name in names {
            let run = self.containers_folder().join(&name).join("run.json");
            // Otherwise none has begun yet.
            if run.exists() {
                self.remember(processes_of(&run));
            }
            self.containers.insert(ContainerId::new(name));
        }
    }

    /// Remembers processes.
    pub(crate) fn remember(&mut self, pids: impl IntoIterator<Item = Pid>) {
        let started = |pid: Pid| Some((pid, start(pid)?));
        self.processes.extend(pids.into_iter().filter_map(started));
    }

    fn containers_folder(&self) -> PathBuf {
        self.world.storage().join("containers")
    }

    /// The number of the process that waits for the container's end.
    pub(crate) fn monitor(&self) -> Pid {
        let container = text(&self.world.json(&["status"])["container"]);
        let folder = self.containers_folder().join(container);
        processes_of(&folder.join("run.json"))[0]
    }

    /// The number of the container's first process.
    pub(crate) fn init(&self) -> Pid {
        pid(&self.world.json(&["status"])["pid"])
    }

    /// The numbers of the shims of the home.
    pub(crate) fn shims(&self) -> Vec<Pid> {
        let folders = fs::read_dir(self.world.home().join("shims")).unwrap();
        let locks = folders.map(|folder| folder.unwrap().path().join("lock"));
        locks.map(|lock| pid(&read_json(&lock)["pid"])).collect()
    }

    /// The addresses of the storage's containers, which stand in each of its rules.
    fn addresses(&self) -> Option<String> {
        let books = rusqlite::Connection::open(self.world.storage().join("books.sqlite")).unwrap();
        let sql = "SELECT value FROM setting WHERE name = 'network.subnet'";
        books.query_row(sql, (), |row| row.get(0)).ok()
    }

    /// Whether there are rules for its containers.
    pub(crate) fn has_rules(&self) -> bool {
        let Some(addresses) = self.addresses() else {
            return false;
        };
        // It ends where the comment does.
        let comment = [addresses.as_bytes(), b"\0"].concat();
        let rules = rules();
        rules.windows(comment.len()).any(|part| part == comment)
    }

    /// Whether the machine keeps the containers' addresses to itself.
    pub(crate) fn has_route(&self) -> bool {
        let Some(addresses) = self.addresses() else {
            return false;
        };
        let (address, _) = addresses.split_once('/').unwrap();
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        // As the kernel has it in memory.
        let address = format!("{:08X}", u32::from_ne_bytes(address.octets()));
        let routes = fs::read_to_string("/proc/net/route").unwrap();
        let mut destinations = routes.lines().map(|line| line.split('\t').nth(1));
        destinations.any(|destination| destination == Some(&address))
    }

    /// All that is left on the machine, in words.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for id in &self.containers {
            left.extend(cgroups(id).iter().map(|path| path.display().to_string()));
            let link = PathBuf::from(format!("/sys/class/net/sf{}", id.short()));
            left.extend(link.exists().then(|| link.display().to_string()));
        }
        if self.has_rules() {
            left.push("rules of the network".to_owned());
        }
        if self.has_route() {
            left.push("a route".to_owned());
        }
        let line = |pid| {
            let command = of(pid, "cmdline");
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            format!("process {}: {command}", pid.as_raw_nonzero())
        };
        left.extend(self.processes().into_iter().map(line));
        left
    }

    /// What runs of it: by what was remembered, by the variable that
    /// [`World::command`](crate::world::World::command) sets, and by what it holds.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let variable = format!("SF_TEST={}\0", self.world.name);
        let remembered = |pid, start| self.processes.contains(&(pid, start));
        let is_ours = |pid: &Pid| {
            has(*pid, "environ", &variable)
                || start(*pid).is_some_and(|start| remembered(*pid, start))
                || self.is_held_by(*pid)
        };
        all_processes().filter(is_ours).collect()
    }

    /// The processes in a cgroup of the containers that somebody looked at, or that see something
    /// mounted from one's folder.
    pub(crate) fn holders(&self) -> Vec<Pid> {
        all_processes()
            .filter(|pid| self.is_held_by(*pid))
            .collect()
    }

    fn is_held_by(&self, process: Pid) -> bool {
        let holds = |id: &ContainerId| {
            has(process, "cgroup", id.as_str())
                || has(process, "mountinfo", &format!("/containers/{id}/"))
        };
        // One that has ended, and that nobody has waited for, is still listed with its cgroup.
        start(process).is_some() && self.containers.iter().any(holds)
    }

    /// Purges the environment; nothing of it is left on the machine.
    pub(crate) fn purge(mut self) {
        self.look();
        assert!(!self.containers.is_empty());
        self.world.ok(&["down", "--purge"]);
        assert_eq!(self.world.left_in_runtime(), [""; 0]);
        let containers = fs::read_dir(self.containers_folder()).unwrap().count();
        assert_eq!(containers, 0, "folders of containers");
        // They have been told to end.
        wait_for(GONE, || self.processes().is_empty());
        assert_eq!(self.left(), [""; 0]);
    }
}

/// Who waits for a container's end, and its first process, by what the helper wrote down.
pub(crate) fn processes_of(run: &Path) -> [Pid; 2] {
    let run = read_json(run);
    ["monitor", "init"].map(|who| pid(&run[who]["pid"]))
}

/// The folders of a container's cgroup, in whatever hierarchy.
pub(crate) fn cgroups(container: &ContainerId) -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let mounts = fs::read_dir(&root).unwrap();
    let mut roots: Vec<_> = mounts.map(|mount| mount.unwrap().path()).collect();
    roots.push(root);
    let paths = roots
        .iter()
        .map(|root| root.join("statefork").join(container.as_str()));
    paths.filter(|path| path.exists()).collect()
}

/// All rules of nftables, as the kernel tells them.
fn rules() -> Vec<u8> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
    // struct nlmsghdr: length, type (subsystem 10), NLM_F_REQUEST | NLM_F_DUMP, number, port; and
    // struct nfgenmsg: any family.
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend((10_u16 << 8 | RULES).to_ne_bytes());
    request.extend(0x301_u16.to_ne_bytes());
    request.extend([0; 12]);
    rustix::net::send(&socket, &request, SendFlags::empty()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        answer.extend(&buffer[..length]);
        // NLMSG_DONE or NLMSG_ERROR, alone in the last piece or behind others.
        let mut at = 0;
        while at + 16 <= length {
            let kind = u16::from_ne_bytes([buffer[at + 4], buffer[at + 5]]);
            if matches!(kind, 2 | 3) {
                return answer;
            }
            let size = buffer[at..at + 4].try_into().unwrap();
            at += u32::from_ne_bytes(size).next_multiple_of(4) as usize;
        }
    }
}

pub(crate) fn all_processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw)
}

/// Whether a text is in a file of a process.
fn has(process: Pid, file: &str, text: &str) -> bool {
    let content = of(process, file);
    let mut parts = content.windows(text.len());
    parts.any(|part| part == text.as_bytes())
}

/// A file of a process; empty where that has ended.
pub(crate) fn of(process: Pid, name: &str) -> Vec<u8> {
    let number = process.as_raw_nonzero();
    fs::read(format!("/proc/{number}/{name}")).unwrap_or_default()
}

/// When a process started, as `run.json` has it; `None` once it has ended, whether or not somebody
/// has waited for it.
pub(crate) fn start(process: Pid) -> Option<u64> {
    let stat = String::from_utf8(of(process, "stat")).ok()?;
    // Fields 3 and 22 of proc_pid_stat(5), behind its name.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let runs = fields
        .next()
        .is_some_and(|state| !matches!(state, "Z" | "X"));
    runs.then(|| fields.nth(18)?.parse().ok())?
}

/// Kills a process, if it has not ended, and waits until it has.
pub(crate) fn kill(process: Pid) {
    match kill_process(process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => wait_for(GONE, || start(process).is_none()),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn pid(value: &Value) -> Pid {
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number
        .and_then(Pid::from_raw)
        .unwrap_or_else(|| panic!("{value} is no process"))
}
