//! Forks: what each of them is, what they are called, and what is left of those that fail.

use futures_util::StreamExt;
use statefork_conformance::{FakeRuntime, Fault, Method};
use statefork_runtime::{ContainerId, ExecRequest, Mount, MountSource, Network, RuntimeError};

use super::recovery::Bed;
use super::{World, app, run};
use crate::environment::{
    DownRequest, Environment, ForkReport, ForkRequest, RestoreRequest, UpRequest,
};
use crate::error::{CoreError, ErrorKind};
use crate::model::{OperationKind, Outcome};

fn forks(count: usize) -> ForkRequest {
    ForkRequest {
        count,
        ..ForkRequest::default()
    }
}

fn of(revision: &str, count: usize) -> ForkRequest {
    ForkRequest {
        revision: Some(revision.to_owned()),
        ..forks(count)
    }
}

fn named(name: &str, count: usize) -> ForkRequest {
    ForkRequest {
        name: Some(name.to_owned()),
        ..of("HEAD", count)
    }
}

/// The names and containers of forks, all of which came up.
fn up(report: ForkReport) -> Vec<(String, ContainerId)> {
    let forks = report.forks.into_iter();
    forks
        .map(|fork| (fork.branch, fork.outcome.unwrap().container))
        .collect()
}

fn names(report: ForkReport) -> Vec<String> {
    up(report).into_iter().map(|(name, _)| name).collect()
}

fn on(world: &World, branch: &str) -> Environment {
    Environment {
        branch: Some(branch.to_owned()),
        ..world.environment.clone()
    }
}

async fn host_name(environment: &Environment) -> String {
    let request = ExecRequest {
        argv: vec!["hostname".to_owned()],
        ..ExecRequest::default()
    };
    let mut exec = environment.exec(&request).await.unwrap();
    let mut output = Vec::new();
    while let Some(chunk) = exec.output.next().await {
        output.extend_from_slice(&chunk.unwrap().bytes);
    }
    String::from_utf8(output).unwrap()
}

#[tokio::test]
async fn forks_from_now_go_on_apart_from_each_other_and_from_their_parent() {
    let world = World::new();
    let parent = world.up(app()).await;
    world.run(&["write", "/file", "now"]).await;
    let report = world.environment.fork(&forks(3)).await.unwrap();
    let taken = report.taken.as_ref().unwrap().snapshot.id.clone();
    assert_eq!(report.id, taken);
    let forks = up(report);
    for (name, container) in &forks {
        assert_eq!(world.file(container, "/file").as_deref(), Some("now"));
        assert_eq!(run(&on(&world, name), &["write", "/file", name]).await, 0);
    }
    for (name, container) in &forks {
        assert_eq!(world.file(container, "/file"), Some(name.clone()));
    }
    assert_eq!(world.live().await, parent);
    assert_eq!(world.file(&parent, "/file").as_deref(), Some("now"));
    let branches = world.environment.branches().await.unwrap().unwrap();
    assert_eq!(branches.current, "main");
    let heads: Vec<_> = branches
        .branches
        .iter()
        .map(|view| (view.branch.name.as_str(), &view.branch.head))
        .collect();
    let expected = ["fork-1", "fork-2", "fork-3", "main"].map(|name| (name, &taken));
    assert_eq!(heads, expected);
    let history = world.environment.history().unwrap();
    let rows: Vec<_> = history[2..]
        .iter()
        .map(|row| (row.kind, row.branch.as_deref(), row.outcome))
        .collect();
    let row = |branch| (OperationKind::Fork, Some(branch), Outcome::Done);
    assert_eq!(rows, [row("fork-1"), row("fork-2"), row("fork-3")]);
    assert!(history[2..].iter().all(|row| row.usable.is_some()));
}

#[tokio::test]
async fn an_old_snapshot_is_forked_without_a_live_parent_and_so_is_a_fork() {
    let world = World::new();
    world.up(app()).await;
    world.run(&["write", "/file", "old"]).await;
    let old = world.snapshot().await;
    world.run(&["write", "/file", "new"]).await;
    world.snapshot().await;
    world
        .environment
        .down(DownRequest::default())
        .await
        .unwrap();
    let forks = up(world.environment.fork(&of(&old, 2)).await.unwrap());
    assert_eq!(world.file(&forks[0].1, "/file").as_deref(), Some("old"));
    let first = on(&world, "fork-1");
    run(&first, &["write", "/file", "first"]).await;
    let of_fork = up(first.fork(&super::fork::forks(1)).await.unwrap());
    assert_eq!(of_fork[0].0, "fork-3");
    assert_eq!(world.file(&of_fork[0].1, "/file").as_deref(), Some("first"));
    let report = world.environment.promote("fork-3").await.unwrap();
    let main = world.file(&report.container, "/file");
    assert_eq!(main.as_deref(), Some("first"));
    let mut removed = world
        .environment
        .remove_branches(&["fork-*".to_owned()])
        .await
        .unwrap();
    removed.sort();
    assert_eq!(removed, ["fork-1", "fork-2", "fork-3"]);
    assert_eq!(world.fake.containers().len(), 1);
}

#[tokio::test]
async fn names_are_the_next_that_are_free() {
    let world = World::new();
    world.up(app()).await;
    world.snapshot().await;
    let environment = &world.environment;
    environment.tag("fork-2", "HEAD", false).await.unwrap();
    let made = names(environment.fork(&of("HEAD", 2)).await.unwrap());
    assert_eq!(made, ["fork-1", "fork-3"]);
    // Another command is about to make it.
    let _lock = environment
        .branch_lock("fork", "fork-4", std::time::Duration::ZERO)
        .await
        .unwrap();
    let made = names(environment.fork(&of("HEAD", 1)).await.unwrap());
    assert_eq!(made, ["fork-5"]);
    let made = names(environment.fork(&named("trial", 1)).await.unwrap());
    assert_eq!(made, ["trial"]);
    let made = names(environment.fork(&named("trial", 2)).await.unwrap());
    assert_eq!(made, ["trial-1", "trial-2"]);
    for (name, kind) in [
        ("trial", ErrorKind::Conflict),
        ("fork-2", ErrorKind::Conflict),
        ("main", ErrorKind::Conflict),
        ("base", ErrorKind::Usage),
        ("dead", ErrorKind::Usage),
        ("no name", ErrorKind::Usage),
    ] {
        let error = environment.fork(&named(name, 1)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    let long = "n".repeat(62);
    let error = environment.fork(&named(&long, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        environment
            .branches()
            .await
            .unwrap()
            .unwrap()
            .branches
            .len(),
        7
    );
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_before_a_snapshot_is_taken() {
    let world = World::new();
    world.up(app()).await;
    let request = ForkRequest {
        revision: None,
        ..named("main", 1)
    };
    let error = world.environment.fork(&request).await.unwrap_err();
    assert!(
        matches!(error.root(), CoreError::NameTaken { .. }),
        "{error}"
    );
    assert_eq!(world.environment.list().unwrap().len(), 1);
    assert_eq!(world.environment.history().unwrap().len(), 1);
}

#[tokio::test]
async fn a_fork_that_fails_leaves_nothing_and_the_others_stay() {
    let bed = Bed::on(FakeRuntime::new());
    bed.up().await;
    let refused = || RuntimeError::TimedOut {
        op: "launch",
        after: std::time::Duration::ZERO,
    };
    bed.faulty.plan(Method::Launch, Fault::Pass);
    bed.faulty.plan(Method::Launch, Fault::Before(refused()));
    let report = bed.environment.fork(&of("base", 3)).await.unwrap();
    let outcomes: Vec<_> = report
        .forks
        .iter()
        .map(|fork| (fork.branch.as_str(), fork.outcome.is_ok()))
        .collect();
    let expected = [("fork-1", true), ("fork-2", false), ("fork-3", true)];
    assert_eq!(outcomes, expected);
    let error = report.forks[1].outcome.as_ref().unwrap_err();
    assert_eq!(error.to_string(), "bring fork \"fork-2\" up");
    let branches = bed.environment.branches().await.unwrap().unwrap();
    let left: Vec<_> = branches
        .branches
        .iter()
        .map(|view| view.branch.name.as_str())
        .collect();
    assert_eq!(left, ["fork-1", "fork-3", "main"]);
    bed.check().await;
    let history = bed.environment.history().unwrap();
    assert_eq!(
        history
            .iter()
            .filter(|row| row.outcome == Outcome::Failed)
            .count(),
        1
    );
    // Its name is free again.
    let made = names(bed.environment.fork(&of("base", 1)).await.unwrap());
    assert_eq!(made, ["fork-2"]);
}

#[tokio::test]
async fn who_interrupts_forking_has_no_forks_of_it() {
    let world = World::new();
    world.up(app()).await;
    world.cancel.cancel();
    let error = world.environment.fork(&of("base", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(world.fake.containers().len(), 1);
    let branches = world.environment.branches().await.unwrap().unwrap();
    assert_eq!(branches.branches.len(), 1);
}

#[tokio::test]
async fn what_forks_would_share_is_refused_unless_they_are_to() {
    let world = World::new();
    let mut requested = app();
    requested.spec.mounts.push(Mount {
        source: MountSource::Volume("data".to_owned()),
        target: "/shared".into(),
        read_only: false,
    });
    world.up(requested).await;
    for request in [forks(2), of("HEAD", 2)] {
        let error = world.environment.fork(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let CoreError::SharedMount { target } = error.root() else {
            panic!("{error}");
        };
        assert_eq!(target.to_str(), Some("/shared"));
        assert_eq!(world.environment.list().unwrap().len(), 1);
    }
    let shared = ForkRequest {
        share_mounts: true,
        ..forks(2)
    };
    up(world.environment.fork(&shared).await.unwrap());
    assert_eq!(world.fake.containers().len(), 3);
}

#[tokio::test]
async fn the_host_s_network_is_never_forked() {
    let world = World::new();
    let mut requested = app();
    requested.spec.network = Network::Host;
    world.up(requested).await;
    let request = ForkRequest {
        share_mounts: true,
        ..forks(1)
    };
    let error = world.environment.fork(&request).await.unwrap_err();
    assert!(matches!(error.root(), CoreError::HostNetwork), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_makes_no_forks_is_wrong_usage() {
    let world = World::new();
    world.up(app()).await;
    let one_port = ForkRequest {
        ports: vec!["9000:8000".parse().unwrap()],
        ..forks(2)
    };
    let no_time = ForkRequest {
        ttl: Some(std::time::Duration::ZERO),
        ..forks(1)
    };
    for request in [forks(0), one_port, no_time] {
        let error = world.environment.fork(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
    let error = world.environment.fork(&of("nothing", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_fork_s_host_name_tells_it_apart_and_a_promoted_one_is_main_s_again() {
    let world = World::new();
    let mut requested = app();
    requested.spec.hostname = Some("shop".to_owned());
    world.up(requested.clone()).await;
    let made = up(world.environment.fork(&forks(1)).await.unwrap());
    assert_eq!(host_name(&on(&world, &made[0].0)).await, "shop-fork-1\n");
    let made = up(on(&world, "fork-1").fork(&forks(1)).await.unwrap());
    assert_eq!(host_name(&on(&world, &made[0].0)).await, "shop-fork-2\n");
    // Its settings are those of its parent.
    let again = UpRequest {
        application: Some(requested),
        recreate: false,
        standby: None,
    };
    assert!(
        on(&world, "fork-2")
            .up(&again)
            .await
            .unwrap()
            .timing
            .is_none()
    );
    world.environment.promote("fork-2").await.unwrap();
    assert_eq!(host_name(&world.environment).await, "shop\n");
}

#[tokio::test]
async fn the_parent_can_be_worked_on_while_its_forks_are_made() {
    let world = World::new();
    world.up(app()).await;
    world.snapshot().await;
    let _parent = world
        .environment
        .branch_lock("restore", "main", std::time::Duration::ZERO)
        .await
        .unwrap();
    let made = names(world.environment.fork(&of("HEAD", 2)).await.unwrap());
    assert_eq!(made, ["fork-1", "fork-2"]);
    let request = RestoreRequest::to("base");
    on(&world, "fork-1").restore(&request).await.unwrap();
}
