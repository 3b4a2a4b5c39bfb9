//! The graph without a daemon: made by the orchestrator on the runtime in memory, then said to be
//! docker's.

use std::sync::Arc;
use std::time::Duration;

use statefork_conformance::FakeRuntime;
use statefork_core::config::{Hooks, MachineId};
use statefork_core::environment::{
    Cancel, ImageRequest, Observer, Options, Requested, SnapshotRequest, UpRequest,
};
use statefork_core::{Environment, Home};
use statefork_runtime::{ContainerSpec, ImageConfig};

use crate::world::{World, json};

struct Quiet;

impl Observer for Quiet {
    fn progress(&self, _: &str) {}
    fn build_output(&self, _: &str) {}
    fn notice(&self, _: &str) {}
}

/// The base, two snapshots on `main`, and the branch `trial` at the first of them; the ids.
fn graph(world: &World) -> Vec<String> {
    let runtime = FakeRuntime::new();
    let config = ImageConfig {
        command: vec!["serve".to_owned()],
        ..ImageConfig::default()
    };
    runtime.add_image("localhost/app:1", config, &[]);
    let options = Options {
        programs: None,
        standby_memory: None,
        freeze_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(10),
        stop_timeout: Duration::ZERO,
        builders: Vec::new(),
        cancel: Cancel::new(),
        observer: Arc::new(Quiet),
    };
    let home = Arc::new(Home::open(&world.path("home")).unwrap());
    let environment = Environment::new(home, Arc::new(runtime), "default", None, options).unwrap();
    let up = UpRequest {
        application: Some(Requested {
            image: Some(ImageRequest::Name("localhost/app:1".to_owned())),
            spec: ContainerSpec::default(),
            ports: Vec::new(),
            readiness: None,
            hooks: Hooks::default(),
            machine_id: MachineId::Image,
        }),
        recreate: false,
        standby: None,
    };
    let snapshot = |message: &str, tag: Option<&str>| SnapshotRequest {
        message: Some(message.to_owned()),
        tag: tag.map(str::to_owned),
        labels: [("step".to_owned(), message.to_owned())].into(),
        pause: true,
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            environment.up(&up).await?;
            environment.snapshot(&snapshot("one", None)).await?;
            environment.snapshot(&snapshot("two", Some("v2"))).await
        })
        .unwrap();
    let nodes = environment.list().unwrap();
    drop(environment);
    let store = rusqlite::Connection::open(world.path("home/store.sqlite")).unwrap();
    store
        .execute_batch(
            "UPDATE environments SET runtime = 'docker';
             UPDATE branches SET container = NULL;
             INSERT INTO branches (environment, name, head, ports, created_at)
             SELECT environment, 'trial', 2, '[]', created_at FROM branches;",
        )
        .unwrap();
    nodes.iter().map(|node| node.id.to_string()).collect()
}

fn id(world: &World, args: &[&str]) -> String {
    let ended = world.run(&[&["--json"], args].concat());
    assert_eq!(ended.code, 0, "{args:?}: {}", ended.stderr);
    json(&ended.stdout)["id"].as_str().unwrap().to_owned()
}

#[test]
fn branches_and_tags_are_drawn_on_the_graph() {
    let world = World::new();
    let ids = graph(&world);
    let tree = world.run(&["tree"]);
    let expected = format!(
        "* {} (base)\n* {} (trial*) one\n* {} (v2, main*) two\n",
        ids[0], ids[1], ids[2]
    );
    assert_eq!(tree.stdout, expected);
    let document = json(&world.run(&["--json", "tree"]).stdout);
    assert_eq!(document["snapshots"][0]["children"][0], ids[1].as_str());
    let branches = json(&world.run(&["--json", "branch"]).stdout);
    assert_eq!(branches["current"], "main");
    assert_eq!(branches["branches"][1]["name"], "trial");
    assert_eq!(branches["branches"][1]["head"], ids[1].as_str());
    assert_eq!(branches["branches"][1]["state"], "down");
}

#[test]
fn revisions_name_what_they_say() {
    let world = World::new();
    let ids = graph(&world);
    for (revision, place) in [
        ("HEAD", 2),
        ("@^", 1),
        ("v2~2", 0),
        ("trial", 1),
        ("main", 2),
        ("base", 0),
        ("@{1}", 1),
        ("-", 1),
    ] {
        assert_eq!(id(&world, &["show", revision]), ids[place], "{revision}");
    }
    // A branch that is asked for is what HEAD means.
    assert_eq!(id(&world, &["-b", "trial", "show", "HEAD"]), ids[1]);
    let error = world.fails(3, &["-b", "trail", "show", "HEAD"]);
    assert!(error.contains("trail"), "{error}");
    let error = world.fails(2, &["show", "v2@{1}"]);
    assert!(error.contains("only a branch"), "{error}");
}

#[test]
fn an_ambiguous_prefix_lists_what_it_fits() {
    let world = World::new();
    graph(&world);
    let store = rusqlite::Connection::open(world.path("home/store.sqlite")).unwrap();
    store
        .execute_batch(
            "UPDATE snapshots SET id = 'abcd00000001' WHERE position = 2;
             UPDATE snapshots SET id = 'abcd00000002' WHERE position = 3;",
        )
        .unwrap();
    let error = world.fails(2, &["show", "abcd"]);
    for said in ["abcd00000001", "abcd00000002", "hint: give more digits"] {
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(id(&world, &["show", "abcd00000001"]), "abcd00000001");
}

#[test]
fn tags_are_given_moved_and_removed() {
    let world = World::new();
    let ids = graph(&world);
    assert_eq!(id(&world, &["tag", "good", "HEAD^"]), ids[1]);
    assert_eq!(id(&world, &["show", "good"]), ids[1]);
    for taken in ["good", "v2", "trial", "main"] {
        let error = world.fails(6, &["tag", taken]);
        assert!(error.contains("has it"), "{error}");
    }
    assert_eq!(id(&world, &["tag", "-f", "good"]), ids[2]);
    world.fails(6, &["tag", "-f", "trial"]);
    for invalid in ["base", "HEAD", "beef", "a/b"] {
        world.fails(2, &["tag", invalid]);
    }
    let tags = json(&world.run(&["--json", "tag"]).stdout);
    let names: Vec<_> = tags["tags"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 3);
    assert_eq!(names[1]["name"], "good");
    assert_eq!(world.run(&["tag", "-d", "good"]).code, 0);
    let error = world.fails(3, &["tag", "-d", "v1"]);
    assert!(error.contains("did you mean v2?"), "{error}");
}

#[test]
fn branches_are_chosen_and_renamed() {
    let world = World::new();
    graph(&world);
    assert_eq!(world.run(&["switch", "trial"]).code, 0);
    let current = || json(&world.run(&["--json", "branch"]).stdout)["current"].clone();
    assert_eq!(current(), "trial");
    assert_eq!(world.run(&["branch", "rename", "trial", "winner"]).code, 0);
    assert_eq!(current(), "winner");
    world.fails(6, &["branch", "rename", "winner", "v2"]);
    world.fails(6, &["branch", "rename", "main", "other"]);
    let error = world.fails(6, &["branch", "rm", "main"]);
    assert!(error.contains("down --purge"), "{error}");
    world.fails(3, &["branch", "rm", "t*"]);
    let removed = json(&world.run(&["--json", "branch", "rm", "w*"]).stdout);
    assert_eq!(removed["removed"][0], "winner");
    assert_eq!(current(), "main");
    world.fails(3, &["switch", "winner"]);
}

#[test]
fn a_shell_has_a_branch_of_its_own() {
    let world = World::new();
    let ids = graph(&world);
    // Bringing it up fails for want of a daemon, which is told and does not matter here.
    let script = "switch trial\nshow HEAD\nbranch rename trial winner\nshow HEAD\n\
                  branch rm winner\nshow HEAD\n";
    let ended = world.pipe(&["--json", "shell"], script);
    let documents: Vec<_> = ended.stdout.lines().map(json).collect();
    assert_eq!(documents.len(), 6, "{}", ended.stdout);
    assert_eq!(documents[0]["current"], "trial", "{}", ended.stdout);
    assert_eq!(documents[1]["id"], ids[1].as_str());
    assert_eq!(documents[3]["id"], ids[1].as_str());
    assert_eq!(documents[5]["id"], ids[2].as_str());
    // Asked for another branch than the current one, it keeps to that.
    let ended = world.pipe(
        &["--json", "-b", "main", "shell"],
        "switch main\nshow HEAD\n",
    );
    let last = ended.stdout.lines().last().map(json).unwrap();
    assert_eq!(last["id"], ids[2].as_str());
}

#[test]
fn lists_are_filtered() {
    let world = World::new();
    let ids = graph(&world);
    let filtered = |filter: &str| -> Vec<String> {
        let ended = world.run(&["--json", "list", "--filter", filter]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let document = json(&ended.stdout);
        let rows = document["snapshots"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(filtered("label=step"), ids[1..]);
    assert_eq!(filtered("label=step=two"), ids[2..]);
    assert_eq!(filtered("branch=trial"), ids[..2]);
    assert_eq!(filtered("since=1h"), ids);
    assert_eq!(filtered("before=2020-01-01"), [""; 0]);
    let error = world.fails(3, &["list", "--filter", "branch=absent"]);
    assert!(error.contains("statefork branch"), "{error}");
    let node = json(&world.run(&["--json", "show", "HEAD"]).stdout);
    assert_eq!(node["labels"]["step"], "two");
}
