//! Branches, tags and revisions on applications that run; what fails or dies goes back.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::target_app::App;
use crate::world::{BUSYBOX, World, add_branch, ended, signal, text, wait_for};

/// How long an application may be away after the death of a command.
const AWAY: Duration = Duration::from_secs(5);
const SERVER: &str = "httpd -f -p 8000 -h /www";

/// Up with a file, and a snapshot of each of its texts; the ids.
fn versions(world: &World, texts: &[&str]) -> Vec<String> {
    world.up_busybox("sleep 600");
    let snapshot = |text: &&str| {
        world.sh(&format!("echo {text} > /file"));
        world.snapshot()
    };
    texts.iter().map(snapshot).collect()
}

fn file(world: &World) -> String {
    world.sh("cat /file").trim().to_owned()
}

fn nodes(world: &World) -> Vec<Value> {
    world.json(&["list"])["snapshots"]
        .as_array()
        .unwrap()
        .clone()
}

pub(crate) fn tags_and_revisions(world: World) {
    versions(&world, &["one", "two"]);
    world.sh("echo three > /file");
    let three = world.json(&["snapshot", "-t", "v3", "--label", "ticket=42"]);
    assert_eq!(three["tags"][0], "v3");
    world.json(&["tag", "v1", "HEAD~2"]);
    for (revision, expected) in [
        ("v1", "one"),
        ("v3^", "two"),
        ("main@{1}", "one"),
        ("v3", "three"),
    ] {
        world.json(&["restore", revision]);
        assert_eq!(file(&world), expected, "{revision}");
    }
    let found = world.json(&["list", "--filter", "label=ticket=42"]);
    assert_eq!(found["snapshots"][0]["id"], three["id"]);
    // A name that is taken is refused before anything is made.
    world.fails(6, &["snapshot", "-t", "v1"]);
    assert_eq!(nodes(&world).len(), 4);
    world.ok(&["tag", "-d", "v3"]);
    world.fails(3, &["restore", "v3"]);
    assert_eq!(file(&world), "three");
    let tree = world.ok(&["tree"]);
    assert!(tree.contains("(v1)") && tree.contains("(main*)"), "{tree}");
}

pub(crate) fn restore_back_and_forth(world: World) {
    let ids = versions(&world, &["one", "two"]);
    world.json(&["restore", &ids[0]]);
    world.json(&["restore", "-"]);
    assert_eq!(file(&world), "two");
    world.json(&["restore", "-"]);
    assert_eq!(file(&world), "one");
    world.sh("echo mine > /file");
    let restored = world.json(&["restore", "--save", &ids[1]]);
    assert_eq!(file(&world), "two");
    let saved = text(&restored["saved"]);
    assert_eq!(nodes(&world).last().unwrap()["id"], saved.as_str());
    world.json(&["restore", "-"]);
    assert_eq!(file(&world), "mine");
}

pub(crate) fn what_follows_a_removed_snapshot_stays(world: World) {
    world.up_busybox("sleep 600");
    // Each stands on the one before, in the runtime too.
    let ids = ["one", "two", "three"].map(|text| {
        world.sh(&format!("echo {text} > /file"));
        self::text(&world.json(&["step"])["id"])
    });
    let error = world.fails(6, &["rm", "HEAD"]);
    assert!(error.contains("head of branch \"main\""), "{error}");
    world.fails(6, &["rm", "base"]);
    world.fails(3, &["rm", &ids[0], "absent"]);
    assert_eq!(nodes(&world).len(), 4);
    let removed = world.json(&["rm", "HEAD~1", "HEAD~2"]);
    assert_eq!(removed["removed"][0]["id"], ids[1].as_str());
    assert_eq!(removed["removed"][1]["id"], ids[0].as_str());
    let left = nodes(&world);
    assert_eq!(left.len(), 2);
    assert_eq!(left[1]["parent"], left[0]["id"]);
    world.fails(3, &["restore", &ids[0]]);
    world.json(&["restore", "base"]);
    assert_eq!(world.sh("cat /file || echo none"), "none\n");
    world.json(&["restore", &ids[2]]);
    assert_eq!(file(&world), "three");
}

pub(crate) fn branches_live_side_by_side(world: World) {
    versions(&world, &["one", "two"]);
    world.fails(6, &["branch", "rm", "main"]);
    world.fails(3, &["switch", "trial"]);
    add_branch(&world, "trial", "HEAD^");
    world.fails(3, &["-b", "trial", "snapshot"]);
    world.json(&["-b", "trial", "restore", "HEAD"]);
    let both = world.json(&["branch"]);
    for branch in both["branches"].as_array().unwrap() {
        assert_eq!(branch["state"], "running", "{both}");
    }
    world.json(&["switch", "trial"]);
    assert_eq!(file(&world), "one");
    world.sh("echo better > /file");
    let better = world.snapshot();
    world.json(&["branch", "rename", "trial", "winner"]);
    assert_eq!(world.json(&["branch"])["current"], "winner");
    assert_eq!(file(&world), "better");
    assert_eq!(
        world.ok(&["-b", "main", "exec", "--", "cat", "/file"]),
        "two\n"
    );
    let promoted = world.json(&["branch", "promote", "winner"]);
    assert_eq!(text(&promoted["id"]), better);
    assert_eq!(promoted["branch"], "main");
    assert_eq!(
        world.ok(&["-b", "main", "exec", "--", "cat", "/file"]),
        "better\n"
    );
    assert_eq!(world.json(&["branch", "rm", "w*"])["removed"][0], "winner");
    let left = world.json(&["branch"]);
    assert_eq!(left["current"], "main");
    assert_eq!(left["branches"].as_array().unwrap().len(), 1);
    assert_eq!(file(&world), "better");
}

pub(crate) fn try_keeps_or_goes_back(world: World) {
    versions(&world, &["one"]);
    let kept = world.run(&[
        "try",
        "--",
        "sh",
        "-c",
        "echo kept > /file; echo out; echo err >&2",
    ]);
    assert_eq!((kept.code, kept.stdout.as_str()), (0, "out\n"));
    assert!(kept.stderr.contains("err\n"), "{}", kept.stderr);
    assert_eq!(file(&world), "kept");
    let failed = world.run(&["try", "--", "sh", "-c", "echo lost > /file; exit 7"]);
    assert_eq!(failed.code, 7, "{}", failed.stderr);
    assert_eq!(file(&world), "kept");
    let absent = world.run(&["try", "--", "no-such-program"]);
    assert_eq!(absent.code, 127, "{}", absent.stderr);
    let args = [
        "--json",
        "try",
        "--",
        "sh",
        "-c",
        "echo lost > /file; exit 3",
    ];
    let ended_with = world.run(&args);
    assert_eq!(ended_with.code, 3);
    let document: Value = serde_json::from_str(&ended_with.stdout).unwrap();
    assert_eq!(document["exit_code"], 3);
    assert_eq!(document["restored"], true);
    assert_eq!(world.json(&["show", "HEAD"])["id"], document["snapshot"]);
    // Interrupted, it goes back too.
    let before = nodes(&world).len();
    let child = world.spawn(&["try", "--", "sh", "-c", "echo lost > /file; sleep 600"]);
    // An exec that is caught by the pause of a snapshot hangs Docker 20.10 for good.
    wait_for(Duration::from_secs(20), || nodes(&world).len() > before);
    wait_for(Duration::from_secs(20), || file(&world) == "lost");
    signal(&child, Signal::INT);
    let interrupted = ended(child);
    assert_eq!(interrupted.code, 130, "{}", interrupted.stderr);
    assert_eq!(file(&world), "kept");
    assert_eq!(world.json(&["status"])["state"], "running");
}

pub(crate) fn what_is_stopped_starts_with_its_changes(world: World) {
    let app = serve(&world);
    assert_eq!(app.get("/file").status, 200);
    world.sh("echo changed > /www/file");
    assert_eq!(world.json(&["stop"])["already"], false);
    assert_eq!(world.json(&["status"])["state"], "exited");
    assert_eq!(world.json(&["stop"])["already"], true);
    let stopped = world.snapshot();
    assert_eq!(world.json(&["start"])["already"], false);
    assert_eq!(world.json(&["start"])["already"], true);
    assert_eq!(app.get("/file").body, b"changed\n");
    world.json(&["restore", &stopped]);
    assert_eq!(app.get("/file").body, b"changed\n");
}

pub(crate) fn a_killed_restore_is_undone_by_itself(world: World) {
    let ready = "readiness:\n  exec: test -e /ready\n  timeout: 60s\n";
    world.configure(ready);
    let app = serve(&world);
    world.sh("touch /stuck; rm /ready");
    let stuck = world.snapshot();
    world.sh("touch /ready; echo mine > /www/file");
    let before = text(&world.json(&["status"])["container"]);
    let without = world.left_in_runtime().len();
    let mut child = world.spawn(&["restore", &stuck]);
    // The old one is frozen and the new one is there, which is never ready.
    wait_for(Duration::from_secs(20), || {
        world.left_in_runtime().len() > without
    });
    thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    let died = Instant::now();
    // No command: whoever asks gets an answer.
    let answer = app.get("/file");
    assert!(died.elapsed() < AWAY, "{:?}", died.elapsed());
    assert_eq!(answer.body, b"mine\n");
    let next = world.run(&["tag", "later"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert!(
        next.stderr.contains("restore (operation 3) was cut off")
            && next.stderr.contains("it is undone now"),
        "{}",
        next.stderr
    );
    // It is told once.
    assert!(
        !world
            .run(&["tag", "-d", "later"])
            .stderr
            .contains("cut off")
    );
    assert_eq!(text(&world.json(&["status"])["container"]), before);
    let history = world.json(&["history"]);
    assert_eq!(history["operations"][2]["outcome"], "undone");
}

pub(crate) fn a_freeze_has_a_limit(world: World) {
    world.configure("freeze_timeout: 2s\nreadiness:\n  exec: test -e /ready\n  timeout: 60s\n");
    serve(&world);
    world.sh("touch /stuck; rm /ready");
    let stuck = world.snapshot();
    world.sh("touch /ready");
    let child = world.spawn(&["restore", &stuck]);
    let state = || text(&world.json(&["status"])["state"]);
    wait_for(Duration::from_secs(20), || state() == "paused");
    // The command still waits for the new one.
    wait_for(Duration::from_secs(10), || state() == "running");
    signal(&child, Signal::INT);
    let interrupted = ended(child);
    assert_eq!(interrupted.code, 130, "{}", interrupted.stderr);
    assert_eq!(state(), "running");
}

/// Up with a server of `/www/file`, whose processes get ready unless `/stuck` is there.
fn serve(world: &World) -> App {
    let script = format!(
        "mkdir -p /www; test -e /www/file || echo first > /www/file; \
         test -e /stuck || touch /ready; exec {SERVER}"
    );
    let up = ["up", BUSYBOX, "-p", "8000", "--", "sh", "-c", &script];
    App::of(&world.json(&up))
}
