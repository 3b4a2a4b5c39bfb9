//! What a container knows of itself, and what is run in it when it comes from a snapshot.

use std::time::Duration;

use serde_json::Value;

use crate::target_app::App;
use crate::world::{APP, BUSYBOX, World, text, wait_for};

/// How long it may take until a container is prepared, beside other tests.
const PREPARED: Duration = Duration::from_secs(60);
const FILE: &str = "/run/statefork.json";

/// What the container of a branch says that it is.
fn identity(world: &World, branch: &str) -> Value {
    let document = world.ok(&["-b", branch, "exec", "--", "cat", FILE]);
    serde_json::from_str(&document).unwrap_or_else(|error| panic!("{document:?}: {error}"))
}

fn says(world: &World, branch: &str, snapshot: &str) {
    let expected = serde_json::json!({
        "schema": 1,
        "environment": world.name,
        "branch": branch,
        "snapshot": snapshot,
        "runtime": world.runtime,
    });
    assert_eq!(identity(world, branch), expected);
}

pub(crate) fn of_each_container(world: World) {
    // Another user than root reads it too.
    let up = ["up", BUSYBOX, "--user", "1000:1000", "--network", "none"];
    let up = world.json(&[&up[..], &["--", "sleep", "600"]].concat());
    let base = text(&up["head"]);
    says(&world, "main", &base);
    let changes = &world.json(&["status"])["changes"];
    assert_eq!(changes, &serde_json::json!([]), "ours are told as changes");
    let written = world.run(&["exec", "--", "sh", "-c", "echo mine > /run/statefork.json"]);
    assert_ne!(written.code, 0, "it can be written");
    // It is not the application's mount: nothing is said to be missing in a snapshot, and a step can go on
    // beside it.
    let step = world.run(&["--json", "step"]);
    assert_eq!(step.code, 0, "{}", step.stderr);
    assert!(
        !step.stderr.contains("is not in the snapshot"),
        "{}",
        step.stderr
    );
    assert!(
        !step.stderr.contains("is stopped before"),
        "{}",
        step.stderr
    );
    let step: Value = serde_json::from_str(&step.stdout).unwrap();
    assert_eq!(step["not_held"], serde_json::json!([]));
    says(&world, "main", &text(&step["id"]));
    let changes = &world.json(&["status"])["changes"];
    assert_eq!(changes, &serde_json::json!([]));
    world.json(&["restore", "base"]);
    says(&world, "main", &base);
    world.json(&["stop"]);
    world.json(&["start"]);
    says(&world, "main", &base);
    // The same settings are the same settings.
    let up = [
        "up",
        "--user",
        "1000:1000",
        "--network",
        "none",
        "--",
        "sleep",
        "600",
    ];
    assert_eq!(world.json(&up)["already_up"], true);
    let spec = &world.json(&["show", "HEAD"])["spec"];
    assert_eq!(spec["mounts"], serde_json::json!([]));
    world.json(&["down"]);
    assert_eq!(files_of_containers(&world), 0);
}

/// How many containers' files the home keeps.
fn files_of_containers(world: &World) -> usize {
    let folder = world.home().join("identity");
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

pub(crate) fn of_forks_and_renamed_branches(world: World) {
    world.up_busybox("sleep 600");
    let forked = world.json(&["fork", "-n", "2", "--name", "f"]);
    let snapshot = text(&forked["snapshot"]);
    says(&world, "f-1", &snapshot);
    says(&world, "f-2", &snapshot);
    world.ok(&["branch", "rename", "f-1", "a-much-longer-name-than-before"]);
    says(&world, "a-much-longer-name-than-before", &snapshot);
    world.ok(&["branch", "rename", "a-much-longer-name-than-before", "g"]);
    says(&world, "g", &snapshot);
    says(&world, "f-2", &snapshot);
    assert_eq!(files_of_containers(&world), 3);
    world.ok(&["branch", "rm", "g", "f-*"]);
    assert_eq!(files_of_containers(&world), 1);
}

pub(crate) fn below_a_link_and_above_memory(world: World) {
    world.up_busybox("sleep 600");
    // The folder may be elsewhere by the time of the next container.
    world.sh("mkdir -p /var && mv /run /var/run && ln -s /var/run /run");
    let linked = text(&world.json(&["step"])["id"]);
    says(&world, "main", &linked);
    let changes = &world.json(&["status"])["changes"];
    assert_eq!(changes, &serde_json::json!([]));
    world.ok(&["down", "--purge"]);
    let up = ["up", BUSYBOX, "--tmpfs", "/run", "--", "sleep", "600"];
    let up = world.json(&up);
    says(&world, "main", &text(&up["head"]));
    world.sh("echo 1 > /run/app.pid");
}

pub(crate) fn a_shared_folder_gets_no_file(world: World) {
    let shared = world.folder().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let mount = format!("{}:/run:ro", shared.display());
    let up = world.run(&["up", BUSYBOX, "--mount", &mount, "--", "sleep", "600"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    assert!(up.stderr.contains(FILE), "{}", up.stderr);
    assert_eq!(world.sh("ls /run"), "");
    let restored = world.run(&["restore", "HEAD"]);
    assert!(!restored.stderr.contains(FILE), "it is told again");
    let entries = std::fs::read_dir(&shared).unwrap();
    assert_eq!(entries.count(), 0, "something is left in it");
}

pub(crate) fn a_machine_id_for_each(world: World) {
    let up = ["up", BUSYBOX, "--machine-id", "new", "--", "sleep", "600"];
    world.json(&up);
    let id = |branch| world.ok(&["-b", branch, "exec", "--", "cat", "/etc/machine-id"]);
    let is_id = |id: &str| {
        id.strip_suffix('\n')
            .is_some_and(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let first = id("main");
    assert!(is_id(&first), "{first:?}");
    assert_eq!(world.json(&["snapshot"])["not_held"], serde_json::json!([]));
    let changes = &world.json(&["status"])["changes"];
    assert!(!changes.to_string().contains("machine-id"), "{changes}");
    world.json(&["restore", "HEAD"]);
    let second = id("main");
    assert!(is_id(&second) && first != second, "{second:?}");
    world.json(&["fork", "-n", "2", "--name", "f"]);
    let forks = [id("f-1"), id("f-2")];
    assert!(is_id(&forks[0]) && forks[0] != forks[1] && forks[0] != second);
}

pub(crate) fn the_hook_runs_in_what_comes_from_a_snapshot(world: World) {
    world.configure(&format!(
        "image: {APP}\nports: ['8000']\nhooks:\n  after_restore: >-\n    echo $STATEFORK_OPERATION \
         $STATEFORK_BRANCH $STATEFORK_SNAPSHOT $STATEFORK_ENVIRONMENT >> /tmp/hook\n"
    ));
    let app = App::of(&world.json(&["up"]));
    let ran = |branch| {
        let lines = world.ok(&["-b", branch, "exec", "--", "cat", "/tmp/hook"]);
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = world.run(&["exec", "--", "cat", "/tmp/hook"]);
    assert_ne!(first.code, 0, "the first up ran it");
    app.write_file("note", "one");
    let snapshot = text(&world.json(&["snapshot"])["id"]);
    let line =
        |operation: &str, branch: &str| format!("{operation} {branch} {snapshot} {}", world.name);
    let restored = world.json(&["restore", "HEAD"]);
    assert_eq!(ran("main"), [line("restore", "main")]);
    assert!(restored["phases"]["hook"].is_number(), "{restored}");
    world.json(&["fork", "HEAD", "-n", "2", "--name", "f"]);
    for fork in ["f-1", "f-2"] {
        assert_eq!(ran(fork), [line("fork", fork)]);
    }
    let tried = world.run(&["try", "--", "sh", "-c", "exit 7"]);
    assert_eq!(tried.code, 7, "{}", tried.stderr);
    let lines = ran("main");
    assert!(lines[1].starts_with("try main "), "{lines:?}");
}

pub(crate) fn a_hook_that_fails_undoes_the_restore(world: World) {
    let configure = |hook: &str| {
        world.configure(&format!("image: {APP}\nports: ['8000']\nhooks: {hook}\n"));
        world.json(&["up"])
    };
    let app = App::of(&configure("{after_restore: 'true'}"));
    let snapshot = world.snapshot();
    for (hook, why, output) in [
        (
            "{after_restore: 'echo no seed; exit 5'}",
            "it exited with code 5",
            Some("no seed"),
        ),
        (
            "{after_restore: [/nothing]}",
            "there is no such program",
            None,
        ),
        (
            "{after_restore: 'echo waiting; sleep 600', timeout: 700ms}",
            "it did not end within 0.7 s",
            Some("waiting"),
        ),
    ] {
        assert_eq!(configure(hook)["already_up"], true);
        app.set_key("planet", "mars");
        let instance = app.instance();
        let failed = world.run(&["--json", "restore", &snapshot]);
        assert_eq!(failed.code, 1, "{}", failed.stderr);
        let error: Value = serde_json::from_str(&failed.stdout).unwrap();
        assert_eq!(error["error"]["kind"], "hook_failed", "{error}");
        assert!(error.to_string().contains(why), "{error}");
        let last = error["error"]["output"][0].as_str();
        assert_eq!(last, output, "{error}");
        assert_eq!(app.instance(), instance, "it is another process");
        assert_eq!(app.key("planet").as_deref(), Some("mars"));
        let fork = world.run(&["fork", "HEAD", "--name", "broken"]);
        assert_eq!(fork.code, 1, "{}", fork.stderr);
        let branches = world.json(&["branch"]);
        assert_eq!(branches["branches"].as_array().unwrap().len(), 1);
        assert_eq!(files_of_containers(&world), 1);
    }
    configure("{after_restore: 'true'}");
    world.json(&["restore", &snapshot]);
}

pub(crate) fn what_was_prepared_runs_the_hook_when_it_is_used(world: World) {
    world.configure(&format!(
        "image: {BUSYBOX}\ncommand: sleep 600\nstandby: head\nmachine_id: new\nhooks: {{after_restore: \
         'echo $STATEFORK_SNAPSHOT >> /tmp/hook'}}\n"
    ));
    world.json(&["up"]);
    let inside = |path: &str| world.ok(&["exec", "--", "cat", path]);
    let mut ids = vec![inside("/etc/machine-id")];
    let snapshot = world.snapshot();
    for round in 0..2 {
        wait_for(PREPARED, || {
            let branches = world.json(&["branch", "list"]);
            branches["branches"][0]["standby"] == serde_json::json!([snapshot])
        });
        let restored = world.json(&["restore", &snapshot]);
        assert_eq!(restored["warm"], true, "round {round}: {restored}");
        assert!(restored["phases"]["hook"].is_number(), "{restored}");
        assert_eq!(inside("/tmp/hook"), format!("{snapshot}\n"));
        says(&world, "main", &snapshot);
        let id = inside("/etc/machine-id");
        assert!(!ids.contains(&id), "{id} is used again");
        ids.push(id);
    }
}
