//! Ctrl-C in each operation: the exit code is 130, and what was there goes on.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::world::{BUSYBOX, Ended, World, ended, signal, wait_for};

/// How long a command may take to get to where it waits.
const SOON: Duration = Duration::from_secs(20);
/// How [`ended`] tells that a signal ended a process.
const SIGNALLED: i32 = -1;

const NEVER: &str = "readiness:\n  exec: test -e /ready\n  timeout: 60s\n";

pub(crate) fn up_is_undone(world: World) {
    world.configure(NEVER);
    let child = world.spawn(&["up", BUSYBOX, "--", "sleep", "600"]);
    wait_for_container(&world);
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(world.left_in_runtime(), [""; 0]);
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        0
    );
}

pub(crate) fn a_build_is_undone(world: World) {
    let context = world.folder().join("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = format!("FROM {BUSYBOX}\nRUN sleep 30\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    // The first probe of the runtime comes before the build and is no part of this.
    world.ok(&["doctor"]);
    let child = world.spawn(&["up", "--build", "context"]);
    thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn restore_is_undone(world: World) {
    world.configure(NEVER);
    let up = world.json(&[
        "up",
        BUSYBOX,
        "--",
        "sh",
        "-c",
        "test -e /stuck || touch /ready; sleep 600",
    ]);
    world.sh("touch /stuck; rm /ready");
    let stuck = world.snapshot();
    world.sh("touch /ready; echo mine > /file");
    let child = world.spawn(&["restore", &stuck]);
    // From then on it makes the new one, and waits for that.
    wait_for(SOON, || world.json(&["status"])["state"] == "paused");
    thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let status = world.json(&["status"]);
    assert_eq!(status["state"], "running");
    assert_eq!(status["container"], up["container"]);
    assert_eq!(world.sh("cat /file"), "mine\n");
}

pub(crate) fn any_moment_of_a_snapshot_or_step(world: World) {
    world.up_busybox("sleep 600");
    world.sh("echo one > /file");
    for (index, command) in ["snapshot", "step"]
        .into_iter()
        .cycle()
        .take(10)
        .enumerate()
    {
        let child = world.spawn(&[command]);
        thread::sleep(Duration::from_millis(15 * (index as u64 + 1)));
        interrupt(child);
        assert_eq!(world.sh("cat /file"), "one\n");
        assert_eq!(world.json(&["status"])["state"], "running");
    }
    let list = world.json(&["list"]);
    for snapshot in list["snapshots"].as_array().unwrap() {
        world.json(&["restore", snapshot["id"].as_str().unwrap()]);
    }
    let history = world.json(&["history"]);
    let running = |row: &&serde_json::Value| row["outcome"] == "running";
    assert_eq!(
        history["operations"]
            .as_array()
            .unwrap()
            .iter()
            .filter(running)
            .count(),
        0
    );
}

pub(crate) fn down_comes_to_its_end(world: World) {
    for delay in [5, 60, 150, 300, 600] {
        world.up_busybox("sleep 600");
        let child = world.spawn(&["down"]);
        thread::sleep(Duration::from_millis(delay));
        let ended = interrupt(child);
        let status = world.json(&["status"]);
        match ended.code {
            0 => assert_eq!(status["state"], "down"),
            _ => assert_eq!(status["state"], "running"),
        }
        world.ok(&["down"]);
        assert_eq!(world.json(&["status"])["state"], "down");
    }
}

pub(crate) fn exec_is_left_to_itself(world: World) {
    world.up_busybox("sleep 600");
    let child = world.spawn(&[
        "exec",
        "--",
        "sh",
        "-c",
        "touch /began; sleep 2; touch /ended",
    ]);
    let begun = Instant::now();
    while world.run(&["exec", "--", "test", "-e", "/began"]).code != 0 {
        assert!(begun.elapsed().as_secs() < 30, "the command does not begin");
    }
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("may go on"), "{}", ended.stderr);
    assert_eq!(world.json(&["status"])["state"], "running");
    while world.run(&["exec", "--", "test", "-e", "/ended"]).code != 0 {
        assert!(begun.elapsed().as_secs() < 30, "the command did not go on");
    }
}

/// Interrupts a command that may have ended, and returns how it ended.
fn interrupt(child: Child) -> Ended {
    signal(&child, Signal::INT);
    let ended = ended(child);
    // By the signal itself, if it comes before the program listens: then nothing had begun.
    assert!(
        matches!(ended.code, 0 | 130 | SIGNALLED),
        "{}: {}",
        ended.code,
        ended.stderr
    );
    ended
}

fn wait_for_container(world: &World) {
    let begun = Instant::now();
    while !world.home().join("store.sqlite").exists() || world.left_in_runtime().is_empty() {
        assert!(
            begun.elapsed().as_secs() < 60,
            "the container does not come"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
