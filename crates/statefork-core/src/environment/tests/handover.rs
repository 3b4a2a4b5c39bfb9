//! From one container to the next: the old one is never lost before the new one can be used.

use super::*;

#[tokio::test]
async fn where_two_cannot_run_at_once_the_old_one_stops_first_and_that_is_told() {
    let shared = tempfile::tempdir().unwrap();
    let world = World::new();
    let mounted = Requested {
        spec: ContainerSpec {
            mounts: vec![Mount {
                source: MountSource::Bind(shared.path().to_owned()),
                target: "/mnt".into(),
                read_only: false,
            }],
            ..ContainerSpec::default()
        },
        ..app()
    };
    world.up(mounted).await;
    let report = world.environment.step(&SnapshotRequest::default()).await;
    let report = report.unwrap();
    assert_eq!(report.snapshot.not_held[0].path, PathBuf::from("/mnt"));
    let told = world.told.0.lock().unwrap().clone();
    assert!(
        told.iter()
            .any(|text| text.contains("/mnt is not in the snapshot")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|text| text.contains("stopped before")),
        "{told:?}"
    );
}

#[tokio::test]
async fn an_operation_that_is_interrupted_while_it_waits_is_undone() {
    let world = World::new();
    let old = world.up(ready_by_file()).await;
    let mut stuck = ready_by_file();
    stuck.spec.command = Some(vec!["serve".to_owned()]);
    let request = UpRequest {
        application: Some(Requested {
            readiness: stuck.readiness.map(|readiness| Readiness {
                timeout: Duration::from_secs(30),
                ..readiness
            }),
            ..stuck
        }),
        recreate: true,
        standby: None,
    };
    world.run(&["rm", "/ready"]).await;
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(world.environment.up(&request), interrupt);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Interrupted);
    let containers = world.fake.containers();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].id, old);
    assert_eq!(containers[0].state, ContainerState::Running);
}

#[tokio::test]
async fn a_restore_that_never_gets_ready_leaves_the_old_container_running() {
    let world = World::new();
    let old = world.up(ready_by_file()).await;
    world.run(&["rm", "/ready"]).await;
    // A container launched from this one never gets ready: its command runs into its own end.
    let stuck = Requested {
        spec: ContainerSpec {
            command: Some(["serve"].map(str::to_owned).into()),
            ..ContainerSpec::default()
        },
        ..ready_by_file()
    };
    world.snapshot().await;
    let error = world
        .environment
        .up(&UpRequest {
            application: Some(stuck),
            recreate: true,
            standby: None,
        })
        .await
        .unwrap_err();
    let CoreError::NotReady { reason, log, .. } = error.root() else {
        panic!("{error}");
    };
    assert!(
        matches!(reason, NotReadyReason::TimedOut { .. }),
        "{reason}"
    );
    assert_eq!(log, &["serving"]);
    assert_eq!(error.kind(), ErrorKind::Failed);
    let containers = world.fake.containers();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].id, old);
    assert_eq!(containers[0].state, ContainerState::Running);
    assert_eq!(world.live().await, old);
    let history = world.environment.history().unwrap();
    let last = history.last().unwrap();
    assert_eq!(
        (last.kind, last.outcome),
        (OperationKind::Up, Outcome::Failed)
    );
    assert!(last.error.as_ref().unwrap().contains("ready"), "{last:?}");
}
