//! Twelve attempts to reach out of a container, made by its root: on native and on the daemons with
//! their defaults. Native must refuse whatever Docker refuses, way by way.

use std::collections::BTreeMap;
use std::process::{Child, Command};

use crate::world::{APP, World};

/// Makes the attempts that need no second party. It runs in target-app's image, which has Python.
const PROGRAM: &str = include_str!("escape/attempts.py");

/// All of them.
const ATTEMPTS: [&str; 12] = [
    "mount", "ptrace", "sysrq", "kcore", "mknod", "setuid", "unshare", "keyctl", "bpf", "modules",
    "layer", "cp",
];

/// What may get through by default, by runtime and attempt. Native lets nothing through.
const LET_THROUGH: [(&str, &str); 4] = [
    ("docker", "setuid"),
    ("podman", "setuid"),
    ("podman", "unshare"),
    ("podman", "keyctl"),
];

/// What each way of an attempt was answered: `refused: WHY` or `done…`.
type Answers = BTreeMap<String, String>;

macro_rules! trials {
    ($($name:ident),+) => {
        $(pub(crate) fn $name(world: World) {
            world.up_app();
            refuses(&world, stringify!($name));
        })+
    };
}

trials!(
    mount, ptrace, sysrq, kcore, mknod, setuid, unshare, keyctl, bpf, modules, layer, cp
);

/// The attempts are made by further processes of a container; its first one may do no more.
pub(crate) fn the_first_process_may_do_no_more(world: World) {
    world.up_app();
    let may = |process: &str| {
        let show = format!("grep -E '^(Uid|Cap|NoNewPrivs|Seccomp)' /proc/{process}/status");
        world.sh(&show)
    };
    let first = may("1");
    assert!(
        first.contains("CapBnd") && first.contains("Seccomp:\t2"),
        "{first}"
    );
    assert_eq!(first, may("self"));
}

/// One attempt is refused in all its ways, but where the runtime is known to let it through.
fn refuses(world: &World, attempt: &str) {
    let answers = make(world, attempt);
    let is_refused = answers.values().all(|answer| is_refusal(answer));
    let may = LET_THROUGH.contains(&(world.runtime, attempt));
    assert!(is_refused || may, "{attempt}: {answers:#?}");
}

/// A process 1 above opens nothing.
pub(crate) fn all_below_a_process_1(world: World) {
    world.ok(&["up", APP, "-p", "8000", "--init"]);
    for attempt in ATTEMPTS {
        refuses(&world, attempt);
    }
}

/// Where programs may get more rights, that is all that opens.
pub(crate) fn all_where_rights_may_grow(world: World) {
    let option = "no-new-privileges=false";
    world.ok(&["up", APP, "-p", "8000", "--security-opt", option]);
    for attempt in ATTEMPTS {
        match attempt {
            "setuid" => {
                let answers = make(&world, attempt);
                assert!(
                    answers.values().all(|answer| answer == "done"),
                    "{answers:#?}"
                );
            }
            _ => refuses(&world, attempt),
        }
    }
}

/// All attempts on a daemon and on native; prints what they were answered, and compares.
pub(crate) fn native_refuses_as_much(daemon: World) {
    let native = World::new("native");
    daemon.up_app();
    native.up_app();
    let (mut wrong, mut successes) = (Vec::new(), 0);
    for attempt in ATTEMPTS {
        let (here, there) = (make(&native, attempt), make(&daemon, attempt));
        assert!(here.keys().eq(there.keys()), "{here:?}\n{there:?}");
        for ((way, here), there) in here.iter().zip(there.values()) {
            let name = daemon.runtime;
            let line = format!("{attempt}, {way} | native {here} | {name} {there}");
            println!("{line}");
            successes += usize::from(!is_refusal(there));
            if is_refusal(there) && !is_refusal(here) {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The daemons set no_new_privs on request only: an attempt can succeed.
    assert!(successes > 0);
}

fn is_refusal(answer: &str) -> bool {
    match answer.split(':').next() {
        Some("refused") => true,
        Some(done) if done.starts_with("done") => false,
        _ => panic!("the attempt itself failed: {answer}"),
    }
}

/// Makes an attempt in the environment's container.
fn make(world: &World, attempt: &str) -> Answers {
    match attempt {
        "layer" => by_shared_layer(world),
        "cp" => by_copies(world),
        _ => run(world, attempt),
    }
}

/// A process of the host, for as long as it is held.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn run(world: &World, attempt: &str) -> Answers {
    let bystander = Bystander::new();
    let host = bystander.0.id().to_string();
    let command = ["exec", "--", "python3", "-c", PROGRAM, attempt, &host];
    let made = world.run(&command);
    assert_eq!(made.code, 0, "{attempt}: {}", made.stderr);
    serde_json::from_str(&made.stdout).unwrap()
}

/// A second container of the image, and a third one that is made of it later, do not see what
/// the first one writes.
fn by_shared_layer(world: &World) -> Answers {
    // Without what each container has of its own.
    const SHOW: &str = "cd /etc; cat passwd os-release debian_version profile; \
                        find . /usr/share -maxdepth 1 ! -name 'host*' ! -name resolv.conf \
                        -printf '%p %y %m %n %l\\n' | sort";
    let other = world.neighbour();
    other.up_app();
    let before = other.sh(SHOW);
    let mut answers = run(world, "layer");
    assert_ne!(world.sh(SHOW), before, "it has written nothing");
    let after = other.sh(SHOW);
    other.ok(&["restore", "base"]);
    for (way, after) in [("what runs", after), ("what starts", other.sh(SHOW))] {
        let answer = match after == before {
            true => "refused: unchanged",
            false => "done",
        };
        answers.insert(format!("{way} of the same image"), answer.into());
    }
    answers
}

/// `cp` in both directions, along links that the container has laid.
fn by_copies(world: &World) -> Answers {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path();
    let secret = outside.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::write(world.folder().join("mine"), "mine").unwrap();
    let to = outside.display();
    world.sh(&format!(
        "ln -s {to} /absolute; ln -s ../../../../../..{to} /upwards; ln -s {to}/secret /file; \
         mkdir -p /again; ln -s {to} /again/link"
    ));
    let mut answers = Answers::new();
    let mut answer = |way: &str, reached: bool| {
        let answer = if reached {
            "done"
        } else {
            "refused: not reached"
        };
        answers.insert(way.into(), answer.into());
    };
    for (number, (way, from)) in [
        ("out by an absolute link", "/absolute/secret".to_owned()),
        ("out by a link upwards", "/upwards/secret".to_owned()),
        ("out by dots", format!("/../../../../..{to}/secret")),
        (
            "out by process 1's root",
            format!("/proc/1/root{to}/secret"),
        ),
        ("out by our own root", format!("/proc/self/root{to}/secret")),
        ("out, a link itself", "/file".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let got = format!("got-{number}");
        // Whether it fails or copies something else: only what has come counts.
        world.run(&["cp", &format!(":{from}"), &got]);
        let got = world.folder().join(got);
        let is_file = got.symlink_metadata().is_ok_and(|found| found.is_file());
        answer(way, is_file && std::fs::read(&got).unwrap() == b"secret");
    }
    for (way, to) in [
        ("in by an absolute link", "/absolute/new"),
        ("in by a link upwards", "/upwards/new"),
        ("in by our own root", "/proc/self/root/absolute/new"),
    ] {
        world.run(&["cp", "mine", &format!(":{to}")]);
        answer(way, outside.join("new").exists());
    }
    world.run(&["cp", "mine", ":/file"]);
    answer(
        "in over a link",
        std::fs::read(&secret).unwrap() != b"secret",
    );
    // A link that was copied, and in its place a folder the next time.
    world.ok(&["cp", ":/again", "."]);
    world.sh("rm /again/link; mkdir /again/link; echo theirs > /again/link/new");
    world.run(&["cp", ":/again", "."]);
    answer("out over a link of before", outside.join("new").exists());
    answers
}
