//! SIGKILL of what keeps an application of native going: its shim, its first process, who waits for
//! its end, and the helper while it makes a container. The command says truthfully what became of
//! it, the next one finds or undoes it, and a purge leaves nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::host::{Host, kill, of};
use crate::target_app::App;
use crate::world::{BUSYBOX, World, ended, text, wait_for};

/// How long the end of a container may take to be seen.
const SEEN: Duration = Duration::from_secs(10);
/// What draws the moments.
const SEED: u64 = 5;
/// How many there are, and in which time after the helper began they lie.
const MOMENTS: u32 = 20;
const WITHIN: Duration = Duration::from_millis(8);
/// In how many of them it must not be too late already.
const STRUCK: u32 = MOMENTS / 4;
/// How often it is looked whether the helper has begun.
const LOOK: Duration = Duration::from_micros(200);
/// The lowest number of a process once the numbers begin anew (kernel/pid.c).
const LOWEST: i32 = 300;

const UP: [&str; 9] = [
    "up", BUSYBOX, "-p", "8000", "--", "httpd", "-f", "-p", "8000",
];

/// Up with a change that no snapshot has.
fn up(world: &World) -> App {
    let app = App::of(&world.json(&UP));
    world.sh("echo first > /file");
    world.snapshot();
    world.sh("echo changed > /file");
    app
}

/// The small server has no such file, and says so.
fn answers(app: App) -> bool {
    crate::http::request(app.0, "GET", "/none", b"").is_ok_and(|answer| answer.status == 404)
}

fn status(world: &World) -> Value {
    world.json(&["status"])
}

pub(crate) fn of_the_shim(world: World) {
    let world = world.with_own_storage();
    let app = up(&world);
    let mut host = Host::new(&world);
    let init = host.init();
    host.look();
    // What is looked for at the end is seen as long as it is there.
    assert!(host.holders().contains(&init));
    for next in [&UP[..], &["snapshot"], &["restore", "HEAD"]] {
        host.shims().into_iter().for_each(kill);
        let now = status(&world);
        assert_eq!(
            (&now["state"], &now["forwarding"]),
            (&"running".into(), &false.into())
        );
        assert!(!answers(app));
        world.json(next);
        assert!(answers(app), "{next:?}");
        let restored = next[0] == "restore";
        assert_eq!(host.init() != init, restored, "{next:?}");
    }
    host.shims().into_iter().for_each(kill);
    host.purge();
}

pub(crate) fn of_the_first_process(world: World) {
    let world = world.with_own_storage();
    let app = up(&world);
    let host = Host::new(&world);
    for (next, file) in [(&UP[..], "changed\n"), (&["restore", "HEAD"], "first\n")] {
        kill(host.init());
        wait_for(SEEN, || status(&world)["state"] == "exited");
        assert_eq!(status(&world)["exit_code"], 137);
        assert!(!answers(app));
        world.json(next);
        assert!(answers(app), "{next:?}");
        assert_eq!(world.sh("cat /file"), file);
    }
    kill(host.init());
    host.purge();
}

pub(crate) fn of_who_waits_for_its_end(world: World) {
    let world = world.with_own_storage();
    let app = up(&world);
    let host = Host::new(&world);
    for (next, file) in [(&UP[..], "changed\n"), (&["restore", "HEAD"], "changed\n")] {
        let init = host.init();
        kill(host.monitor());
        // Nothing hangs on it.
        assert!(answers(app));
        assert_eq!(status(&world)["state"], "running");
        assert_eq!(world.sh("cat /file"), "changed\n");
        let snapshot = world.snapshot();
        assert_eq!(host.init(), init);
        // Nobody is there to see how this ends.
        kill(init);
        wait_for(SEEN, || status(&world)["state"] == "exited");
        assert_eq!(status(&world)["exit_code"], Value::Null);
        assert_eq!(text(&status(&world)["head"]), snapshot);
        world.json(next);
        assert!(answers(app), "{next:?}");
        assert_eq!(world.sh("cat /file"), file);
    }
    kill(host.monitor());
    host.purge();
}

/// The one who makes a container, or what is to become its first process, at a random moment of
/// `up` and of `restore`.
pub(crate) fn of_who_makes_it(world: World) {
    let world = world.with_own_storage();
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut app = up(&world);
    let mut host = Host::new(&world);
    let (mut struck, mut failures) = (0, 0);
    for moment in 0..MOMENTS {
        let is_up = moment % 2 == 0;
        if is_up {
            world.ok(&["down"]);
        }
        let before = (!is_up).then(|| host.init());
        let command: &[&str] = if is_up { &UP } else { &["restore", "HEAD"] };
        let child = world.spawn(&[&["--json"], command].concat());
        let after = WITHIN.mul_f64(random.random());
        let victim = strike(&mut host, Pid::from_child(&child), after, &mut random);
        struck += u32::from(victim.is_some());
        host.look();
        let ended = ended(child);
        let place = format!(
            "{moment}: {command:?}, {after:?}, {victim:?}: {}",
            ended.stderr
        );
        println!("{} {place}", ended.code);
        match ended.code {
            0 => {
                if is_up {
                    app = App::of(&serde_json::from_str(&ended.stdout).unwrap());
                }
                if victim != Some(Victim::Init) {
                    assert!(answers(app), "{place}");
                }
            }
            1 => {
                failures += 1;
                assert!(ended.stderr.contains("error: failed to "), "{place}");
                // It says that it is not there, or the old one goes on.
                let state = text(&status(&world)["state"]);
                assert_eq!(state, if is_up { "down" } else { "running" }, "{place}");
                if let Some(before) = before {
                    assert_eq!(host.init(), before, "{place}");
                    assert!(answers(app), "{place}");
                }
            }
            code => panic!("{code}: {place}"),
        }
        host.look();
        app = App::of(&world.json(&UP));
        assert!(answers(app), "{place}");
        let expected = if is_up || ended.code == 0 {
            "first\n"
        } else {
            "changed\n"
        };
        assert_eq!(world.sh("cat /file"), expected, "{place}");
        world.sh("echo changed > /file");
    }
    println!("{struck} struck, {failures} commands failed");
    assert!(struck >= STRUCK, "{struck} of {MOMENTS} were struck");
    assert!(failures > 0);
    host.purge();
}

/// Two environments of one storage, each with its shim, of which one loses what it has.
pub(crate) fn a_purge_leaves_the_neighbour_alone(world: World) {
    let world = world.with_own_storage();
    let other = world.neighbour();
    let (app, app_of_other) = (up(&world), up(&other));
    let (mut host, host_of_other) = (Host::new(&world), Host::new(&other));
    host.look();
    kill(host.monitor());
    host.shims().into_iter().for_each(kill);
    // Both have lost theirs: they are of one home.
    assert!(!answers(app) && !answers(app_of_other));
    other.json(&UP);
    kill(host.init());
    world.ok(&["down", "--purge"]);
    assert!(answers(app_of_other));
    assert!(host_of_other.has_rules() && host_of_other.has_route());
    assert_eq!(other.sh("cat /file"), "changed\n");
    other.json(&["restore", "HEAD"]);
    assert!(answers(app_of_other));
    assert_eq!(other.sh("cat /file"), "first\n");
    host_of_other.purge();
    assert_eq!(host.left(), [""; 0]);
}

/// Who was killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    /// The helper.
    Helper,
    /// What becomes the container's first process.
    Init,
}

/// Waits until a command has started a helper, then for `after`, and kills one of its processes.
/// `None`: there was none any more.
fn strike(
    host: &mut Host<'_>,
    command: Pid,
    after: Duration,
    random: &mut StdRng,
) -> Option<Victim> {
    let begun = Instant::now();
    while makers(command).is_empty() {
        if begun.elapsed() > SEEN {
            return None;
        }
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(after);
    let makers = makers(command);
    host.remember(makers.iter().copied());
    let at = random.random_range(0..2).min(makers.len().checked_sub(1)?);
    let killed = kill_process(*makers.get(at)?, Signal::KILL);
    killed.ok().map(|()| match at {
        0 => Victim::Helper,
        _ => Victim::Init,
    })
}

/// The processes that make a container for a command, in the order in which they began: those at
/// the other end of a pipe of the command's.
fn makers(command: Pid) -> Vec<Pid> {
    let number = command.as_raw_nonzero().get();
    let highest = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let highest: i32 = highest.trim().parse().unwrap();
    let Ok(own) = std::fs::read_dir(format!("/proc/{number}/fd")) else {
        return Vec::new();
    };
    let target = |path: PathBuf| std::fs::read_link(path).ok();
    let own: Vec<_> = own.filter_map(|own| target(own.ok()?.path())).collect();
    // Numbers are given away in order; who is missed for that is struck at another moment.
    let near = (number + 1..number + 300).map(|next| match next < highest {
        true => next,
        false => LOWEST + next - highest,
    });
    let near = near.filter_map(Pid::from_raw);
    let is_one = |pid: &Pid| {
        // Where it writes what it has done.
        let reports = target(format!("/proc/{}/fd/4", pid.as_raw_nonzero()).into());
        of(*pid, "cmdline").ends_with(b"\0container-create\0")
            && reports.is_some_and(|reports| own.contains(&reports))
    };
    near.filter(is_one).collect()
}
