//! The interactive shell, driven from a pipe.

use serde_json::Value;

use crate::world::{BUSYBOX, World, text};

const CLASSIC: &str = "snapshot\nlist\nstep\nlist\nrestore base\nstats\nexit\n";

fn configure(world: &World) {
    world.configure(&format!("image: {BUSYBOX}\ncommand: sleep 600\n"));
}

pub(crate) fn the_classic_session_from_a_pipe(world: World) {
    configure(&world);
    let ended = world.pipe(&["shell"], CLASSIC);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let list = world.json(&["list"]);
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 3);
    for snapshot in list["snapshots"].as_array().unwrap() {
        assert!(
            ended.stdout.contains(&text(&snapshot["id"])),
            "{}",
            ended.stdout
        );
    }
    assert!(ended.stdout.contains("restore"), "{}", ended.stdout);
    assert_eq!(world.json(&["status"])["state"], "running");
}

pub(crate) fn one_document_a_line(world: World) {
    configure(&world);
    let ended = world.pipe(&["--json", "shell"], CLASSIC);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let documents: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let with = |key: &str| {
        let found = documents
            .iter()
            .filter(|document| document.get(key).is_some());
        found.count()
    };
    assert_eq!(with("snapshots"), 2, "{}", ended.stdout);
    assert_eq!(with("stats"), 1, "{}", ended.stdout);
    assert!(documents.iter().all(|document| document["schema"].is_u64()));
}

pub(crate) fn a_failed_line_is_not_the_end(world: World) {
    configure(&world);
    let ended = world.pipe(&["shell"], "restore nowhere\nsnapshot\nnonsense\nexit\n");
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        2
    );
    let ended = world.pipe(&["shell", "--fail-fast"], "restore nowhere\nsnapshot\n");
    assert_ne!(ended.code, 0);
    assert_eq!(
        world.json(&["list"])["snapshots"].as_array().unwrap().len(),
        2
    );
}
