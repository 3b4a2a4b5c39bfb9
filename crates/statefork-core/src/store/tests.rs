//! The store against a plain model of the graph and the log, and over re-opening.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use statefork_runtime::{
    Capabilities, Capture, ContainerId, ContainerSpec, ObjectId, ObjectType, Phase, Support,
};

use super::{Finished, NewOperation, NewSnapshot, Store, random_id};
use crate::config::{Check, Hooks, MachineId, Readiness, Standby};
use crate::error::CoreError;
use crate::model::{
    ImageSource, LiveContainer, MAIN, OperationKind, Outcome, Settings, SnapshotId, SnapshotKind,
};
use crate::process::ProcessIdentity;

const RUNTIME: &str = "fake";

fn settings() -> Settings {
    Settings {
        image: ImageSource::Name("app:1".to_owned()),
        spec: ContainerSpec::default(),
        ports: Vec::new(),
        readiness: Readiness::of(Check::None),
        standby: Standby::default(),
        hooks: Hooks::default(),
        machine_id: MachineId::Image,
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        filesystem: Support::Yes,
        pause: Support::Yes,
        limits: Support::Yes,
        build: Support::Yes,
        reachable: Support::Yes,
        publish: Support::Yes,
        programs: Support::Yes,
        init: Support::Yes,
        layer_limit: Some(125),
    }
}

fn node(parent: Option<&SnapshotId>, message: Option<&str>, size_bytes: u64) -> NewSnapshot {
    NewSnapshot {
        id: SnapshotId::random(),
        parent: parent.cloned(),
        kind: SnapshotKind::Filesystem,
        message: message.map(ToOwned::to_owned),
        created_at: Timestamp::from_microsecond(1_700_000_000_000_001).unwrap(),
        size_bytes,
        spec: ContainerSpec::default(),
        not_held: Vec::new(),
        capture: Capture {
            format: 1,
            data: serde_json::json!({ "image": "x" }),
        },
        labels: BTreeMap::from([("colour".to_owned(), "blue".to_owned())]),
        object: parent.map(|_| ObjectId::new(random_id())),
        stands_on: None,
    }
}

fn container(origin: &SnapshotId) -> LiveContainer {
    LiveContainer {
        id: ContainerId::new(random_id()),
        object: ObjectId::new(random_id()),
        origin: origin.clone(),
        spec: ContainerSpec::default(),
        since: Timestamp::from_microsecond(1_700_000_000_000_002).unwrap(),
        attached: false,
        capture: None,
    }
}

/// What is done to a branch; a number picks one of the snapshots that there are.
#[derive(Clone, Debug)]
enum Step {
    Publish(Option<String>, u32),
    Move(prop::sample::Index),
    Clear,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::option::of(any::<String>()), any::<u32>())
            .prop_map(|(message, size)| Step::Publish(message, size)),
        3 => any::<prop::sample::Index>().prop_map(Step::Move),
        1 => Just(Step::Clear),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_graph_is_that_of_a_plain_model(steps in prop::collection::vec(step(), 0..24)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let mut store = Store::open(&path).unwrap();
        let base = node(None, None, 7);
        let record = store
            .create_environment("shop", RUNTIME, &settings(), &capabilities(), &base)
            .unwrap();
        let number = store.branch(record.number, MAIN).unwrap().unwrap().number;
        // The model: every snapshot in order, the head's position, the container.
        let mut nodes = vec![base];
        let mut head = 0;
        let mut live: Option<LiveContainer> = None;
        for step in steps {
            match step {
                Step::Publish(message, size) => {
                    let next = node(Some(&nodes[head].id), message.as_deref(), size.into());
                    store.publish(record.number, number, &next, None).unwrap();
                    nodes.push(next);
                    head = nodes.len() - 1;
                }
                Step::Move(index) => {
                    head = index.index(nodes.len());
                    let next = container(&nodes[head].id);
                    store.move_branch(number, &nodes[head].id, &next).unwrap();
                    live = Some(next);
                }
                Step::Clear => {
                    store.set_container(number, None).unwrap();
                    live = None;
                }
                Step::Reopen => {
                    let home = store.home().clone();
                    drop(store);
                    store = Store::open(&path).unwrap();
                    prop_assert_eq!(store.home(), &home);
                }
            }
            let branch = store.branch(record.number, MAIN).unwrap().unwrap();
            prop_assert_eq!(&branch.head, &nodes[head].id);
            prop_assert_eq!(&branch.container, &live);
            let listed = store.snapshots(record.number).unwrap();
            prop_assert_eq!(listed.len(), nodes.len());
            for (position, (found, expected)) in listed.iter().zip(&nodes).enumerate() {
                prop_assert_eq!(&found.id, &expected.id);
                prop_assert_eq!(&found.parent, &expected.parent);
                prop_assert_eq!(&found.message, &expected.message);
                prop_assert_eq!(found.size_bytes, expected.size_bytes);
                prop_assert_eq!(found.created_at, expected.created_at);
                prop_assert_eq!(&found.capture, &expected.capture);
                let is_head = if position == head { vec![MAIN.to_owned()] } else { Vec::new() };
                prop_assert_eq!(&found.branches, &is_head);
                let is_parent = nodes.iter().any(|node| node.parent.as_ref() == Some(&found.id));
                let unique = if is_parent || position == 0 { 0 } else { expected.size_bytes };
                prop_assert_eq!(found.unique_bytes, unique);
                prop_assert_eq!(&store.snapshot(record.number, &found.id).unwrap(), found);
            }
        }
    }
}

fn begin(store: &Store, kind: OperationKind, objects: &[(ObjectType, ObjectId)]) -> i64 {
    let process = ProcessIdentity::current().unwrap();
    store
        .begin_operation(&NewOperation {
            kind,
            environment: "shop",
            runtime: RUNTIME,
            branch: Some(MAIN),
            target: None,
            snapshot_kind: None,
            process: &process,
            started_at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            objects,
        })
        .unwrap()
}

#[test]
fn an_operation_is_in_the_log_before_it_ends_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let objects = [(ObjectType::Container, ObjectId::new("0011"))];
    let seq = begin(&store, OperationKind::Restore, &objects);
    let row = &store.operations("shop", RUNTIME).unwrap()[0];
    assert_eq!((row.seq, row.outcome), (seq, Outcome::Running));
    assert_eq!(row.duration, None);
    assert_eq!(store.objects("shop", RUNTIME).unwrap(), objects);
    let phases = [
        (Phase::Create, Duration::from_micros(1500)),
        (Phase::Start, Duration::from_micros(2500)),
    ];
    store
        .finish_operation(
            seq,
            &Finished {
                outcome: Outcome::Failed,
                error: Some("start it: no \"such\" file\n…"),
                duration: Duration::from_micros(9001),
                usable: None,
                warm: None,
                phases: &phases,
            },
        )
        .unwrap();
    let row = &store.operations("shop", RUNTIME).unwrap()[0];
    assert_eq!(row.outcome, Outcome::Failed);
    assert_eq!(row.error.as_deref(), Some("start it: no \"such\" file\n…"));
    assert_eq!(row.duration, Some(Duration::from_micros(9001)));
    assert_eq!(row.phases, phases);
    assert_eq!(row.started_at.as_microsecond(), 1_700_000_000_123_456);
    store.forget_objects(&[&objects[0].1]).unwrap();
    assert!(store.objects("shop", RUNTIME).unwrap().is_empty());
}

#[test]
fn an_operation_of_a_process_that_runs_is_not_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let seq = begin(&store, OperationKind::Up, &[]);
    assert!(store.dead("shop", RUNTIME).unwrap().is_empty());
    let dead = ProcessIdentity {
        started: 1,
        ..ProcessIdentity::current().unwrap()
    };
    let process = serde_json::to_string(&dead).unwrap();
    store
        .lock()
        .execute("UPDATE operations SET process = ?1", [process])
        .unwrap();
    let found = store.dead("shop", RUNTIME).unwrap();
    assert_eq!((found[0].seq, found[0].kind), (seq, OperationKind::Up));
}

#[test]
fn a_forgotten_environment_leaves_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let base = node(None, None, 1);
    let record = store
        .create_environment("shop", RUNTIME, &settings(), &capabilities(), &base)
        .unwrap();
    let number = store.branch(record.number, MAIN).unwrap().unwrap().number;
    let child = node(Some(&base.id), None, 1);
    store
        .publish(record.number, number, &child, Some("v1"))
        .unwrap();
    begin(&store, OperationKind::Down, &[]);
    store.remove_environment(record.number).unwrap();
    assert_eq!(store.environment("shop", RUNTIME).unwrap(), None);
    assert!(store.snapshots(record.number).unwrap().is_empty());
    assert_eq!(store.operations("shop", RUNTIME).unwrap().len(), 1);
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = Store::open(&path).unwrap();
    store.lock().pragma_update(None, "user_version", 4).unwrap();
    drop(store);
    assert!(matches!(
        Store::open(&path).unwrap_err(),
        CoreError::Damaged { .. }
    ));
}

#[test]
fn a_store_of_the_first_version_is_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let former = rusqlite::Connection::open(&path).unwrap();
    former.execute_batch(include_str!("schema.sql")).unwrap();
    former
        .execute_batch(
            r#"INSERT INTO home VALUES ('0123456789abcdef');
            INSERT INTO environments VALUES (1, 'shop', 'fake', '{}', '{}', 0, 'main', 0);
            INSERT INTO snapshots VALUES
                (1, 1, 'aaaaaaaaaaaa', NULL, 'filesystem', NULL, 0, 0, '{}', '[]', '{}', '{}', NULL, NULL),
                (2, 1, 'bbbbbbbbbbbb', 1, 'filesystem', NULL, 0, 0, '{}', '[]', '{}', '{}', NULL, 'two'),
                (3, 1, 'cccccccccccc', 2, 'filesystem', NULL, 0, 0, '{}', '[]', '{}', '{}', NULL, 'three');
            INSERT INTO branches VALUES
                (1, 1, 'main', 3, '{"id":"c","origin":"bbbbbbbbbbbb"}', '[]', 0),
                (2, 1, 'other', 3, NULL, '[]', 0);
            PRAGMA user_version = 1;"#,
        )
        .unwrap();
    drop(former);
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.home().as_str(), "0123456789abcdef");
        let connection = store.lock();
        let texts = |query: &str| -> Vec<Option<String>> {
            let mut statement = connection.prepare(query).unwrap();
            let rows = statement.query_map((), |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts("SELECT stands_on FROM snapshots ORDER BY position"),
            [None, None, own("two")]
        );
        assert_eq!(
            texts("SELECT json_extract(container, '$.capture') FROM branches ORDER BY number"),
            [own("two"), None]
        );
        assert_eq!(super::version(&connection).unwrap(), 3);
        assert_eq!(texts("SELECT container FROM standbys"), []);
    }
}

#[test]
fn only_the_end_of_an_operation_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let level = || -> i64 {
        let connection = store.lock();
        connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap()
    };
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    assert_eq!(level(), FULL);
    let within = store.write_without_sync(|transaction| {
        Ok(transaction.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(within.unwrap(), NORMAL);
    assert_eq!(level(), FULL);
    let failed: crate::error::Result<()> =
        store.write_without_sync(|_| Err(super::damaged("a record", "on purpose")));
    assert!(failed.is_err());
    assert_eq!(level(), FULL, "also after a failure");
}
