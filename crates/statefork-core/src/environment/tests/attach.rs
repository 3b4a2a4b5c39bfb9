//! A container that somebody else made, from the day it is adopted.

use statefork_runtime::{
    Captures, ContainerId, ContainerSpec, ContainerState, Containers, Images, LaunchRequest, Phases,
};

use super::{IMAGE, World, app};
use crate::config::{Hooks, MachineId};
use crate::environment::{AttachRequest, DownRequest, LiveState, RestoreRequest, SnapshotRequest};
use crate::error::{CoreError, ErrorKind};

/// Makes a container without us.
async fn by_hand(world: &World) -> ContainerId {
    let image = world.fake.inspect_image(IMAGE).await.unwrap().unwrap();
    let request = LaunchRequest {
        name: "theirs".to_owned(),
        spec: ContainerSpec {
            hostname: Some("their-box".to_owned()),
            command: Some(vec!["serve".to_owned()]),
            ..ContainerSpec::default()
        },
        labels: Default::default(),
        publish: Vec::new(),
    };
    let base = world.fake.of_image(&image.id);
    let launched = world.fake.launch(&base, &request, &Phases::new()).await;
    launched.unwrap().id
}

fn attach(container: &str) -> AttachRequest {
    AttachRequest {
        container: container.to_owned(),
        readiness: None,
        standby: None,
        hooks: Hooks::default(),
        machine_id: MachineId::Image,
    }
}

#[tokio::test]
async fn a_container_of_others_is_versioned_and_never_removed() {
    let world = World::new();
    let theirs = by_hand(&world).await;
    let report = world.environment.attach(&attach("theirs")).await.unwrap();
    assert_eq!(report.container, theirs);
    assert_eq!(world.file(&theirs, "/run/statefork.json"), None);
    world.run(&["write", "/file", "one"]).await;
    let one = world.snapshot().await;
    world.run(&["write", "/file", "two"]).await;
    let restored = world
        .environment
        .restore(&RestoreRequest::to(&one))
        .await
        .unwrap();
    assert_ne!(restored.container, theirs);
    assert_eq!(
        world.file(&restored.container, "/file").as_deref(),
        Some("one")
    );
    let identity = world.file(&restored.container, "/run/statefork.json");
    assert!(identity.is_some_and(|text| text.contains(&one)));
    let LiveState::Present { container, .. } =
        world.environment.status().await.unwrap().unwrap().live
    else {
        panic!();
    };
    assert_eq!(container.state, ContainerState::Running);
    // Theirs is left, stopped, and said so.
    let left = world.fake.inspect(&theirs).await.unwrap().unwrap();
    assert!(
        matches!(left.state, ContainerState::Exited { .. }),
        "{left:?}"
    );
    let told = world.told.0.lock().unwrap().join("\n");
    assert!(
        told.contains("theirs") && told.contains("left stopped"),
        "{told}"
    );
    let purge = DownRequest {
        save: false,
        purge: true,
    };
    world.environment.down(purge).await.unwrap();
    let ids: Vec<_> = world.fake.containers().into_iter().map(|c| c.id).collect();
    assert_eq!(ids, [theirs]);
}

#[tokio::test]
async fn one_that_another_environment_made_says_what_it_is_in_this_one() {
    let world = World::new();
    let theirs = world.up(app()).await;
    let mut environment = world.environment.clone();
    environment.name = "other".to_owned();
    let report = environment.attach(&attach(theirs.as_str())).await.unwrap();
    assert_eq!(report.container, theirs);
    let snapshot = environment.snapshot(&SnapshotRequest::default()).await;
    let snapshot = snapshot.unwrap().snapshot;
    assert!(snapshot.spec.mounts.is_empty() && snapshot.not_held.is_empty());
    let request = RestoreRequest::to("HEAD");
    let restored = environment.restore(&request).await.unwrap();
    let identity = world.file(&restored.container, "/run/statefork.json");
    assert!(identity.is_some_and(|text| text.contains(snapshot.id.as_str())));
}

#[tokio::test]
async fn what_is_not_there_or_there_already_is_refused() {
    let world = World::new();
    let error = world
        .environment
        .attach(&attach("nobody"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    by_hand(&world).await;
    world.environment.attach(&attach("theirs")).await.unwrap();
    let error = world
        .environment
        .attach(&attach("theirs"))
        .await
        .unwrap_err();
    assert!(
        matches!(error.root(), CoreError::EnvironmentExists { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_snapshot_that_lost_its_files_is_found_out() {
    let world = World::new();
    by_hand(&world).await;
    world.environment.attach(&attach("theirs")).await.unwrap();
    let one = world.snapshot().await;
    assert_eq!(world.environment.show("HEAD").unwrap().intact, None);
    let capture = world.environment.show("HEAD").unwrap().capture;
    assert!(
        world
            .environment
            .verify(None)
            .await
            .unwrap()
            .iter()
            .all(|found| found.intact)
    );
    assert!(world.fake.lose_capture(&capture));
    let found = world.environment.verify(Some(&one)).await.unwrap();
    assert!(!found[0].intact);
    assert_eq!(world.environment.show("HEAD").unwrap().intact, Some(false));
    let error = world
        .environment
        .restore(&RestoreRequest::to(&one))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert_eq!(world.run(&["true"]).await, 0);
}
