//! A process that dies at any call of any operation: the next operation on the branch finishes or
//! undoes what it left, says so, and nothing that was published is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use statefork_conformance::{FakeRuntime, FaultyRuntime};
use statefork_runtime::{
    ContainerState, ImageConfig, Mount, MountSource, ObjectType, RuntimeError,
};

use super::{IMAGE, Told, app, run};
use crate::config::{Check, Readiness};
use crate::environment::{
    Begun, Builder, Cancel, DownRequest, Environment, ForkRequest, Options, RestoreRequest,
    SnapshotReport, SnapshotRequest, UpRequest, new_object,
};
use crate::error::Result;
use crate::home::Home;
use crate::model::{OperationKind, Outcome};
use crate::operation::Recorder;
use crate::process::ProcessIdentity;

/// Longer than any operation on the fake takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// No operation makes as many calls.
const MOST_CALLS: usize = 40;

pub(super) struct Bed {
    pub(super) fake: FakeRuntime,
    pub(super) faulty: Arc<FaultyRuntime>,
    pub(super) environment: Environment,
    pub(super) told: Arc<Told>,
    _folder: tempfile::TempDir,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::on(FakeRuntime::new())
    }

    /// One that the operation has something to do on.
    fn of(operation: &str) -> Self {
        match operation {
            _ if OF_CHAINS.contains(&operation) => Self::on(FakeRuntime::new().with_layer_limit(8)),
            _ => Self::new(),
        }
    }

    pub(super) fn on(fake: FakeRuntime) -> Self {
        let config = ImageConfig {
            command: vec!["serve".to_owned()],
            volumes: vec!["/data".into()],
            ..ImageConfig::default()
        };
        fake.add_image(IMAGE, config, &[("/file", "original")]);
        let faulty = Arc::new(FaultyRuntime::new(Arc::new(fake.clone())));
        let folder = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let options = Options {
            programs: None,
            standby_memory: None,
            freeze_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            stop_timeout: Duration::ZERO,
            builders: Vec::new(),
            cancel: Cancel::new(),
            observer: told.clone(),
        };
        let home = Arc::new(Home::open(&folder.path().join("home")).unwrap());
        let environment = Environment::new(home, faulty.clone(), "shop", None, options).unwrap();
        Self {
            fake,
            faulty,
            environment,
            told,
            _folder: folder,
        }
    }

    /// Has the processes of all operations that did not end be dead ones.
    pub(super) fn bury(&self) {
        let dead = ProcessIdentity {
            started: 1,
            ..ProcessIdentity::current().unwrap()
        };
        self.environment
            .store()
            .pretend_process(&dead)
            .expect("the store can be written");
    }

    fn unfinished(&self) -> usize {
        self.environment.unfinished().unwrap().len()
    }

    /// What must hold once everything is recovered and the environment is up.
    pub(super) async fn check(&self) {
        let record = self.environment.record().unwrap();
        let branches = self.environment.store().branches(record.number).unwrap();
        let live = branches
            .iter()
            .filter_map(|branch| branch.container.as_ref())
            .map(|live| {
                (
                    live.id.clone(),
                    live.object.clone(),
                    ContainerState::Running,
                )
            });
        let standbys = self.environment.store().standbys(record.number).unwrap();
        let prepared = standbys.into_iter().map(|standby| {
            let live = standby.container.expect("it is ready");
            (live.id, live.object, ContainerState::Paused)
        });
        let known: Vec<_> = live.chain(prepared).collect();
        let objects = known.iter().map(|(_, object, _)| object.to_string());
        assert_eq!(self.told_of_themselves(), objects.collect());
        let known: BTreeMap<_, _> = known
            .into_iter()
            .map(|(id, _, state)| (id, state))
            .collect();
        let there: BTreeMap<_, _> = self
            .fake
            .containers()
            .into_iter()
            .map(|container| (container.id, container.state))
            .collect();
        assert_eq!(there, known);
        let live = branches.iter().filter(|branch| branch.container.is_some());
        assert_eq!(live.count(), branches.len(), "a branch without a container");
        let history = self.environment.history().unwrap();
        assert!(history.iter().all(|row| row.outcome != Outcome::Running));
        // Each published snapshot comes back with what it was taken of.
        for snapshot in self.environment.list().unwrap() {
            let request = RestoreRequest::to(snapshot.id.as_str());
            let report = self.environment.restore(&request).await.unwrap();
            let file = self.fake.file(&report.container, "/file").unwrap();
            let expected = snapshot.message.as_deref().unwrap_or("original");
            assert_eq!(file, expected, "snapshot {}", snapshot.id);
        }
    }

    /// The objects of the containers that the home keeps files for.
    fn told_of_themselves(&self) -> BTreeSet<String> {
        let folders = self.environment.home.identities().unwrap().into_iter();
        folders
            .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn write(&self, text: &str) {
        assert_eq!(run(&self.environment, &["write", "/file", text]).await, 0);
    }

    pub(super) async fn up(&self) {
        let request = UpRequest {
            application: Some(app()),
            recreate: false,
            standby: None,
        };
        self.environment.up(&request).await.unwrap();
    }

    pub(super) async fn purge(&self) {
        let purge = DownRequest {
            save: false,
            purge: true,
        };
        self.environment.down(purge).await.unwrap();
    }

    /// Steps with `text` in the file.
    pub(super) async fn step(&self, text: &str) -> SnapshotReport {
        self.write(text).await;
        let request = SnapshotRequest {
            message: Some(text.to_owned()),
            ..SnapshotRequest::default()
        };
        self.environment.step(&request).await.unwrap()
    }

    /// That of all that was made only the image is left.
    pub(super) fn check_empty(&self, place: &str) {
        assert!(self.fake.containers().is_empty(), "{place}");
        let images = self.fake.images().into_iter();
        let names: Vec<_> = images.flat_map(|image| image.names).collect();
        assert_eq!(names, [IMAGE], "{place}");
        assert!(self.told_of_themselves().is_empty(), "{place}");
    }

    pub(super) async fn snapshot(&self, text: &str) {
        self.write(text).await;
        let request = SnapshotRequest {
            message: Some(text.to_owned()),
            ..SnapshotRequest::default()
        };
        self.environment.snapshot(&request).await.unwrap();
    }
}

/// The operations, each on an environment that is up with two snapshots.
const OPERATIONS: [&str; 13] = [
    "snapshot",
    "step",
    "restore",
    "fork",
    "rm",
    "branch rm",
    "down",
    "purge",
    "stop",
    "mounted",
    "tend",
    "warm",
    "hooked",
];
/// Those that have to do with long chains; "rebase" is a step.
const OF_CHAINS: [&str; 2] = ["flatten", "rebase"];

async fn operate(bed: &Bed, operation: &str) {
    attempt(bed, operation)
        .await
        .unwrap_or_else(|error| panic!("{operation}: {error}"));
}

async fn attempt(bed: &Bed, operation: &str) -> Result<()> {
    let environment = &bed.environment;
    let message = SnapshotRequest {
        message: Some("three".to_owned()),
        ..SnapshotRequest::default()
    };
    match operation {
        "snapshot" => environment.snapshot(&message).await.map(drop),
        "tend" => environment.tend().await,
        "warm" => {
            let to = RestoreRequest::to("HEAD");
            environment.restore(&to).await.map(drop)
        }
        "flatten" => environment.flatten().await.map(drop),
        "step" | "rebase" => environment.step(&message).await.map(drop),
        "restore" | "mounted" | "hooked" => {
            let to = RestoreRequest::to("HEAD^");
            environment.restore(&to).await.map(drop)
        }
        "fork" => {
            let request = ForkRequest {
                revision: Some("HEAD".to_owned()),
                count: 3,
                ..ForkRequest::default()
            };
            let forks = environment.fork(&request).await?.forks;
            forks
                .into_iter()
                .try_for_each(|fork| fork.outcome.map(drop))
        }
        "rm" => environment.remove_snapshot("HEAD^").await.map(drop),
        "branch rm" => {
            let names = ["other".to_owned()];
            environment.remove_branches(&names).await.map(drop)
        }
        "stop" => environment.stop().await.map(drop),
        "down" => environment.down(DownRequest::default()).await.map(drop),
        "purge" => {
            let request = DownRequest {
                save: false,
                purge: true,
            };
            environment.down(request).await.map(drop)
        }
        other => panic!("there is no operation {other}"),
    }
}

// The clock does not wait for what hangs.
#[tokio::test(start_paused = true)]
async fn death_at_any_call_of_any_operation_is_recovered() {
    die(&OPERATIONS).await;
}

#[tokio::test(start_paused = true)]
async fn death_at_any_call_with_a_long_chain_is_recovered() {
    die(&OF_CHAINS).await;
}

async fn die(operations: &[&str]) {
    for &operation in operations {
        for done in [false, true] {
            let mut cut = 0;
            for calls in 0..MOST_CALLS {
                let bed = Bed::of(operation);
                let shared = tempfile::tempdir().unwrap();
                prepare(&bed, operation, shared.path()).await;
                bed.faulty.halt_after(calls, done);
                let whole = tokio::time::timeout(PATIENCE, operate(&bed, operation)).await;
                if !bed.faulty.resume() {
                    assert!(whole.is_ok(), "{operation} hangs by itself");
                    break;
                }
                if whole.is_ok() {
                    // The last call was done, and nothing had to follow.
                    continue;
                }
                cut += 1;
                bed.bury();
                recovered(&bed, operation, calls, done).await;
            }
            assert!(cut > 0, "{operation} was never cut off");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_goes_away_at_any_call_of_any_operation_is_recovered_from() {
    lose(&OPERATIONS).await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_goes_away_at_any_call_with_a_long_chain_is_recovered_from() {
    lose(&OF_CHAINS).await;
}

async fn lose(operations: &[&str]) {
    for &operation in operations {
        for done in [false, true] {
            for calls in 0..MOST_CALLS {
                let bed = Bed::of(operation);
                let shared = tempfile::tempdir().unwrap();
                prepare(&bed, operation, shared.path()).await;
                bed.faulty.lose_after(calls, done);
                let outcome = attempt(&bed, operation).await;
                if !bed.faulty.resume() {
                    outcome.unwrap();
                    break;
                }
                if outcome.is_ok() && bed.unfinished() == 0 {
                    // The last call was done, and nothing had to follow.
                    continue;
                }
                // The process lives on, as that of a shell does.
                recovered(&bed, operation, calls, done).await;
            }
        }
    }
}

async fn prepare(bed: &Bed, operation: &str, shared: &Path) {
    let mut requested = app();
    if operation == "mounted" {
        // Two containers with it cannot run at once, so the old one is stopped.
        requested.spec.mounts.push(Mount {
            source: MountSource::Bind(shared.to_owned()),
            target: "/mnt".into(),
            read_only: false,
        });
    }
    if operation == "hooked" {
        let words = ["write", "/hook", "ran"].map(str::to_owned);
        requested.hooks.after_restore = Some(words.into());
    }
    let request = UpRequest {
        application: Some(requested),
        recreate: false,
        standby: None,
    };
    bed.environment.up(&request).await.unwrap();
    if OF_CHAINS.contains(&operation) {
        for text in ["one", "two", "long"] {
            bed.step(text).await;
        }
    }
    if operation == "rebase" {
        assert!(bed.environment.flatten().await.unwrap().is_some());
    }
    if !OF_CHAINS.contains(&operation) {
        bed.snapshot("one").await;
        bed.snapshot("two").await;
    }
    bed.write("three").await;
    if operation == "warm" {
        bed.environment.tend().await.unwrap();
    }
    if operation == "branch rm" {
        let record = bed.environment.record().unwrap();
        bed.environment
            .store()
            .copy_branch(record.number, "main", "other")
            .unwrap();
        let other = Environment {
            branch: Some("other".to_owned()),
            ..bed.environment.clone()
        };
        other.up(&UpRequest::default()).await.unwrap();
    }
}

async fn recovered(bed: &Bed, operation: &str, calls: usize, done: bool) {
    let place = format!("{operation} cut off at call {calls}, done: {done}");
    let before = bed.unfinished();
    assert!(bed.environment.exists().unwrap(), "{place}");
    // Reading changes nothing and tells.
    bed.environment.list().unwrap();
    assert_eq!(bed.unfinished(), before, "{place}");
    let request = UpRequest {
        // As it was; what was purged begins anew.
        application: (operation == "purge").then(app),
        recreate: false,
        standby: None,
    };
    bed.environment.up(&request).await.unwrap();
    assert_eq!(bed.unfinished(), 0, "{place}");
    if before > 0 {
        let told = bed.told.0.lock().unwrap().join("\n");
        assert!(told.contains("cut off"), "{place}: {told}");
    }
    bed.check().await;
    bed.purge().await;
    bed.check_empty(&place);
}

#[tokio::test(start_paused = true)]
async fn a_first_up_that_dies_leaves_no_environment() {
    for done in [false, true] {
        for calls in 0..MOST_CALLS {
            let bed = Bed::new();
            bed.faulty.halt_after(calls, done);
            let mut requested = app();
            requested.readiness = Some(Readiness::of(Check::None));
            let request = UpRequest {
                application: Some(requested),
                recreate: false,
                standby: None,
            };
            let whole = tokio::time::timeout(PATIENCE, bed.environment.up(&request)).await;
            if !bed.faulty.resume() {
                assert!(whole.is_ok());
                break;
            }
            if whole.is_ok() {
                continue;
            }
            bed.bury();
            bed.environment.up(&request).await.unwrap();
            bed.check().await;
            assert_eq!(bed.fake.containers().len(), 1, "call {calls}, done: {done}");
            // The image, and the one with its volume given back.
            assert_eq!(bed.fake.images().len(), 2, "call {calls}, done: {done}");
        }
    }
}

#[tokio::test]
async fn a_builder_that_fails_is_told_of_and_hinders_nothing() {
    let mut bed = Bed::new();
    bed.environment.options.builders = vec![Builder {
        name: "other",
        open: Arc::new(|| {
            Err(RuntimeError::TimedOut {
                op: "get an answer",
                after: PATIENCE,
            })
        }),
    }];
    let build = new_object();
    let objects = [(ObjectType::Build, build.clone())];
    let environment = &bed.environment;
    let intent = environment.intent(OperationKind::Up, Begun::now(), Some("main"), &objects);
    drop(Recorder::begin(environment.store(), &intent).unwrap());
    let archive = environment.home.build_archive(&build).unwrap();
    std::fs::write(&archive, "half").unwrap();
    bed.bury();
    bed.up().await;
    bed.check().await;
    let name = bed.environment.build_name(&build);
    let said = bed.told.0.lock().unwrap().join("\n");
    assert!(said.contains("other") && said.contains(&name), "{said}");
    assert!(!archive.exists());
    // The builder may be at it still: it is looked for again.
    assert_eq!(
        bed.environment.left_builds().unwrap(),
        std::slice::from_ref(&build)
    );
    bed.purge().await;
    bed.check_empty("after the purge");
    assert_eq!(bed.environment.left_builds().unwrap(), [build]);
}
