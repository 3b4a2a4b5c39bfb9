//! Containers that are prepared ahead: a restore goes on in one, none is left behind, and what it has
//! already done is what the documentation says.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::target_app::App;
use crate::world::{BUSYBOX, World, ended, signal, text, wait_for};

/// How long it may take until a container is prepared, beside other tests.
const PREPARED: Duration = Duration::from_secs(60);
/// The restores of which one in a row may be cold.
const RESTORES: usize = 5;

/// The snapshots from which a container is prepared for `main`.
fn prepared(world: &World) -> Vec<Value> {
    let branches = world.json(&["branch", "list"]);
    branches["branches"][0]["standby"]
        .as_array()
        .unwrap()
        .clone()
}

fn wait_until_prepared(world: &World, snapshot: &str) {
    wait_for(PREPARED, || prepared(world) == [json!(snapshot)]);
}

/// How many containers of ours there are in the runtime.
fn containers(world: &World) -> usize {
    let left = world.left_in_runtime();
    left.iter()
        .filter(|found| found.starts_with("Container"))
        .count()
}

fn end(world: &World) {
    world.ok(&["down", "--purge"]);
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn a_restore_goes_on_in_what_was_prepared(world: World) {
    world.configure("standby: head");
    let app = world.up_app();
    app.write_file("note", "kept");
    let one = world.snapshot();
    for round in 0..RESTORES {
        wait_until_prepared(&world, &one);
        assert_eq!(world.json(&["show", &one])["standby"], json!(["main"]));
        app.write_file("note", "lost");
        let before = app.instance();
        let restored = world.json(&["restore", &one]);
        assert_eq!(restored["warm"], json!(true), "round {round}: {restored}");
        assert_ne!(app.instance(), before);
        assert_eq!(app.file("note").as_deref(), Some("kept"));
        println!(
            "{}: usable after {} ms",
            world.runtime, restored["usable_ms"]
        );
    }
    let history = world.json(&["history"]);
    let rows = history["operations"].as_array().unwrap().iter();
    let warm = rows.filter(|row| row["operation"] == "restore" && row["warm"] == true);
    assert_eq!(warm.count(), RESTORES);
    let stats = world.json(&["stats"]);
    let rows = stats["stats"].as_array().unwrap().iter();
    let of_restores = rows.filter(|row| row["operation"] == "restore" && row["phase"] == "usable");
    let rows: Vec<_> = of_restores
        .map(|row| (&row["warm"], &row["count"]))
        .collect();
    assert_eq!(rows, [(&json!(true), &json!(RESTORES))]);
    // The old ones go behind.
    wait_until_prepared(&world, &one);
    wait_for(PREPARED, || containers(&world) == 2);
    end(&world);
}

pub(crate) fn one_may_wait_until_the_old_one_is_gone(world: World) {
    world.up_busybox("sleep 600");
    for _ in 0..3 {
        world.json(&["restore", "--wait", "HEAD"]);
        assert_eq!(containers(&world), 1);
    }
    world.json(&["restore", "HEAD"]);
    wait_for(PREPARED, || containers(&world) == 1);
    end(&world);
}

pub(crate) fn what_a_prepared_one_has_done(world: World) {
    world.configure("standby: head");
    world.up_busybox("date +%s > /started; sleep 600");
    let base = text(&world.json(&["status"])["head"]);
    wait_until_prepared(&world, &base);
    std::thread::sleep(Duration::from_secs(3));
    let number = |text: String| text.trim().parse::<i64>().unwrap();
    let before = jiff::Timestamp::now().as_second();
    let restored = world.json(&["restore", "HEAD"]);
    assert_eq!(restored["warm"], json!(true));
    // Its start has happened, before the restore was asked for; its clock has gone on.
    assert!(number(world.sh("cat /started")) < before - 1);
    assert!(number(world.sh("date +%s")) >= before);
    world.configure("standby: none");
    world.json(&["up"]);
    wait_for(PREPARED, || {
        prepared(&world).is_empty() && containers(&world) == 1
    });
    let before = jiff::Timestamp::now().as_second();
    let restored = world.json(&["restore", "HEAD"]);
    assert_eq!(restored["warm"], json!(false));
    wait_for(PREPARED, || !world.sh("cat /started").is_empty());
    assert!(number(world.sh("cat /started")) >= before);
    end(&world);
}

pub(crate) fn a_killed_shim_or_worker_loses_nothing(world: World) {
    world.configure("standby: head");
    let up = [
        "up", BUSYBOX, "-p", "8000", "--", "httpd", "-f", "-p", "8000",
    ];
    let app = App::of(&world.json(&up));
    let one = world.snapshot();
    wait_until_prepared(&world, &one);
    crate::restore::kill_shim(&world);
    let restored = world.json(&["restore", &one]);
    assert_eq!(restored["warm"], json!(true), "it is found again");
    assert_eq!(
        crate::http::request(app.0, "GET", "/none", b"")
            .unwrap()
            .status,
        404
    );
    // At moments while the next one is prepared and the old one goes: whatever is cut off, the next
    // command finds it.
    for delay in [0, 10, 30, 60, 100, 200, 400] {
        let child = world.spawn(&["restore", &one]);
        std::thread::sleep(Duration::from_millis(delay));
        signal(&child, Signal::KILL);
        ended(child);
        for worker in workers(&world) {
            crate::host::kill(worker);
        }
        let restored = world.json(&["restore", &one]);
        assert_eq!(text(&restored["id"]), one);
        assert_eq!(
            crate::http::request(app.0, "GET", "/none", b"")
                .unwrap()
                .status,
            404
        );
    }
    wait_until_prepared(&world, &one);
    wait_for(PREPARED, || containers(&world) == 2);
    end(&world);
}

/// The workers in the background of a world.
fn workers(world: &World) -> Vec<rustix::process::Pid> {
    let processes = crate::host::all_processes();
    let home = world.home().display().to_string();
    processes
        .filter(|&process| {
            let words = crate::host::of(process, "cmdline");
            let words = String::from_utf8_lossy(&words);
            words.contains(&home) && words.split('\0').any(|word| word == "tend")
        })
        .collect()
}

pub(crate) fn a_restarted_daemon_s_are_replaced(world: World) {
    let world = world.with_own_daemon(2000);
    world.configure("standby: head");
    world.up_busybox("sleep 600");
    let one = world.snapshot();
    wait_until_prepared(&world, &one);
    world.restart_daemon();
    let restored = world.run(&["--json", "restore", &one]);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    let document: Value = serde_json::from_str(&restored.stdout).unwrap();
    // What a daemon does with its frozen containers as it ends is its own matter.
    if document["warm"] == json!(false) {
        assert!(
            restored.stderr.contains("the prepared one cannot be used"),
            "{}",
            restored.stderr
        );
    }
    wait_until_prepared(&world, &one);
    assert_eq!(world.json(&["restore", &one])["warm"], json!(true));
    end(&world);
}
