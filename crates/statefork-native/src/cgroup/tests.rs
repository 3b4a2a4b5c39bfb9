//! Tests with the cgroups of this machine, and with tables of other machines' mounts.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A cgroup that is killed and removed at the end.
struct Made(Cgroup);

impl Made {
    fn new(limits: &Limits) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("statefork-test-{}-{number}/one", std::process::id());
        let cgroup = Cgroup::new(Path::new(&name)).unwrap();
        cgroup.create(limits).unwrap();
        Self(cgroup)
    }

    /// A process in it that counts in a file.
    fn worker(&self) -> Child {
        let cgroup = self.0.clone();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        start_in(command, &cgroup)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.remove().unwrap();
        let folders = self.0.folders();
        assert!(!folders.iter().any(|folder| folder.exists()), "{folders:?}");
        let parents = folders.iter().filter_map(|folder| folder.parent());
        for parent in parents {
            assert!(!parent.exists(), "{}", parent.display());
        }
    }
}

/// Starts a process in a cgroup by a shell that joins it first.
fn start_in(command: Command, cgroup: &Cgroup) -> Child {
    let mut joins = String::new();
    for folder in cgroup.folders().iter().filter(|folder| folder.exists()) {
        joins.push_str(&format!("echo $$ > {}/cgroup.procs && ", folder.display()));
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{joins} exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .process_group(0);
    let child = shell.spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let begin = Instant::now();
    while !cgroup.pids().unwrap().contains(&pid) {
        assert!(begin.elapsed() < Duration::from_secs(5), "never joined");
        std::thread::sleep(PAUSE);
    }
    child
}

/// How much processor time a process has used, in clock ticks.
fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

#[test]
fn a_frozen_cgroup_stands_still_and_a_thawed_one_goes_on() {
    let made = Made::new(&Limits::default());
    let mut worker = made.worker();
    assert!(!made.0.is_frozen().unwrap());
    for _ in 0..3 {
        made.0.freeze(Duration::from_secs(5)).unwrap();
        made.0.freeze(Duration::from_secs(5)).unwrap();
        assert!(made.0.is_frozen().unwrap());
        let before = ticks(&worker);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(ticks(&worker), before);
        made.0.thaw().unwrap();
        made.0.thaw().unwrap();
        assert!(!made.0.is_frozen().unwrap());
        let begin = Instant::now();
        while ticks(&worker) == before {
            assert!(begin.elapsed() < Duration::from_secs(10), "it stands still");
            std::thread::sleep(PAUSE);
        }
    }
    made.0.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn all_are_killed_frozen_or_not() {
    for frozen in [false, true] {
        let made = Made::new(&Limits::default());
        let mut workers = [made.worker(), made.worker()];
        assert_eq!(made.0.pids().unwrap().len(), 2);
        if frozen {
            made.0.freeze(Duration::from_secs(5)).unwrap();
        }
        made.0.kill().unwrap();
        for worker in &mut workers {
            worker.wait().unwrap();
        }
        assert!(!made.0.is_frozen().unwrap());
    }
}

#[test]
fn limits_are_set_and_a_busy_cgroup_is_not_made_anew() {
    let limits = Limits {
        memory: Some(64 << 20),
        cpus: Some(0.5),
    };
    let made = Made::new(&limits);
    let read = |folder: Option<PathBuf>, file: &str| {
        let folder = folder.unwrap_or_else(|| made.0.v2().unwrap());
        std::fs::read_to_string(folder.join(file)).unwrap()
    };
    match made.0.with("memory") {
        None => assert_eq!(read(None, "memory.max"), "67108864\n"),
        memory => assert_eq!(read(memory, "memory.limit_in_bytes"), "67108864\n"),
    }
    match made.0.with("cpu") {
        None => assert_eq!(read(None, "cpu.max"), "50000 100000\n"),
        cpu => assert_eq!(read(cpu, "cpu.cfs_quota_us"), "50000\n"),
    }
    assert_eq!(read(made.0.with("pids"), "pids.max"), "32768\n");

    // An empty one that was left behind does not count, with its limits.
    made.0.create(&Limits::default()).unwrap();
    let read_memory = match made.0.with("memory") {
        None => read(None, "memory.max"),
        memory => read(memory, "memory.limit_in_bytes"),
    };
    assert_ne!(read_memory, "67108864\n");
    let mut worker = made.worker();
    let busy = made.0.create(&limits).unwrap_err();
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(made.0.pids().unwrap().len(), 1);
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn what_is_absent_is_left_alone() {
    let cgroup = Cgroup::new(Path::new("statefork-test-absent/none")).unwrap();
    cgroup.thaw().unwrap();
    cgroup.kill().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    assert!(cgroup.pids().unwrap().is_empty());
    assert!(cgroup.freeze(Duration::ZERO).is_err());
}

#[test]
fn hierarchies_are_found_in_any_arrangement() {
    let only_v2 =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    assert_eq!(
        Hierarchies::parse(only_v2),
        Hierarchies {
            v2: Some("/sys/fs/cgroup".into()),
            v1: Vec::new()
        }
    );
    let v1 = "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 31 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
        35 31 0:30 / /mnt/a\\040b rw - cgroup cgroup rw,freezer\n\
        36 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
    let found = Hierarchies::parse(v1);
    let cpu = ("/sys/fs/cgroup/cpu,cpuacct".into(), vec!["cpu".into()]);
    let freezer = (
        PathBuf::from("/sys/fs/cgroup/freezer"),
        vec!["freezer".into()],
    );
    assert_eq!((&found.v2, &found.v1), (&None, &vec![cpu, freezer]));
    let hybrid = format!("{v1}37 31 0:32 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw\n");
    let found = Hierarchies::parse(&hybrid);
    assert_eq!(found.v2, Some("/sys/fs/cgroup/a b".into()));
    assert_eq!(found.v1.len(), 1);
}

#[test]
fn version_1_alone_freezes_and_kills() {
    let machine = Hierarchies::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let v1: String = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let v1: Vec<_> = v1
        .lines()
        .filter(|line| !line.contains("cgroup2"))
        .collect();
    let alone = Hierarchies::parse(&v1.join("\n"));
    if machine.v2.is_some() && !alone.v1.iter().any(|(_, names)| names[0] == "freezer") {
        // Only version 2 is mounted here.
        return;
    }
    let made = Made(Cgroup {
        path: format!("statefork-test-{}-v1/one", std::process::id()).into(),
        hierarchies: Box::leak(Box::new(alone)),
    });
    made.0.create(&Limits::default()).unwrap();
    let mut worker = made.worker();
    made.0.freeze(Duration::from_secs(5)).unwrap();
    assert!(made.0.is_frozen().unwrap());
    let before = ticks(&worker);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(ticks(&worker), before);
    made.0.kill().unwrap();
    worker.wait().unwrap();
}
