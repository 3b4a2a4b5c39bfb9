//! What one does with an application that is up.

use std::io::Read;

use crate::world::{World, ended, text};

pub(crate) fn the_main_job(world: World) {
    let app = world.up_app();
    assert_eq!(app.key("planet").as_deref(), Some("earth"));
    app.set_key("planet", "mars");
    app.write_file("note", "first");
    let one = world.snapshot();
    app.write_file("note", "second");
    let before = app.instance();
    let restored = world.json(&["restore", &one]);
    assert_eq!(text(&restored["id"]), one);
    assert_eq!(app.file("note").as_deref(), Some("first"));
    assert_ne!(app.instance(), before);
    assert_eq!(
        app.key("planet").as_deref(),
        Some("earth"),
        "memory is not files"
    );
    app.write_file("note", "third");
    let stepped = world.json(&["step", "-m", "third note"]);
    assert_eq!(text(&stepped["parent"]), one);
    assert_eq!(app.file("note").as_deref(), Some("third"));
    world.json(&["restore", "base"]);
    assert_eq!(app.file("note"), None);
    world.json(&["restore", &text(&stepped["id"])[..6]]);
    assert_eq!(app.file("note").as_deref(), Some("third"));
    world.ok(&["down", "--purge"]);
    assert!(
        crate::http::connect(app.0).is_err(),
        "the port is still served"
    );
}

pub(crate) fn exec_ends_as_its_command_does(world: World) {
    world.up_busybox("sleep 600");
    for (code, command) in [
        (0, &["true"][..]),
        (7, &["sh", "-c", "exit 7"]),
        (127, &["no-such-program"]),
        (126, &["/etc/passwd"]),
    ] {
        let args = [&["exec", "--"], command].concat();
        let ended = world.run(&args);
        assert_eq!(ended.code, code, "{command:?}: {}", ended.stderr);
    }
    let ended = world.run(&["exec", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "err\n")
    );
    let ended = world.pipe(&["exec", "-i", "--", "wc", "-c"], "x".repeat(300_000));
    assert_eq!(ended.stdout.trim(), "300000", "{}", ended.stderr);
    world.ok(&["down"]);
    assert_eq!(world.run(&["exec", "--", "true"]).code, 125);
}

pub(crate) fn logs_are_those_of_the_application(world: World) {
    world.up_busybox("for i in 1 2 3; do echo line $i; done; echo oops >&2; sleep 600");
    let begun = std::time::Instant::now();
    while world.run(&["logs"]).stderr.is_empty() {
        assert!(begun.elapsed().as_secs() < 20, "the output does not come");
    }
    let logs = world.run(&["logs"]);
    let expected = ("line 1\nline 2\nline 3\n", "oops\n");
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), expected);
    let tail = world.run(&["logs", "--tail", "1"]);
    // The streams' order against each other is the runtime's.
    assert!(["line 3\n", "oops\n"].contains(&(tail.stdout + &tail.stderr).as_str()));
    let mut following = world.spawn(&["logs", "-f"]);
    let mut first = [0; 6];
    following
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"line 1");
    world.ok(&["down"]);
    // The container's end is the end of its output.
    ended(following);
}

pub(crate) fn what_ended_starts_again_with_its_changes(world: World) {
    let script = "test -e /ran && sleep 600; touch /ran; sleep 1; exit 3";
    world.up_busybox(script);
    let begun = std::time::Instant::now();
    while world.json(&["status"])["state"] != "exited" {
        assert!(begun.elapsed().as_secs() < 30, "it does not end");
    }
    // Files can be captured all the same.
    let one = world.snapshot();
    world.json(&["up"]);
    assert_eq!(world.json(&["status"])["state"], "running");
    world.sh("test -e /ran && rm /ran");
    world.json(&["restore", &one]);
    world.sh("test -e /ran");
}

pub(crate) fn messages_hold_anything(world: World) {
    world.up_busybox("sleep 600");
    let message = "it's \"so\"\nsecond line\t✓ 雪 '; DROP TABLE snapshots; --";
    let snapshot = world.json(&["snapshot", "-m", message]);
    assert_eq!(text(&snapshot["message"]), message);
    assert_eq!(world.json(&["list"])["snapshots"][1]["message"], message);
    let rows = world.ok(&["list"]);
    assert!(rows.contains("it's \"so\""), "{rows}");
}

pub(crate) fn the_figures_tell_every_operation(world: World) {
    world.up_busybox("sleep 600");
    for _ in 0..3 {
        world.snapshot();
    }
    // It removes the old container itself.
    world.json(&["restore", "--wait", "HEAD^"]);
    assert_eq!(world.run(&["restore", "nowhere"]).code, 3);
    let history = world.json(&["history"]);
    let words: Vec<String> = history["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", text(&row["operation"]), text(&row["outcome"])))
        .collect();
    let expected = [
        "up done",
        "snapshot done",
        "snapshot done",
        "snapshot done",
        "restore done",
    ];
    assert_eq!(words, expected);
    let restore = &history["operations"][4];
    assert!(restore["usable_ms"].as_f64().unwrap() <= restore["duration_ms"].as_f64().unwrap());
    for phase in ["create", "start", "stop", "remove"] {
        assert!(
            restore["phases"][phase].as_f64().unwrap() > 0.0,
            "{restore}"
        );
    }
    let stats = world.json(&["stats"]);
    let whole = stats["stats"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["operation"] == "snapshot" && row["phase"].is_null());
    let whole = whole.unwrap();
    assert_eq!(whole["count"], 3);
    assert!(whole["min_ms"].as_f64().unwrap() <= whole["median_ms"].as_f64().unwrap());
}

pub(crate) fn two_commands_at_once_take_turns(world: World) {
    world.up_busybox("sleep 600");
    let both = [world.spawn(&["step"]), world.spawn(&["snapshot"])];
    for child in both {
        let ended = ended(child);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let list = world.json(&["list"]);
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 3);
    assert_eq!(list["snapshots"][2]["parent"], list["snapshots"][1]["id"]);
}

pub(crate) fn commands_start_beside_snapshots(world: World) {
    world.up_busybox("sleep 600");
    let (mut commands, mut snapshots) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        commands.push(world.spawn(&["exec", "--", "sh", "-c", "sleep 0.1; echo ran"]));
        snapshots.push(world.spawn(&["snapshot"]));
    }
    for child in commands {
        assert_eq!(ended(child).stdout, "ran\n");
    }
    for child in snapshots {
        assert_eq!(ended(child).code, 0);
    }
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        9
    );
}

pub(crate) fn files_are_copied_in_and_out(world: World) {
    world.up_busybox("mkdir /data; sleep 600");
    let host = world.folder().join("files");
    std::fs::create_dir_all(host.join("deep")).unwrap();
    std::fs::write(host.join("deep/one"), "first").unwrap();
    std::fs::write(host.join("two"), "second").unwrap();
    let into = world.json(&["cp", "files", ":/data"]);
    assert_eq!(
        (&into["files"], &into["size_bytes"]),
        (&2.into(), &11.into())
    );
    assert_eq!(world.sh("cat /data/files/deep/one"), "first");
    world.ok(&["cp", "files/.", ":/data"]);
    assert_eq!(world.sh("cat /data/two; stat -c %u /data/two"), "second0\n");
    world.ok(&["cp", "files/two", "main:data/three"]);
    world.sh("echo more >> /data/three; ln -s /data /link");
    world.ok(&["cp", "files/two", ":/link"]);
    for (source, target, file) in [
        (":/data", "out", "out/files/deep/one"),
        (":/data/.", "files", "files/three"),
        (":/data/three", "four", "four"),
        (":/data/three", ".", "three"),
    ] {
        world.ok(&["cp", source, target]);
        let copied = std::fs::read_to_string(world.folder().join(file)).unwrap();
        assert!(
            ["first", "secondmore\n"].contains(&copied.as_str()),
            "{copied}"
        );
    }
    let archive = world.spawn(&["cp", ":/data/files", "-"]);
    let archive = archive.wait_with_output().unwrap().stdout;
    world.sh("mkdir /again");
    let unpacked = world.pipe(&["cp", "-", ":/again"], &archive);
    assert_eq!(unpacked.code, 0, "{}", unpacked.stderr);
    assert_eq!(world.sh("cat /again/files/deep/one"), "first");
    for (code, args) in [
        (1, ["cp", ":/none", "."]),
        (1, ["cp", "none", ":/data"]),
        (1, ["cp", "files", ":/data/two"]),
        (1, ["cp", "files/two", ":/none/two"]),
        (1, ["cp", ":/data/two", "none/two"]),
        (2, ["cp", "files/two", "files/three"]),
        (2, ["cp", ":/data/two", ":/data/three"]),
        (3, ["cp", "other:/data/two", "."]),
    ] {
        world.fails(code, &args);
    }
    assert_eq!(world.sh("cat /data/two"), "second");
}
