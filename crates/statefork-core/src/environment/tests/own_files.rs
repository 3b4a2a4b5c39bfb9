//! What a container is told of itself, and what is run in it when it comes from a snapshot.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;
use statefork_conformance::{Fault, Method};
use statefork_runtime::RuntimeError;

use super::recovery::Bed;
use super::*;
use crate::config::{Candidates, Standby};
use crate::error::HookFailure;

const FILE: &str = "/run/statefork.json";

/// The identity that a container sees.
fn identity(world: &World, container: &ContainerId) -> Value {
    let text = world.file(container, FILE).expect("it has the file");
    serde_json::from_str(&text).unwrap()
}

/// How many containers' files the home keeps.
fn kept(world: &World) -> usize {
    let folder = world.environment.home.path().join("identity");
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

fn with_hook(words: &[&str]) -> Requested {
    Requested {
        hooks: Hooks {
            after_restore: Some(words.iter().map(|&word| word.to_owned()).collect()),
            timeout: Duration::from_millis(200),
        },
        ..app()
    }
}

#[tokio::test]
async fn each_container_says_what_it_was_launched_from() {
    let world = World::new();
    let first = world.up(app()).await;
    let base = world.environment.show("base").unwrap();
    let expected = serde_json::json!({
        "schema": 1,
        "environment": "shop",
        "branch": "main",
        "snapshot": base.id.as_str(),
        "runtime": "fake",
    });
    assert_eq!(identity(&world, &first), expected);
    let step = world.environment.step(&SnapshotRequest::default()).await;
    let step = step.unwrap().snapshot;
    let second = world.live().await;
    assert_eq!(identity(&world, &second)["snapshot"], step.id.as_str());
    assert_eq!(kept(&world), 1, "those of the first are left");
    // Nobody asked for that mount, so nobody hears of it.
    assert!(step.not_held.is_empty());
    assert!(step.spec.mounts.is_empty());
    let status = world.environment.status().await.unwrap().unwrap();
    let LiveState::Present { changes, .. } = status.live else {
        panic!("{:?}", status.live);
    };
    let paths: Vec<_> = changes.iter().map(|change| &change.path).collect();
    assert!(!paths.contains(&&PathBuf::from(FILE)), "{paths:?}");
    let again = UpRequest {
        application: Some(app()),
        recreate: false,
        standby: None,
    };
    assert_eq!(world.environment.up(&again).await.unwrap().timing, None);
    let purge = DownRequest {
        save: false,
        purge: true,
    };
    world.environment.down(purge).await.unwrap();
    assert_eq!(kept(&world), 0);
}

#[tokio::test]
async fn it_cannot_be_written_and_hides_what_the_image_has_there() {
    let world = World::new();
    let container = world.up(app()).await;
    assert_ne!(world.run(&["write", FILE, "mine"]).await, 0);
    assert_eq!(identity(&world, &container)["branch"], "main");
}

#[tokio::test]
async fn a_failed_launch_leaves_no_file() {
    let world = World::new();
    world.up(app()).await;
    let crashing = Requested {
        spec: ContainerSpec {
            command: Some(["crash", "no"].map(str::to_owned).into()),
            ..ContainerSpec::default()
        },
        ..app()
    };
    let request = UpRequest {
        application: Some(crashing),
        recreate: true,
        standby: None,
    };
    world.environment.up(&request).await.unwrap_err();
    assert_eq!(kept(&world), 1);
}

#[tokio::test]
async fn a_branch_that_is_renamed_is_so_in_its_containers() {
    let world = World::new();
    let container = world.up(app()).await;
    let environment = &world.environment;
    let folder = std::fs::read_dir(environment.home.path().join("identity"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let file = folder.path().join("statefork.json");
    let number = file.metadata().unwrap().ino();
    environment
        .rename_in_identities("main", "an-other-and-much-longer-name")
        .unwrap();
    let branch = identity(&world, &container)["branch"].clone();
    assert_eq!(branch, "an-other-and-much-longer-name");
    environment.rename_in_identities("main", "no").unwrap();
    assert_eq!(identity(&world, &container)["branch"], branch);
    // It starts anew with the name that the store has.
    assert!(world.fake.end(&container, 0));
    environment.start().await.unwrap();
    assert_eq!(identity(&world, &container)["branch"], "main");
    assert_eq!(file.metadata().unwrap().ino(), number);
}

#[tokio::test]
async fn what_somebody_removed_is_there_again_at_the_next_start() {
    let world = World::new();
    let requested = Requested {
        machine_id: MachineId::New,
        ..app()
    };
    let container = world.up(requested).await;
    let before = identity(&world, &container);
    std::fs::remove_dir_all(world.environment.home.path().join("identity")).unwrap();
    assert!(world.fake.end(&container, 0));
    world.environment.start().await.unwrap();
    assert_eq!(identity(&world, &container), before);
    assert!(world.file(&container, "/etc/machine-id").is_some());
}

#[tokio::test]
async fn a_runtime_elsewhere_does_without_and_that_is_told_once() {
    let bed = Bed::new();
    let not_there = || {
        Fault::Before(RuntimeError::Invalid {
            what: "a mount".to_owned(),
            reason: "there is no such file".to_owned(),
        })
    };
    bed.faulty.plan(Method::Launch, not_there());
    bed.up().await;
    let file = || {
        let container = bed.fake.containers().remove(0).id;
        bed.fake.file(&container, FILE)
    };
    assert_eq!(file(), None);
    let told = bed.told.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(FILE), "{told:?}");
    bed.faulty.plan(Method::Launch, not_there());
    let request = RestoreRequest::to("base");
    bed.environment.restore(&request).await.unwrap();
    assert_eq!(file(), None);
    assert_eq!(bed.told.0.lock().unwrap().len(), 1);
    // Of a setting that is wrong everywhere the error is told as it is.
    for _ in 0..2 {
        bed.faulty.plan(Method::Launch, not_there());
    }
    bed.environment.restore(&request).await.unwrap_err();
    // A machine id that was asked for is not done without.
    let requested = UpRequest {
        application: Some(Requested {
            machine_id: MachineId::New,
            ..app()
        }),
        standby: None,
        recreate: false,
    };
    bed.environment.up(&requested).await.unwrap();
    bed.faulty.plan(Method::Launch, not_there());
    bed.environment.restore(&request).await.unwrap_err();
    bed.environment.restore(&request).await.unwrap();
    assert!(file().is_some());
    bed.purge().await;
    bed.check_empty("the end");
}

#[tokio::test]
async fn where_a_shared_mount_has_the_place_there_is_none_and_that_is_told() {
    let world = World::new();
    let shared = tempfile::tempdir().unwrap();
    let mounted = Requested {
        spec: ContainerSpec {
            mounts: vec![Mount {
                source: MountSource::Bind(shared.path().to_owned()),
                target: "/run".into(),
                read_only: true,
            }],
            ..ContainerSpec::default()
        },
        ..app()
    };
    let container = world.up(mounted).await;
    assert_eq!(world.file(&container, FILE), None);
    assert!(!shared.path().join("statefork.json").exists());
    let told = world.told.0.lock().unwrap().clone();
    assert!(told.iter().any(|text| text.contains(FILE)), "{told:?}");
}

#[tokio::test]
async fn a_machine_id_of_its_own_is_another_in_each_container() {
    let world = World::new();
    let requested = Requested {
        machine_id: MachineId::New,
        ..app()
    };
    let first = world.up(requested).await;
    let id = |container| world.file(container, "/etc/machine-id").unwrap();
    let of_first = id(&first);
    assert_eq!(of_first.len(), 33, "{of_first:?}");
    let digits = of_first.trim_end();
    assert!(digits.chars().all(|c| c.is_ascii_hexdigit()), "{digits}");
    let request = RestoreRequest::to("HEAD");
    world.environment.restore(&request).await.unwrap();
    let second = world.live().await;
    assert_ne!(of_first, id(&second));
    // As long as nobody asks, it is the image's.
    let plain = UpRequest {
        application: Some(app()),
        recreate: false,
        standby: None,
    };
    world.environment.up(&plain).await.unwrap();
    world.environment.restore(&request).await.unwrap();
    let third = world.live().await;
    assert_eq!(world.file(&third, "/etc/machine-id"), None);
}

#[tokio::test]
async fn the_hook_runs_in_what_comes_from_a_snapshot() {
    let world = World::new();
    let hook = [
        "printenv",
        "STATEFORK_OPERATION",
        ";",
        "write",
        "/hook",
        "ran",
    ];
    let first = world.up(with_hook(&hook)).await;
    assert_eq!(world.file(&first, "/hook"), None, "at the first up");
    let request = RestoreRequest::to("base");
    let report = world.environment.restore(&request).await.unwrap();
    let ran = |container| world.file(container, "/hook");
    assert_eq!(ran(&report.container).as_deref(), Some("ran"));
    let phases: Vec<_> = report.timing.phases.iter().map(|phase| phase.0).collect();
    assert!(phases.contains(&Phase::Hook), "{phases:?}");
    // Settings of an environment that is up are taken over without a new container.
    let request = UpRequest {
        application: Some(with_hook(&["write", "/other", "ran"])),
        recreate: false,
        standby: None,
    };
    assert_eq!(world.environment.up(&request).await.unwrap().timing, None);
    let step = SnapshotRequest::default();
    world.environment.step(&step).await.unwrap();
    let other = world.file(&world.live().await, "/other");
    assert_eq!(other.as_deref(), Some("ran"));
}

#[tokio::test]
async fn a_hook_that_fails_undoes_the_restore() {
    let world = World::new();
    let old = world.up(app()).await;
    world.run(&["write", "/file", "kept"]).await;
    for (hook, expected) in [
        (&["crash", "no seed"][..], HookFailure::Exited { code: 1 }),
        (&["nothing-of-that-name"], HookFailure::NotFound),
        (
            &["sleep", "60"],
            HookFailure::TimedOut {
                after: Duration::from_millis(200),
            },
        ),
    ] {
        let request = UpRequest {
            application: Some(with_hook(hook)),
            recreate: false,
            standby: None,
        };
        world.environment.up(&request).await.unwrap();
        let request = RestoreRequest::to("base");
        let error = world.environment.restore(&request).await.unwrap_err();
        let CoreError::HookFailed { failure, tail, .. } = error.root() else {
            panic!("{error}");
        };
        assert_eq!(failure, &expected);
        if hook[0] == "crash" {
            assert_eq!(tail, &["no seed"]);
        }
        assert_eq!(world.live().await, old);
        assert_eq!(world.file(&old, "/file").as_deref(), Some("kept"));
        assert_eq!(world.fake.containers().len(), 1);
        assert_eq!(kept(&world), 1);
    }
}

#[tokio::test]
async fn the_hook_knows_where_it_runs() {
    let world = World::new();
    world.up(app()).await;
    for (name, expected) in [
        ("STATEFORK_ENVIRONMENT", "shop"),
        ("STATEFORK_BRANCH", "main"),
        ("STATEFORK_OPERATION", "restore"),
    ] {
        let hook = ["printenv", name, ";", "exit", "7"];
        let request = UpRequest {
            application: Some(with_hook(&hook)),
            recreate: false,
            standby: None,
        };
        world.environment.up(&request).await.unwrap();
        let request = RestoreRequest::to("base");
        let error = world.environment.restore(&request).await.unwrap_err();
        let CoreError::HookFailed { failure, tail, .. } = error.root() else {
            panic!("{error}");
        };
        assert_eq!(failure, &HookFailure::Exited { code: 7 });
        assert_eq!(tail, &[expected]);
    }
}

/// One prepared container from the head, with a hook.
async fn prepared(hook: &[&str]) -> Bed {
    let bed = Bed::new();
    let request = UpRequest {
        application: Some(with_hook(hook)),
        standby: Some(Standby {
            which: Candidates::Head,
            count: None,
        }),
        recreate: false,
    };
    bed.environment.up(&request).await.unwrap();
    bed.snapshot("one").await;
    bed.environment.tend().await.unwrap();
    bed
}

#[tokio::test]
async fn a_prepared_container_knows_what_it_is_and_runs_the_hook_when_it_is_used() {
    let bed = prepared(&["write", "/hook", "ran"]).await;
    let frozen = bed.only_prepared();
    assert_eq!(bed.fake.file(&frozen, "/hook"), None, "it ran too early");
    // As one that a worker launched while the branch was being renamed.
    let head = bed.environment.show("HEAD").unwrap().id.clone();
    bed.environment.rename_in_identities("main", "x").unwrap();
    let report = bed
        .environment
        .restore(&RestoreRequest::to("HEAD"))
        .await
        .unwrap();
    assert_eq!(
        (report.timing.warm, &report.container),
        (Some(true), &frozen)
    );
    assert_eq!(
        bed.fake.file(&frozen, "/hook").as_deref(),
        Some(&b"ran"[..])
    );
    let text = bed.fake.file(&frozen, FILE).unwrap();
    let identity: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(identity["branch"], "main");
    assert_eq!(identity["snapshot"], head.as_str());
    bed.purge().await;
    bed.check_empty("the end");
}

#[tokio::test]
async fn a_hook_that_fails_in_a_prepared_container_and_in_a_new_one_undoes_the_restore() {
    let bed = prepared(&["crash", "no seed"]).await;
    bed.write("two").await;
    let live = bed.environment.live().await.unwrap().live.id;
    let request = RestoreRequest::to("HEAD");
    let error = bed.environment.restore(&request).await.unwrap_err();
    let failed = matches!(error.root(), CoreError::HookFailed { .. });
    assert!(failed, "{error}");
    let containers = bed.fake.containers();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].id, live);
    assert_eq!(containers[0].state, ContainerState::Running);
    let file = bed.fake.file(&live, "/file");
    assert_eq!(file.as_deref(), Some(&b"two"[..]));
    bed.purge().await;
    bed.check_empty("the end");
}

#[tokio::test]
async fn what_was_prepared_with_the_image_s_machine_id_goes_when_others_are_asked_for() {
    let bed = prepared(&["true"]).await;
    let live = bed.environment.live().await.unwrap().live.id;
    assert!(bed.fake.end(&live, 0));
    let request = UpRequest {
        application: Some(Requested {
            machine_id: MachineId::New,
            ..with_hook(&["true"])
        }),
        standby: None,
        recreate: false,
    };
    bed.environment.up(&request).await.unwrap();
    let request = RestoreRequest::to("HEAD");
    let report = bed.environment.restore(&request).await.unwrap();
    let id = bed.fake.file(&report.container, "/etc/machine-id");
    assert!(id.is_some());
    bed.purge().await;
    bed.check_empty("the end");
}

#[test]
fn the_paths_are_those_of_the_documentation() {
    let documented = include_str!("../../../../../docs/formats.md");
    assert!(documented.contains(FILE) && Path::new(FILE).is_absolute());
}
