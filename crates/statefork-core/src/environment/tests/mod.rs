//! The operations on the runtime in memory: what a user would see, and what is left behind.

mod attach;
mod branches;
mod expiry;
mod flatten;
mod fork;
mod handover;
mod own_files;

mod recovery;
mod standby;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use statefork_conformance::FakeRuntime;
use statefork_runtime::{
    ContainerId, ContainerSpec, ContainerState, ExecRequest, ImageConfig, Mount, MountSource,
    Phase, Stream,
};

use super::{
    Cancel, DownRequest, Environment, ImageRequest, LiveState, Observer, Options, Requested,
    RestoreRequest, SnapshotRequest, UpRequest,
};
use crate::config::{Check, Hooks, MachineId, Readiness};
use crate::error::{CoreError, ErrorKind, NotReadyReason};
use crate::home::Home;
use crate::lock::LockMode;
use crate::model::{OperationKind, Outcome};

const IMAGE: &str = "localhost/app:1";

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn progress(&self, _: &str) {}
    fn build_output(&self, _: &str) {}
    fn notice(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

struct World {
    fake: FakeRuntime,
    environment: Environment,
    told: Arc<Told>,
    cancel: Cancel,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::on(FakeRuntime::new())
    }

    fn on(fake: FakeRuntime) -> Self {
        let config = ImageConfig {
            command: ["write", "/started", "yes", ";", "serve"]
                .map(str::to_owned)
                .into(),
            volumes: vec!["/data".into()],
            ..ImageConfig::default()
        };
        fake.add_image(IMAGE, config, &[("/file", "original")]);
        let folder = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let cancel = Cancel::new();
        let options = Options {
            programs: None,
            standby_memory: None,
            freeze_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_millis(50),
            stop_timeout: Duration::from_millis(50),
            builders: Vec::new(),
            cancel: cancel.clone(),
            observer: told.clone(),
        };
        let home = Arc::new(Home::open(&folder.path().join("home")).unwrap());
        let environment =
            Environment::new(home, Arc::new(fake.clone()), "shop", None, options).unwrap();
        Self {
            fake,
            environment,
            told,
            cancel,
            _folder: folder,
        }
    }

    /// Up with a check that passes while the file `/ready` says so or does not exist yet.
    async fn up(&self, requested: Requested) -> ContainerId {
        let request = UpRequest {
            application: Some(requested),
            recreate: false,
            standby: None,
        };
        self.environment.up(&request).await.unwrap().container
    }

    async fn run(&self, argv: &[&str]) -> i32 {
        run(&self.environment, argv).await
    }

    async fn live(&self) -> ContainerId {
        match self.environment.status().await.unwrap().unwrap().live {
            LiveState::Present { container, .. } => container.id,
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, container: &ContainerId, path: &str) -> Option<String> {
        let bytes = self.fake.file(container, path)?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn snapshot(&self) -> String {
        let report = self.environment.snapshot(&SnapshotRequest::default()).await;
        report.unwrap().snapshot.id.to_string()
    }
}

/// Runs a command in the environment's container to its end.
async fn run(environment: &Environment, argv: &[&str]) -> i32 {
    let request = ExecRequest {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        ..ExecRequest::default()
    };
    let mut exec = environment.exec(&request).await.unwrap();
    while let Some(output) = exec.output.next().await {
        output.unwrap();
    }
    exec.control.wait().await.unwrap().code()
}

fn app() -> Requested {
    Requested {
        image: Some(ImageRequest::Name(IMAGE.to_owned())),
        spec: ContainerSpec::default(),
        ports: Vec::new(),
        readiness: Some(Readiness::of(Check::None)),
        hooks: Hooks::default(),
        machine_id: MachineId::Image,
    }
}

/// The application is ready once the file `/ready` is there.
fn ready_by_file() -> Requested {
    Requested {
        readiness: Some(Readiness {
            check: Check::Exec {
                command: vec!["cat".to_owned(), "/ready".to_owned()],
            },
            timeout: Duration::from_millis(200),
            interval: Duration::from_millis(10),
        }),
        spec: ContainerSpec {
            command: Some(
                ["write", "/ready", "yes", ";", "serve"]
                    .map(str::to_owned)
                    .into(),
            ),
            ..ContainerSpec::default()
        },
        ..app()
    }
}

#[tokio::test]
async fn a_restore_brings_files_back_in_a_new_container() {
    let world = World::new();
    let first = world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    world.run(&["write", "/data/value", "kept"]).await;
    let one = world.snapshot().await;
    assert_eq!(world.live().await, first);
    world.run(&["write", "/file", "two"]).await;
    world.run(&["rm", "/data/value"]).await;
    let report = world
        .environment
        .restore(&RestoreRequest::to(&one))
        .await
        .unwrap();
    let second = world.live().await;
    assert_ne!(first, second);
    assert_eq!(report.container, second);
    assert_eq!(world.file(&second, "/file").as_deref(), Some("one"));
    assert_eq!(world.file(&second, "/data/value").as_deref(), Some("kept"));
    assert_eq!(world.fake.containers().len(), 1);
    world
        .environment
        .restore(&RestoreRequest::to("base"))
        .await
        .unwrap();
    let third = world.live().await;
    assert_eq!(world.file(&third, "/file").as_deref(), Some("original"));
    // What was restored from stays: `base` is the head, the snapshot is still there.
    let list = world.environment.list().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].branches, ["main"]);
    assert_eq!(list[1].id.as_str(), one);
}

#[tokio::test]
async fn a_step_goes_on_in_a_new_container_with_the_same_files() {
    let world = World::new();
    let first = world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    let request = SnapshotRequest {
        message: Some("it's \"done\"\n✓".to_owned()),
        ..SnapshotRequest::default()
    };
    let report = world.environment.step(&request).await.unwrap();
    let second = world.live().await;
    assert_ne!(first, second);
    assert_eq!(world.file(&second, "/file").as_deref(), Some("one"));
    let head = world.environment.show("HEAD").unwrap();
    assert_eq!(head.id, report.snapshot.id);
    assert_eq!(head.message.as_deref(), Some("it's \"done\"\n✓"));
    assert_eq!(world.fake.containers().len(), 1);
}

#[tokio::test]
async fn an_application_that_exits_at_once_is_no_environment() {
    let world = World::new();
    let crashing = Requested {
        spec: ContainerSpec {
            command: Some(["crash", "no database"].map(str::to_owned).into()),
            ..ContainerSpec::default()
        },
        ..app()
    };
    let request = UpRequest {
        application: Some(crashing),
        recreate: false,
        standby: None,
    };
    let error = world.environment.up(&request).await.unwrap_err();
    let CoreError::NotReady { reason, log, .. } = error.root() else {
        panic!("{error}");
    };
    assert_eq!(reason, &NotReadyReason::Exited { code: Some(1) });
    assert_eq!(log, &["no database"]);
    assert!(!world.environment.exists().unwrap());
    assert!(world.fake.containers().is_empty());
    assert_eq!(world.fake.images().len(), 1, "the prepared image is left");
}

#[tokio::test]
async fn a_container_that_ended_is_captured_and_started_again() {
    let world = World::new();
    let container = world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    assert!(world.fake.end(&container, 3));
    world.snapshot().await;
    let report = world.environment.up(&UpRequest::default()).await.unwrap();
    assert_eq!(report.container, container);
    assert_eq!(world.file(&container, "/file").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_container_removed_behind_our_back_is_told_and_replaced() {
    let world = World::new();
    let container = world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    world.snapshot().await;
    assert!(world.fake.lose_container(&container));
    let error = world
        .environment
        .snapshot(&SnapshotRequest::default())
        .await
        .unwrap_err();
    assert!(matches!(error.root(), CoreError::Lost { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let status = world.environment.status().await.unwrap().unwrap();
    assert_eq!(status.live, LiveState::Lost);
    let report = world.environment.up(&UpRequest::default()).await.unwrap();
    assert_eq!(
        world.file(&report.container, "/file").as_deref(),
        Some("one")
    );
}

#[tokio::test]
async fn other_settings_are_refused_unless_the_container_is_made_anew() {
    let world = World::new();
    let first = world.up(app()).await;
    world.run(&["write", "/file", "changed"]).await;
    let other = Requested {
        spec: ContainerSpec {
            hostname: Some("box".to_owned()),
            ..ContainerSpec::default()
        },
        ..app()
    };
    let mut request = UpRequest {
        application: Some(other),
        recreate: false,
        standby: None,
    };
    let error = world.environment.up(&request).await.unwrap_err();
    let CoreError::SettingsDiffer { differences, .. } = error.root() else {
        panic!("{error}");
    };
    assert_eq!(differences, &["hostname is unset, not box"]);
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(world.live().await, first);
    request.recreate = true;
    let second = world.environment.up(&request).await.unwrap().container;
    assert_ne!(first, second);
    assert_eq!(world.file(&second, "/file").as_deref(), Some("original"));
    assert_eq!(world.fake.containers().len(), 1);
}

#[tokio::test]
async fn a_chain_whose_former_snapshots_go_has_no_end_either() {
    let world = World::on(FakeRuntime::new().with_layer_limit(64));
    world.up(app()).await;
    // There are never more than four snapshots, however long the chain is.
    for number in 1..=120 {
        let content = number.to_string();
        assert_eq!(world.run(&["write", "/file", &content]).await, 0);
        let step = SnapshotRequest::default();
        world.environment.step(&step).await.unwrap();
        if number > 2 {
            world.environment.remove_snapshot("HEAD^").await.unwrap();
        }
    }
    let live = world.live().await;
    assert_eq!(world.file(&live, "/file").as_deref(), Some("120"));
}

#[tokio::test]
async fn a_chain_has_no_end() {
    let world = World::on(FakeRuntime::new().with_layer_limit(5));
    world.up(app()).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        world.run(&["write", "/file", &number.to_string()]).await;
        world
            .run(&["write", &format!("/file-{number}"), "kept"])
            .await;
        let report = world.environment.step(&SnapshotRequest::default()).await;
        ids.push(report.unwrap().snapshot.node.id);
    }
    assert!(world.fake.images().iter().all(|image| image.layers <= 5));
    for number in [0, 7, 19] {
        let request = RestoreRequest::to(ids[number].as_str());
        let report = world.environment.restore(&request).await.unwrap();
        let file = |path: &str| world.file(&report.container, path);
        assert_eq!(file("/file"), Some(number.to_string()));
        assert_eq!(file(&format!("/file-{number}")).as_deref(), Some("kept"));
        assert_eq!(file(&format!("/file-{}", number + 1)), None);
    }
}

#[tokio::test]
async fn down_keeps_the_snapshots_and_purge_leaves_nothing_of_ours() {
    let world = World::new();
    world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    let saved = world
        .environment
        .down(DownRequest {
            save: true,
            purge: false,
        })
        .await
        .unwrap()
        .saved
        .remove(0);
    assert!(world.fake.containers().is_empty());
    let container = world
        .environment
        .up(&UpRequest::default())
        .await
        .unwrap()
        .container;
    assert_eq!(world.file(&container, "/file").as_deref(), Some("one"));
    assert_eq!(world.environment.show("HEAD").unwrap().id, saved);
    let purged = world
        .environment
        .down(DownRequest {
            save: false,
            purge: true,
        })
        .await
        .unwrap();
    assert_eq!((purged.containers, purged.snapshots), (1, 2));
    assert!(world.fake.containers().is_empty());
    let images = world.fake.images();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].names, [IMAGE]);
    assert!(!world.environment.exists().unwrap());
    assert_eq!(world.environment.history().unwrap().len(), 5);
}

#[tokio::test]
async fn the_log_tells_each_operation_with_its_phases() {
    let world = World::new();
    let container = world.up(app()).await;
    world.snapshot().await;
    world
        .environment
        .restore(&RestoreRequest::to("HEAD"))
        .await
        .unwrap();
    assert!(
        world
            .environment
            .restore(&RestoreRequest::to("nothing"))
            .await
            .is_err()
    );
    let history = world.environment.history().unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|operation| (operation.kind, operation.outcome))
        .collect();
    // A name that nothing has ends before anything is intended.
    assert_eq!(
        told,
        [
            (OperationKind::Up, Outcome::Done),
            (OperationKind::Snapshot, Outcome::Done),
            (OperationKind::Restore, Outcome::Done),
        ]
    );
    let restore = &history[2];
    let phases: BTreeMap<_, _> = restore.phases.iter().copied().collect();
    for phase in [
        Phase::Stop,
        Phase::Create,
        Phase::Start,
        Phase::Ready,
        Phase::Remove,
    ] {
        assert!(
            phases.contains_key(&phase),
            "{phase} is missing: {phases:?}"
        );
    }
    let sum: Duration = phases.values().sum();
    let duration = restore.duration.unwrap();
    assert!(sum <= duration, "{sum:?} of {duration:?}");
    assert!(restore.usable.unwrap() <= duration);
    assert!(world.environment.unfinished().unwrap().is_empty());
    assert!(!world.fake.say(&container, Stream::Stdout, "gone"));
    let stats = world.environment.stats().unwrap();
    assert!(
        stats
            .iter()
            .any(|row| row.operation == OperationKind::Restore
                && row.phase == Some("usable")
                && row.count == 1)
    );
}

#[tokio::test]
async fn no_command_starts_in_what_is_frozen_and_nothing_is_frozen_under_one() {
    let world = World::new();
    world.up(ready_by_file()).await;
    let request = ExecRequest {
        argv: vec!["true".to_owned()],
        ..ExecRequest::default()
    };
    let frozen = world
        .environment
        .lock_processes("main", LockMode::Exclusive)
        .await
        .unwrap();
    let Err(error) = world.environment.exec(&request).await else {
        panic!("a command was started");
    };
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    drop(frozen);
    let starting = world
        .environment
        .lock_processes("main", LockMode::Shared)
        .await
        .unwrap();
    world.environment.exec(&request).await.unwrap();
    let snapshot = SnapshotRequest::default();
    let error = world.environment.snapshot(&snapshot).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    drop(starting);
    world.snapshot().await;
    assert_eq!(world.environment.list().unwrap().len(), 2);
}
