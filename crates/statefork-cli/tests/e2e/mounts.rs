//! What lies outside of the writable layer, and what must not.

use std::os::unix::fs::PermissionsExt;

use crate::world::{BUSYBOX, World, text};

pub(crate) fn a_declared_volume_is_part_of_a_snapshot(world: World) {
    let context = world.folder().join("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN mkdir /data && echo image > /data/file\nVOLUME /data\n\
         CMD [\"sleep\", \"600\"]\n"
    );
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    world.json(&["up", "--build", "context"]);
    assert_eq!(world.sh("cat /data/file"), "image\n");
    world.sh("echo one > /data/file; echo new > /data/other");
    let one = world.snapshot();
    world.sh("echo two > /data/file; rm /data/other");
    world.json(&["restore", &one]);
    assert_eq!(world.sh("cat /data/file /data/other"), "one\nnew\n");
    world.json(&["restore", "base"]);
    assert_eq!(world.sh("cat /data/file; ls /data"), "image\nfile\n");
}

pub(crate) fn a_shared_mount_is_named_and_not_rolled_back(world: World) {
    let shared = world.folder().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mount = format!("{}:/mnt", shared.display());
    let up = world.run(&["up", BUSYBOX, "--mount", &mount, "--", "sleep", "600"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    world.sh("echo one > /mnt/file; echo one > /file");
    let snapshot = world.run(&["--json", "snapshot"]);
    assert!(snapshot.stderr.contains("/mnt"), "{}", snapshot.stderr);
    let document: serde_json::Value = serde_json::from_str(&snapshot.stdout).unwrap();
    world.sh("echo two > /mnt/file; echo two > /file");
    let restored = world.run(&["restore", &text(&document["id"])]);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    // Two containers may not write there at once, so the old one went first.
    assert!(
        restored.stderr.contains("stopped before"),
        "{}",
        restored.stderr
    );
    assert_eq!(world.sh("cat /mnt/file /file"), "two\none\n");
}

pub(crate) fn memory_is_named_and_empty_after_a_restore(world: World) {
    let memory = "type=tmpfs,target=/mem,tmpfs-size=1m";
    world.json(&["up", BUSYBOX, "--mount", memory, "--", "sleep", "600"]);
    world.sh("echo 1 > /mem/one; echo 2 > /two");
    let snapshot = world.json(&["snapshot"]);
    assert_eq!(snapshot["not_held"][0]["path"], "/mem");
    assert_eq!(snapshot["not_held"][0]["kind"], "tmpfs");
    let show = world.json(&["show", "HEAD"]);
    assert_eq!(show["spec"]["mounts"][0]["kind"], "tmpfs");
    assert_eq!(show["spec"]["mounts"][0]["size_bytes"], 1 << 20);
    world.json(&["restore", "HEAD"]);
    assert_eq!(world.sh("ls /mem; cat /two"), "2\n");
}

pub(crate) fn memory_runs_nothing_and_is_there_while_it_runs(world: World) {
    std::fs::write(world.folder().join("mine"), "mine").unwrap();
    // Below a process 1 it hears a polite stop.
    let sleep = ["--init", "--", "sleep", "600"];
    world.json(&[&["up", BUSYBOX, "--tmpfs", "/mem"], &sleep[..]].concat());
    world.sh("cp /bin/busybox /mem/echo; cp /bin/busybox /echo; /echo there");
    let ran = world.run(&["exec", "--", "/mem/echo", "there"]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    world.ok(&["cp", "mine", ":/mem/mine"]);
    assert_eq!(world.sh("cat /mem/mine"), "mine");
    world.ok(&["stop"]);
    let document = world.run(&["--json", "cp", "mine", ":/mem/again"]);
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "wrong_state");
    world.ok(&["start"]);
    assert_eq!(world.sh("ls /mem"), "");
}
