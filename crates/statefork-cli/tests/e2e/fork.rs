//! Forks: branches side by side that share nothing, each with its own address, and what is left of
//! them.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Host, kill, read_json};
use crate::http;
use crate::target_app::App;
use crate::world::{BUSYBOX, World, ended, signal, text, wait_for};

/// How long a branch whose time is over may still be there.
const SOON: Duration = Duration::from_secs(15);
/// What draws the moments.
const SEED: u64 = 6;
/// How many moments there are, and in which time after the command began they lie.
const MOMENTS: u32 = 10;
const WITHIN: Duration = Duration::from_millis(500);
/// How many forks a small machine has at once.
const MANY: usize = 64;
/// How long making them, asking each and taking them away may take.
const MANY_LIMIT: Duration = Duration::from_secs(60);

const UP: [&str; 9] = [
    "up", BUSYBOX, "-p", "8000", "--", "httpd", "-f", "-p", "8000",
];

/// The forks of a document, each of which came up, with their names.
fn forks(document: &Value) -> Vec<(String, App)> {
    let forks = document["forks"].as_array().unwrap();
    forks
        .iter()
        .map(|fork| (text(&fork["branch"]), App::of(fork)))
        .collect()
}

/// A file, as the small server gives it.
fn file(app: App, path: &str) -> String {
    let answer = http::request(app.0, "GET", path, b"").unwrap();
    assert_eq!(answer.status, 200, "{path}");
    String::from_utf8(answer.body).unwrap()
}

/// Runs a shell command on a branch.
fn sh(world: &World, branch: &str, script: &str) -> String {
    world.ok(&["-b", branch, "exec", "--", "sh", "-c", script])
}

fn branches(world: &World) -> Vec<String> {
    let list = world.json(&["branch"]);
    let rows = list["branches"].as_array().unwrap().iter();
    rows.map(|row| text(&row["name"])).collect()
}

/// Up with a file of which there are two versions, an old snapshot and now.
fn up(world: &World) -> App {
    let app = App::of(&world.json(&UP));
    world.sh("echo old > /file");
    world.ok(&["snapshot", "-t", "old"]);
    world.sh("echo now > /file");
    app
}

pub(crate) fn from_now_and_from_an_old_snapshot(world: World) {
    let app = up(&world);
    let from_now = world.json(&["fork", "-n", "3"]);
    assert_eq!(from_now["taken"], true);
    let from_old = world.json(&["fork", "old", "-n", "3"]);
    assert_eq!(from_old["taken"], false);
    assert_eq!(from_old["snapshot"], world.json(&["show", "old"])["id"]);
    let mut hosts: BTreeSet<_> = [world.sh("hostname")].into();
    let mut ports: BTreeSet<_> = [app.0.port()].into();
    for (document, content) in [(&from_now, "now\n"), (&from_old, "old\n")] {
        for (name, fork) in forks(document) {
            assert_eq!(file(fork, "/file"), content, "{name}");
            sh(
                &world,
                &name,
                &format!("echo {name} > /file; sleep 600 & true"),
            );
            hosts.insert(sh(&world, &name, "hostname"));
            ports.insert(fork.0.port());
        }
    }
    assert_eq!((hosts.len(), ports.len()), (7, 7), "{hosts:?} {ports:?}");
    let all = [forks(&from_now), forks(&from_old)].concat();
    for (name, fork) in &all {
        assert_eq!(file(*fork, "/file"), format!("{name}\n"));
    }
    assert_eq!(file(app, "/file"), "now\n");
    // A fork of a fork goes on from what that has become.
    let again = forks(&world.json(&["-b", "fork-5", "fork", "--name", "again"]));
    assert_eq!(again[0].0, "again");
    assert_eq!(file(again[0].1, "/file"), "fork-5\n");
    world.json(&["branch", "promote", "fork-6"]);
    assert_eq!(world.json(&["show", "HEAD"])["id"], from_old["snapshot"]);
    let removed = world.json(&["branch", "rm", "fork-*", "again"]);
    assert_eq!(removed["removed"].as_array().unwrap().len(), 7);
    assert_eq!(branches(&world), ["main"]);
    for (name, fork) in all {
        assert!(http::connect(fork.0).is_err(), "{name} still answers");
    }
    assert_eq!(file(app, "/file"), "old\n");
    let history = world.json(&["history"]);
    let rows = history["operations"].as_array().unwrap().iter();
    assert_eq!(rows.filter(|row| row["operation"] == "fork").count(), 7);
}

pub(crate) fn of_a_parent_that_is_stopped(world: World) {
    up(&world);
    world.ok(&["stop"]);
    for (revision, content) in [(&["old"][..], "old\n"), (&[], "now\n")] {
        let made = forks(&world.json(&[&["fork"], revision].concat()));
        assert_eq!(file(made[0].1, "/file"), content, "{revision:?}");
    }
    assert_eq!(world.json(&["status"])["state"], "exited");
    world.ok(&["down"]);
    let made = forks(&world.json(&["fork", "old"]));
    assert_eq!(file(made[0].1, "/file"), "old\n");
}

/// Three ports in a row that nothing listens on; ephemeral ports are higher.
fn free_ports() -> u16 {
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| rand::rng().random_range(20_000..30_000))
        .take(1000)
        .find(|first| (*first..first + 3).all(is_free))
        .unwrap()
}

pub(crate) fn one_whose_port_is_in_use_fails_alone(world: World) {
    up(&world);
    let first = free_ports();
    let listener = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let range = format!("{first}-{}:8000", first + 2);
    let ended = world.run(&["--json", "fork", "old", "-n", "3", "-p", &range]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let all = document["forks"].as_array().unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|fork| fork["error"].is_null());
    assert_eq!((good.len(), bad.len()), (2, 1), "{document:#}");
    assert_eq!(bad[0]["error"]["kind"], "port_in_use");
    let ports: BTreeSet<_> = good.iter().map(|fork| App::of(fork).0.port()).collect();
    assert_eq!(ports, [first, first + 2].into());
    for fork in &good {
        assert_eq!(file(App::of(fork), "/file"), "old\n");
    }
    let mut names = branches(&world);
    names.retain(|name| bad[0]["branch"] == name.as_str());
    assert_eq!(names, [""; 0]);
    // A single one's failure is the command's.
    let one = format!("{}:8000", first + 1);
    let error = world.fails(6, &["fork", "old", "-p", &one]);
    assert!(error.contains("the port is in use"), "{error}");
    drop(listener);
    let made = forks(&world.json(&["fork", "old", "-p", &one, "--name", "late"]));
    assert_eq!(made[0].1.0.port(), first + 1);
    // Two branches and their containers, main's and the base's image are not counted.
    assert_eq!(world.left_in_runtime().len(), 1 + 1 + 3);
}

pub(crate) fn names_and_what_is_shared_are_refused_first(world: World) {
    world.configure("");
    let folder = world.folder().join("shared");
    std::fs::create_dir(&folder).unwrap();
    let mount = format!("type=bind,source={},target=/mnt", folder.display());
    world.json(&[
        "up",
        BUSYBOX,
        "--mount",
        &mount,
        "--hostname",
        "shop",
        "--",
        "sleep",
        "600",
    ]);
    let error = world.fails(4, &["fork", "-n", "2"]);
    assert!(
        error.contains("/mnt") && error.contains("--share-mounts"),
        "{error}"
    );
    world.fails(6, &["fork", "--name", "main", "--share-mounts"]);
    world.fails(2, &["fork", "--name", "dead", "--share-mounts"]);
    world.fails(2, &["fork", "--ttl", "0", "--share-mounts"]);
    // Nothing was made for any of them.
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        1
    );
    world.json(&["fork", "-n", "2", "--share-mounts"]);
    sh(&world, "fork-1", "hostname > /mnt/file");
    assert_eq!(sh(&world, "fork-2", "cat /mnt/file"), "shop-fork-1\n");
    assert_eq!(sh(&world, "fork-2", "hostname"), "shop-fork-2\n");
}

pub(crate) fn interrupted_ones_are_undone(world: World) {
    world.configure("readiness:\n  exec: test -e /ready\n  timeout: 60s\n");
    let script = "test -e /stuck || touch /ready; sleep 600";
    world.json(&["up", BUSYBOX, "--", "sh", "-c", script]);
    world.sh("touch /stuck; rm /ready");
    world.ok(&["snapshot", "-t", "stuck"]);
    let left = world.left_in_runtime().len();
    let child = world.spawn(&["fork", "stuck", "-n", "3"]);
    wait_for(SOON, || world.left_in_runtime().len() == left + 3);
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(branches(&world), ["main"]);
    assert_eq!(world.left_in_runtime().len(), left);
}

/// The process of a branch's shim, by its port.
fn kill_shim_of(world: &World, port: u16) {
    let folders = std::fs::read_dir(world.home().join("shims")).unwrap();
    let locks = folders.map(|folder| folder.unwrap().path().join("lock"));
    let pids = locks.map(|lock| read_json(&lock)["pid"].as_i64().unwrap());
    let sockets = listening_sockets(port);
    let has_one = |pid: &i64| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        open.into_iter().flatten().any(|entry| {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
            sockets.iter().any(|socket| target.to_str() == Some(socket))
        })
    };
    let pid = pids
        .into_iter()
        .find(has_one)
        .expect("no shim has the port");
    let pid = i32::try_from(pid).unwrap();
    kill(rustix::process::Pid::from_raw(pid).unwrap());
}

/// The sockets that listen on a port of the loopback interface, as links of descriptors name them.
fn listening_sockets(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // proc_net_tcp: the local address is the second column, the state (0A: listening) the fourth,
    // the inode the tenth.
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let port = format!(":{port:04X}");
    rows.filter(|row| row[1].ends_with(&port) && row[3] == "0A")
        .map(|row| format!("socket:[{}]", row[9]))
        .collect()
}

pub(crate) fn they_end_after_their_time(world: World) {
    up(&world);
    world.json(&["fork", "old", "--name", "stays"]);
    let left = world.left_in_runtime().len();
    let made = world.json(&["fork", "old", "-n", "2", "--ttl", "3s"]);
    let list = world.json(&["branch"]);
    let ends: Vec<_> = list["branches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["expires_at"].clone())
        .collect();
    assert_eq!(
        ends,
        [
            made["forks"][0]["expires_at"].clone(),
            made["forks"][1]["expires_at"].clone(),
            Value::Null,
            Value::Null
        ]
    );
    // By themselves: reading removes nothing.
    wait_for(SOON, || branches(&world) == ["main", "stays"]);
    for (name, fork) in forks(&made) {
        assert!(http::connect(fork.0).is_err(), "{name} still answers");
    }
    wait_for(SOON, || world.left_in_runtime().len() == left);
    let history = world.json(&["history"]);
    let rows = history["operations"].as_array().unwrap().iter();
    let removed = rows.filter(|row| row["operation"] == "branch rm" && row["outcome"] == "done");
    assert_eq!(removed.count(), 2);
}

pub(crate) fn a_killed_shim_does_not_keep_them(world: World) {
    let app = up(&world);
    for next in [&["-b", "brief", "snapshot"][..], &["snapshot"]] {
        let made = forks(&world.json(&["fork", "old", "--name", "brief", "--ttl", "4s"]));
        kill_shim_of(&world, made[0].1.0.port());
        // Whatever changes something next has somebody keep the time again.
        world.json(next);
        assert_eq!(branches(&world), ["brief", "main"], "{next:?}");
        wait_for(SOON, || branches(&world) == ["main"]);
    }
    let made = forks(&world.json(&["fork", "old", "--name", "brief", "--ttl", "2s"]));
    kill_shim_of(&world, made[0].1.0.port());
    kill_shim_of(&world, app.0.port());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(branches(&world), ["brief", "main"]);
    world.json(&["snapshot"]);
    assert_eq!(branches(&world), ["main"]);
    assert_eq!(file(app, "/file"), "now\n");
}

/// SIGKILL of the command at a random moment of a fork of 8.
pub(crate) fn cut_off_at_random_moments(world: World) {
    let world = world.with_own_storage();
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let app = up(&world);
    let mut host = Host::new(&world);
    let mut undone = 0;
    for moment in 0..MOMENTS {
        let child = world.spawn(&["fork", "old", "-n", "8"]);
        let after = WITHIN.mul_f64(random.random());
        std::thread::sleep(after);
        signal(&child, Signal::KILL);
        ended(child);
        host.look();
        // The next command that changes something finds all of it.
        let next = world.run(&["tag", &format!("after-{moment}")]);
        assert_eq!(next.code, 0, "{}", next.stderr);
        host.look();
        let list = world.json(&["branch"]);
        let rows = list["branches"].as_array().unwrap();
        println!("{after:?}: {} forks", rows.len() - 1);
        undone += 9 - rows.len();
        for row in rows {
            assert_eq!(row["state"], "running", "{after:?}: {row}");
            let expected = if row["name"] == "main" {
                "now\n"
            } else {
                "old\n"
            };
            assert_eq!(file(App::of(row), "/file"), expected, "{after:?}: {row}");
        }
        // A snapshot, and a container for each branch.
        assert_eq!(world.left_in_runtime().len(), 1 + rows.len(), "{after:?}");
        let shims = std::fs::read_dir(world.home().join("shims"))
            .unwrap()
            .count();
        assert_eq!(shims, rows.len(), "{after:?}");
        if rows.len() > 1 {
            world.ok(&["branch", "rm", "fork-*"]);
        }
    }
    assert!(undone > 0, "every moment was too late");
    assert_eq!(file(app, "/file"), "now\n");
    host.purge();
}

pub(crate) fn many_at_once_all_answer_and_go(world: World) {
    let world = world.with_own_storage();
    up(&world);
    let mut host = Host::new(&world);
    let begun = Instant::now();
    let made = forks(&world.json(&["fork", "old", "-n", &MANY.to_string()]));
    let forked = begun.elapsed();
    assert_eq!(made.len(), MANY);
    for (name, fork) in &made {
        assert_eq!(file(*fork, "/file"), "old\n", "{name}");
    }
    let asked = begun.elapsed();
    host.look();
    host.purge();
    let purged = begun.elapsed();
    println!("{MANY} forks: up {forked:?}, asked {asked:?}, gone {purged:?}");
    assert!(purged < MANY_LIMIT, "{purged:?}");
}
