//! Containers of the machine's own programs: its folders of programs are shared with them.

mod exec;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use rustix::process::Signal;
use statefork_runtime::{Exec, ExecExit, Limits, Stream, TerminalSize};
use tempfile::TempDir;

use super::*;
use crate::plan::{ExecPlan, Exit, FailureKind, MountFrom, MountPlan, NetworkPlan, ProcessPlan};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// A first process that stays.
const STAY: &str = "echo out; echo err >&2; exec sleep 1000";

/// The helper: the program of the tests itself.
fn helper() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// A container that may run; at the end it is gone.
struct Case {
    storage: TempDir,
    plan: Plan,
}

impl Case {
    /// One whose first process is this command of the shell.
    fn new(command: &str) -> Self {
        let storage = tempfile::tempdir().unwrap();
        let layers = storage.path().join("layers");
        let folder = storage.path().join("containers/one");
        std::fs::create_dir_all(layers.join("base/etc")).unwrap();
        std::fs::create_dir_all(layers.join("top/etc")).unwrap();
        std::fs::create_dir_all(folder.join("upper")).unwrap();
        std::fs::create_dir_all(folder.join("work")).unwrap();
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
        std::fs::write(layers.join("base/etc/passwd"), passwd).unwrap();
        std::fs::write(layers.join("base/etc/group"), "extra:x:50:app\n").unwrap();
        std::fs::write(layers.join("base/layer"), "base").unwrap();
        std::fs::write(layers.join("top/layer"), "top").unwrap();
        std::fs::write(folder.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        let shared = ["/bin", "/sbin", "/lib", "/lib64", "/usr"].map(PathBuf::from);
        let mounts = shared.into_iter().filter(|path| path.exists());
        let mounts = mounts
            .map(|path| MountPlan {
                source: MountFrom::Host(path.clone()),
                target: path,
                read_only: true,
            })
            .collect();
        let name = storage.path().file_name().unwrap().to_owned();
        let plan = Plan {
            folder,
            layers,
            lower: vec!["top".into(), "base".into()],
            init: false,
            process: process(command),
            hostname: "box".into(),
            mounts,
            network: NetworkPlan::Loopback,
            limits: Limits::default(),
            cgroup: PathBuf::from("statefork-test-spawn").join(name),
        };
        Self { storage, plan }
    }

    async fn try_start(&self) -> Result<Run, StartError> {
        tokio::time::timeout(LONG, start(&helper(), &self.plan, async |_| Ok(())))
            .await
            .unwrap()
    }

    async fn start(&self) -> Run {
        self.try_start().await.unwrap()
    }

    /// Starts it and waits for its end: its code and what it wrote.
    async fn run(&self) -> (i32, String) {
        let run = self.start().await;
        assert!(run.monitor.wait_end(LONG).await.unwrap());
        (self.exit(), self.output())
    }

    fn exit(&self) -> i32 {
        let exit = std::fs::read(self.plan.folder.join(file::EXIT)).unwrap();
        serde_json::from_slice::<Exit>(&exit).unwrap().code
    }

    fn output(&self) -> String {
        let read = |name| std::fs::read_to_string(self.plan.folder.join(name)).unwrap();
        read(file::STDOUT) + &read(file::STDERR)
    }

    fn exec_plan(&self, run: &Run, command: &str) -> ExecPlan {
        ExecPlan {
            init: run.init,
            cgroup: self.plan.cgroup.clone(),
            process: process(command),
            terminal: false,
        }
    }

    async fn exec(&self, run: &Run, command: &str) -> (ExecExit, String) {
        let plan = self.exec_plan(run, command);
        finished(exec(&helper(), plan, false, None).await.unwrap()).await
    }

    async fn refusal(&self) -> Failure {
        match self.try_start().await {
            Err(StartError::Refused(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Whether nothing of an attempt is left.
    fn assert_nothing_left(&self) {
        let cgroup = Cgroup::new(&self.plan.cgroup).unwrap();
        assert!(cgroup.pids().unwrap().is_empty());
        assert!(!cgroup.exists(), "the cgroup is left");
        assert!(!self.plan.folder.join(file::RUN).exists());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.storage.path().to_str().unwrap()));
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let cgroup = Cgroup::new(&self.plan.cgroup).unwrap();
        cgroup.kill().unwrap();
        // The monitor removes it too.
        cgroup.remove().unwrap();
    }
}

fn process(command: &str) -> ProcessPlan {
    ProcessPlan {
        no_new_privileges: true,
        argv: vec!["sh".into(), "-c".into(), command.into()],
        env: vec![("GREETING".into(), "a b".into())],
        workdir: "/elsewhere/here".into(),
        user: String::new(),
    }
}

/// What an exec writes and how it ends.
async fn finished(mut exec: Exec) -> (ExecExit, String) {
    let read = async {
        let mut all = Vec::new();
        while let Some(output) = exec.output.next().await {
            all.extend_from_slice(&output.unwrap().bytes);
        }
        let exit = exec.control.wait().await.unwrap();
        (exit, String::from_utf8(all).unwrap())
    };
    tokio::time::timeout(LONG, read).await.unwrap()
}

#[tokio::test]
async fn a_container_runs_to_its_end_in_its_own_world() {
    let case = Case::new(
        "echo $$ $GREETING $HOME; pwd; cat /layer; hostname; cat /etc/hosts; \
         cat /proc/self/cgroup | grep -c statefork; ls /sys/class/net; echo new > /layer; umask; \
         grep -c '^overlay / overlay rw,nodev' /proc/mounts; test -c /dev/null && test -w /dev/shm && echo devices; echo bye >&2; exit 7",
    );
    let (code, output) = case.run().await;
    assert_eq!(code, 7, "{output}");
    let expected =
        "1 a b /root\n/elsewhere/here\ntopbox\n127.0.0.1 localhost\n0\nlo\n0022\n1\ndevices\nbye\n";
    assert_eq!(output, expected);
    assert_eq!(
        std::fs::read(case.plan.folder.join("upper/layer")).unwrap(),
        b"new\n"
    );
    assert!(case.plan.folder.join("upper/elsewhere/here").is_dir());
    let uuid = xattr::get(case.plan.folder.join("upper"), "trusted.overlay.uuid");
    assert_eq!(uuid.unwrap(), None);
    std::fs::remove_file(case.plan.folder.join(file::RUN)).unwrap();
    case.assert_nothing_left();
}

#[tokio::test]
async fn the_network_of_the_host_is_the_hosts() {
    let mut case =
        Case::new("ls /sys/class/net; readlink /proc/self/ns/net; mount | grep -c cgroup");
    case.plan.network = NetworkPlan::Host;
    let links = || -> Vec<_> {
        let links = std::fs::read_dir("/sys/class/net").unwrap();
        links.map(|link| link.unwrap().file_name()).collect()
    };
    let before = links();
    let (_, output) = case.run().await;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(output.contains(own.to_str().unwrap()), "{output}");
    // Others come and go meanwhile.
    let stayed = links();
    for link in before.iter().filter(|link| stayed.contains(link)) {
        let mut seen = output.lines();
        assert!(seen.any(|line| link == line), "{link:?}: {output}");
    }
}

#[tokio::test]
async fn the_helpers_program_is_out_of_reach() {
    let mut case = Case::new("");
    let program = helper();
    let started = start(&program, &case.plan, async |init: &ProcessRef| {
        let own = rustix::fs::statvfs(format!("/proc/{}/exe", init.pid))?;
        assert!(own.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        Err(io::ErrorKind::Interrupted.into())
    });
    assert!(matches!(started.await, Err(StartError::Network(_))));
    // Executes the helper's program in the container, as a link in an image could make it.
    case.plan.process.argv = vec!["/proc/self/exe".into(), "--list".into()];
    let (code, output) = case.run().await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("the_helpers_program_is_out_of_reach"));
}

#[tokio::test]
async fn a_full_storage_is_told_as_that() {
    let mut case = Case::new(STAY);
    let small = tempfile::tempdir().unwrap();
    rustix::mount::mount(
        c"tmpfs",
        small.path(),
        c"tmpfs",
        rustix::mount::MountFlags::empty(),
        c"size=16k,nr_inodes=5",
    )
    .unwrap();
    case.plan.folder = small.path().join("one");
    let plan = &case.plan;
    let made = ["upper", "work"].map(|name| std::fs::create_dir_all(plan.folder.join(name)));
    let failed = start(&helper(), plan, async |_| Ok(())).await;
    rustix::mount::unmount(small.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(made.iter().all(Result::is_ok));
    match failed {
        Err(StartError::Refused(failure)) => assert_eq!(
            failure.kind,
            FailureKind::StorageFull,
            "{}",
            failure.message
        ),
        other => panic!("{other:?}"),
    }
    case.assert_nothing_left();
}

#[tokio::test]
async fn a_signal_is_an_exit_code_and_a_container_starts_again() {
    let mut case = Case::new(STAY);
    for _ in 0..2 {
        let run = case.start().await;
        assert!(run.init.alive().unwrap() && run.monitor.alive().unwrap());
        assert!(!case.plan.folder.join(file::EXIT).exists());
        let written: Run =
            serde_json::from_slice(&std::fs::read(case.plan.folder.join(file::RUN)).unwrap())
                .unwrap();
        assert_eq!(written, run);
        run.init.signal(Signal::KILL).unwrap();
        assert!(run.monitor.wait_end(LONG).await.unwrap());
        assert_eq!(case.exit(), 137);
    }
    case.plan.process.argv = vec!["nothing-here".into()];
    assert_eq!(case.refusal().await.kind, FailureKind::ProgramNotFound);
    assert_eq!(case.exit(), 137, "as it was");
}

#[tokio::test]
async fn users_have_their_groups_and_no_capabilities() {
    let mut case = Case::new(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; id -u; id -G; grep CapEff /proc/self/status; echo ok > /dev/stderr",
    );
    case.plan.process.user = "app".into();
    let (code, output) = case.run().await;
    assert_eq!(
        (code, output.as_str()),
        (0, "0\n1000\n1000 50\nCapEff:\t0000000000000000\nok\n")
    );
}

#[tokio::test]
async fn root_is_limited() {
    let case = Case::new(
        "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; \
         mount -t tmpfs none /elsewhere 2>/dev/null || echo no-mount; \
         unshare -m true 2>/dev/null || echo no-unshare; \
         (echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null || echo no-sysctl; \
         (echo b > /proc/sysrq-trigger) 2>/dev/null || echo no-sysrq; \
         (echo x > /sys/x) 2>/dev/null || echo no-sys; cat /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware; \
         mknod /elsewhere/disk b 254 0 && (head -c1 /elsewhere/disk || echo no-disk) 2>/dev/null; \
         mknod /dev/disk b 254 0 && (head -c1 /dev/disk || echo no-disk) 2>/dev/null; \
         chmod 600 /dev/null; head -c1 /dev/zero | wc -c; ls /proc/self/fd | wc -l",
    );
    let before = std::fs::metadata("/dev/null").unwrap();
    let (_, output) = case.run().await;
    let caps = "00000000a80425fb";
    let expected = format!(
        "CapInh:\t0000000000000000\nCapPrm:\t{caps}\nCapEff:\t{caps}\nCapBnd:\t{caps}\n\
         CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nno-mount\nno-unshare\nno-sysctl\n\
         no-sysrq\nno-sys\n0\nno-disk\nno-disk\n1\n4\n"
    );
    assert_eq!(output, expected);
    let after = std::fs::metadata("/dev/null").unwrap();
    assert_eq!(before.permissions(), after.permissions());
}

#[tokio::test]
async fn mounts_are_shared_and_stay_inside() {
    let mut case = Case::new(
        "cat /data/in; echo written > /data/out; cat /one/file; (echo x > /one/file) || echo ro; \
         cat /link/there; cat /abs/deep/down; ls /",
    );
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("in"), "in\n").unwrap();
    let top = case.plan.layers.join("top");
    // Links that lead out, up and nowhere yet.
    symlink("../../../../../../made", top.join("link")).unwrap();
    symlink("/not/there", top.join("abs")).unwrap();
    let mut add = |source: PathBuf, target: &str, read_only| {
        case.plan.mounts.push(MountPlan {
            source: MountFrom::Host(source),
            target: target.into(),
            read_only,
        });
    };
    add(outside.path().to_owned(), "/data", false);
    add(outside.path().join("in"), "/one/file", true);
    add(outside.path().join("in"), "/link/there", true);
    add(outside.path().join("in"), "/abs/deep/down", true);
    let (_, output) = case.run().await;
    assert!(output.starts_with("in\nin\nro\nin\nin\n"), "{output}");
    assert!(
        output.contains("made\n") && output.contains("not\n"),
        "{output}"
    );
    let written = std::fs::read_to_string(outside.path().join("out")).unwrap();
    assert_eq!(written, "written\n");
    assert!(!std::path::Path::new("/made").exists() && !std::path::Path::new("/not").exists());
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_leaves_nothing() {
    type Spoil = fn(&mut Plan);
    let cases: [(FailureKind, &str, Spoil); 9] = [
        (FailureKind::ProgramNotFound, "nothing-here", |plan| {
            plan.process.argv = vec!["nothing-here".into()];
        }),
        (FailureKind::ProgramNotFound, "/no/such", |plan| {
            plan.process.argv = vec!["/no/such".into()];
        }),
        (FailureKind::ProgramNotExecutable, "/etc/passwd", |plan| {
            plan.process.argv = vec!["/etc/passwd".into()];
        }),
        (FailureKind::ProgramNotExecutable, "/etc", |plan| {
            plan.process.argv = vec!["/etc".into()];
        }),
        (FailureKind::Setting, "nobody-here", |plan| {
            plan.process.user = "nobody-here".into();
        }),
        (FailureKind::Setting, "/layer/below", |plan| {
            plan.process.workdir = "/layer/below".into();
        }),
        (FailureKind::Mount, "/no/source", |plan| {
            plan.mounts.push(MountPlan {
                source: MountFrom::Host("/no/source".into()),
                target: "/here".into(),
                read_only: false,
            });
        }),
        (FailureKind::Mount, "at /", |plan| {
            plan.mounts.push(MountPlan {
                source: MountFrom::Host("/etc".into()),
                target: "/".into(),
                read_only: false,
            });
        }),
        (FailureKind::System, "layers", |plan| {
            plan.lower.push("absent".into())
        }),
    ];
    for (kind, named, spoil) in cases {
        let mut case = Case::new(STAY);
        spoil(&mut case.plan);
        let failure = case.refusal().await;
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(named), "{failure:?}");
        case.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_command_that_gives_up_leaves_nothing() {
    let case = Case::new(STAY);
    let failed = start(&helper(), &case.plan, async |init: &ProcessRef| {
        assert!(init.alive()?);
        Err(io::ErrorKind::AddrInUse.into())
    })
    .await;
    assert!(matches!(failed, Err(StartError::Network(_))), "{failed:?}");
    case.assert_nothing_left();

    // A future that is dropped amid the network.
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let program = helper();
    let waiting = start(&program, &case.plan, async |init: &ProcessRef| {
        tell.send(*init).await.unwrap();
        std::future::pending().await
    });
    let init = tokio::select! {
        started = waiting => panic!("{started:?}"),
        init = told.recv() => init.unwrap(),
    };
    assert!(init.wait_end(LONG).await.unwrap());
    let begin = std::time::Instant::now();
    while Cgroup::new(&case.plan.cgroup).unwrap().exists() {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    case.assert_nothing_left();
}

#[tokio::test]
async fn a_container_outlives_its_monitor() {
    let case = Case::new(STAY);
    let run = case.start().await;
    run.monitor.signal(Signal::KILL).unwrap();
    assert!(run.monitor.wait_end(LONG).await.unwrap());
    assert!(run.init.alive().unwrap());
    let (exit, output) = case.exec(&run, "echo still; exit 3").await;
    assert_eq!((exit, output.as_str()), (ExecExit::Code(3), "still\n"));
}

#[tokio::test]
async fn a_helper_that_is_killed_before_the_start_leaves_nothing() {
    let case = Case::new(STAY);
    let failed = start(&helper(), &case.plan, async |init: &ProcessRef| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent = parent.unwrap().trim().parse().unwrap();
        ProcessRef::of(parent)?.unwrap().signal(Signal::KILL)?;
        Ok(())
    })
    .await;
    assert!(matches!(failed, Err(StartError::Died)), "{failed:?}");
    case.assert_nothing_left();
}
