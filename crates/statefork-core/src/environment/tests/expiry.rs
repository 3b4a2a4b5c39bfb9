//! Branches that end by themselves, without a shim that keeps the time: the next command does.

use std::time::Duration;

use jiff::Timestamp;

use super::{World, app};
use crate::environment::{Environment, ForkRequest};
use crate::error::ErrorKind;
use crate::model::{OperationKind, Outcome};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3600);

async fn fork(world: &World, name: &str, ttl: Option<Duration>) {
    let request = ForkRequest {
        revision: Some("HEAD".to_owned()),
        name: Some(name.to_owned()),
        ttl,
        ..ForkRequest::default()
    };
    let report = world.environment.fork(&request).await.unwrap();
    for fork in report.forks {
        fork.outcome.unwrap();
    }
}

/// Up with a fork that ends soon, one that ends late and one that never does.
async fn forked() -> World {
    let world = World::new();
    world.up(app()).await;
    world.snapshot().await;
    fork(&world, "late", Some(LONG)).await;
    fork(&world, "never", None).await;
    // The last one: the next command would remove it.
    fork(&world, "soon", Some(SHORT)).await;
    tokio::time::sleep(SHORT).await;
    world
}

async fn names(world: &World) -> Vec<String> {
    let list = world.environment.branches().await.unwrap().unwrap();
    let views = list.branches.into_iter();
    views.map(|view| view.branch.name).collect()
}

fn on(world: &World, branch: &str) -> Environment {
    Environment {
        branch: Some(branch.to_owned()),
        ..world.environment.clone()
    }
}

#[tokio::test]
async fn what_has_expired_is_removed_and_logged_and_nothing_else() {
    let world = forked().await;
    assert_eq!(world.environment.reap().await.unwrap(), ["soon"]);
    assert_eq!(names(&world).await, ["late", "main", "never"]);
    assert_eq!(world.fake.containers().len(), 3);
    let history = world.environment.history().unwrap();
    let last = history.last().unwrap();
    assert_eq!(last.kind, OperationKind::BranchRemove);
    assert_eq!(last.branch.as_deref(), Some("soon"));
    assert_eq!(last.outcome, Outcome::Done);
    assert!(world.environment.reap().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_next_command_that_changes_something_removes_it_too() {
    let world = forked().await;
    // Reading changes nothing.
    world.environment.list().unwrap();
    assert_eq!(names(&world).await, ["late", "main", "never", "soon"]);
    world.snapshot().await;
    assert_eq!(names(&world).await, ["late", "main", "never"]);
}

#[tokio::test]
async fn a_command_on_a_branch_whose_time_is_over_does_not_find_it() {
    let world = forked().await;
    let request = crate::environment::RestoreRequest::to("base");
    let error = on(&world, "soon").restore(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(names(&world).await, ["late", "main", "never"]);
}

#[tokio::test]
async fn one_that_is_worked_on_goes_afterwards() {
    let world = forked().await;
    let working = world
        .environment
        .branch_lock("restore", "soon", Duration::ZERO)
        .await
        .unwrap();
    let error = world.environment.reap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    // It hinders nobody else.
    world.snapshot().await;
    assert!(names(&world).await.contains(&"soon".to_owned()));
    assert!(world.told.0.lock().unwrap().is_empty());
    drop(working);
    assert_eq!(world.environment.reap().await.unwrap(), ["soon"]);
}

#[tokio::test]
async fn a_new_name_keeps_the_time() {
    let world = forked().await;
    let end = |list: crate::environment::BranchList, name: &str| -> Option<Timestamp> {
        let mut views = list.branches.into_iter();
        let view = views.find(|view| view.branch.name == name);
        view.unwrap().branch.expires_at
    };
    let list = world.environment.branches().await.unwrap().unwrap();
    let before = end(list, "late");
    assert!(before.is_some_and(|end| end > Timestamp::now()));
    world
        .environment
        .rename_branch("late", "later")
        .await
        .unwrap();
    let list = world.environment.branches().await.unwrap().unwrap();
    assert_eq!(end(list, "later"), before);
}
