//! A disk that is full: a clear error, and everything from before intact.

use std::time::Duration;

use serde_json::Value;

use crate::world::{World, ended, text, wait_for};

/// What must fail for want of space in the home.
fn fails_for_home(world: &World, args: &[&str]) {
    let error = world.fails(1, args);
    let home = format!("write in home {}: its disk is full", world.home().display());
    assert!(error.contains(&home), "{args:?}: {error}");
    assert!(error.contains("hint: free some space"), "{args:?}: {error}");
}

pub(crate) fn the_home_s_disk(mut world: World) {
    world.on_small_disk(16);
    world.up_busybox("sleep 600");
    world.sh("echo one > /file");
    let one = world.snapshot();
    world.json(&["tag", "kept", &one]);
    world.sh("echo two > /file");
    let before = world.json(&["list"]);
    let container = text(&world.json(&["status"])["container"]);
    let filling = world.home_disk().fill();
    for args in [
        &["snapshot"][..],
        &["step"],
        &["restore", "kept"],
        &["tag", "more"],
        &["tag", "-d", "kept"],
        &["rm", "base"],
        &["switch", "main"],
    ] {
        fails_for_home(&world, args);
    }
    drop(filling);
    assert_eq!(world.json(&["list"]), before);
    let status = world.json(&["status"]);
    assert_eq!(
        (&status["state"], &status["unfinished"]),
        (&"running".into(), &Value::Array(Vec::new()))
    );
    assert_eq!(text(&status["container"]), container);
    assert_eq!(world.sh("cat /file"), "two\n");
    world.snapshot();
    world.json(&["restore", "kept"]);
    assert_eq!(world.sh("cat /file"), "one\n");
}

pub(crate) fn the_home_s_disk_amid_an_operation(mut world: World) {
    world.on_small_disk(16);
    world.up_busybox("sleep 600");
    let nodes = |world: &World| world.json(&["list"])["snapshots"].as_array().unwrap().len();
    let trying = world.spawn(&["try", "--", "sh", "-c", "echo mine > /file; sleep 3"]);
    wait_for(Duration::from_secs(20), || nodes(&world) == 2);
    let filling = world.home_disk().fill();
    let tried = ended(trying);
    // Its command ended well; that could not be recorded.
    assert_eq!(tried.code, 125, "{}", tried.stderr);
    assert!(
        tried.stderr.contains("its disk is full"),
        "{}",
        tried.stderr
    );
    drop(filling);
    let next = world.run(&["tag", "later"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert!(
        next.stderr.contains("it is finished now"),
        "{}",
        next.stderr
    );
    assert_eq!(
        world.json(&["history"])["operations"][1]["outcome"],
        "recovered"
    );
    assert_eq!(world.sh("cat /file"), "mine\n");
    assert_eq!(nodes(&world), 2);
    world.json(&["restore", "HEAD"]);
    assert_eq!(world.sh("cat /file || echo none"), "none\n");
}

pub(crate) fn the_runtime_s_disk(world: World) {
    let world = world.with_own_daemon(96);
    world.up_busybox("sleep 600");
    world.sh("echo one > /file");
    let one = text(&world.json(&["step", "-t", "one"])["id"]);
    world.sh("echo two > /file");
    let before = world.json(&["list"]);
    let container = text(&world.json(&["status"])["container"]);
    // The container before the step goes behind; the snapshot and the new one stay.
    wait_for(Duration::from_secs(20), || {
        world.left_in_runtime().len() == 2
    });
    let objects = world.left_in_runtime();
    let unchanged = |content: &str| {
        assert_eq!(world.json(&["list"]), before);
        let status = world.json(&["status"]);
        assert_eq!(status["state"], "running", "{status}");
        assert_eq!(text(&status["container"]), container);
        assert_eq!(world.sh("cat /file"), content);
        assert_eq!(world.left_in_runtime(), objects);
    };
    let fails = |args: &[&str]| {
        let error = world.fails(1, args);
        let full = format!("no space left in the storage of {}", world.runtime);
        assert!(error.contains(&full), "{args:?}: {error}");
        assert!(error.contains("hint: free some space"), "{args:?}: {error}");
    };
    // More than what is left has to be stored once more.
    let disk = world.daemon_disk();
    let mebibytes = disk.free() / (1 << 20) * 6 / 10;
    world.sh(&format!(
        "dd if=/dev/urandom of=/large bs=1M count={mebibytes} 2>/dev/null"
    ));
    let free = disk.free();
    for args in [
        &["snapshot"][..],
        &["step"],
        &["snapshot", "--no-pause"],
        &["restore", "--save", "one"],
    ] {
        fails(args);
        unchanged("two\n");
        let lost = free.saturating_sub(disk.free());
        assert!(lost < 1 << 20, "{args:?} left {lost} bytes");
    }
    // Not a block is left for another container.
    let filling = disk.fill();
    for args in [&["restore", "one"][..], &["step"]] {
        fails(args);
        let branches = world.json(&["branch"]);
        assert_eq!(branches["branches"][0]["state"], "running", "{args:?}");
    }
    drop(filling);
    unchanged("two\n");
    world.sh("rm /large");
    world.snapshot();
    world.json(&["restore", &one]);
    assert_eq!(world.sh("cat /file; test ! -e /large"), "one\n");
}
