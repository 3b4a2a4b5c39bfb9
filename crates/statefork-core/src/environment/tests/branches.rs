//! Branches, tags and the names of snapshots.

use futures_util::StreamExt;
use statefork_runtime::ExecRequest;

use super::{World, app};
use crate::environment::{RestoreRequest, SnapshotRequest};
use crate::error::{CoreError, ErrorKind, Named};

async fn restore(world: &World, revision: &str) -> String {
    let request = RestoreRequest::to(revision);
    let report = world.environment.restore(&request).await.unwrap();
    report.id.to_string()
}

#[tokio::test]
async fn a_tag_names_a_snapshot_until_it_is_taken_away() {
    let world = World::new();
    world.up(app()).await;
    let one = world.snapshot().await;
    let tagged = SnapshotRequest {
        tag: Some("v2".to_owned()),
        ..SnapshotRequest::default()
    };
    let two = world.environment.snapshot(&tagged).await.unwrap().snapshot;
    assert_eq!(two.tags, ["v2"]);
    world.environment.tag("v1", &one, false).await.unwrap();
    assert_eq!(restore(&world, "v1").await, one);
    assert_eq!(world.environment.show("v2^").unwrap().id.as_str(), one);
    // A name is taken only once, by whatever has it.
    for name in ["v1", "main", "base"] {
        let error = world
            .environment
            .tag(name, "HEAD", false)
            .await
            .unwrap_err();
        let expected = if name == "base" {
            ErrorKind::Usage
        } else {
            ErrorKind::Conflict
        };
        assert_eq!(error.kind(), expected, "{error}");
    }
    world.environment.tag("v1", "v2", true).await.unwrap();
    assert_eq!(world.environment.show("v1").unwrap().id, two.id);
    world.environment.untag("v1").await.unwrap();
    let error = world.environment.show("v1").unwrap_err();
    let CoreError::NotFound { nearest, .. } = error.root() else {
        panic!("{error}");
    };
    assert_eq!(nearest.as_deref(), Some("v2"));
    let error = world.environment.untag("v3").await.unwrap_err();
    assert!(matches!(
        error.root(),
        CoreError::NotFound {
            what: Named::Tag,
            ..
        }
    ));
}

#[tokio::test]
async fn a_taken_tag_is_refused_before_anything_is_made() {
    let world = World::new();
    world.up(app()).await;
    world.environment.tag("v1", "base", false).await.unwrap();
    let request = SnapshotRequest {
        tag: Some("v1".to_owned()),
        ..SnapshotRequest::default()
    };
    let error = world.environment.snapshot(&request).await.unwrap_err();
    assert!(
        matches!(error.root(), CoreError::NameTaken { .. }),
        "{error}"
    );
    assert_eq!(world.environment.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_restore_can_be_taken_back_and_save_what_would_be_lost() {
    let world = World::new();
    world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    let one = world.snapshot().await;
    assert_eq!(
        restore(&world, "base").await,
        world.environment.show("base").unwrap().id.as_str()
    );
    assert_eq!(restore(&world, "-").await, one);
    assert_eq!(world.environment.show("HEAD@{2}").unwrap().id.as_str(), one);
    world.run(&["write", "/file", "unsaved"]).await;
    let request = RestoreRequest {
        revision: "base".to_owned(),
        save: true,
        wait: false,
    };
    let report = world.environment.restore(&request).await.unwrap();
    let saved = report.saved.unwrap();
    assert_eq!(world.environment.show("@{1}").unwrap().id, saved);
    restore(&world, saved.as_str()).await;
    let container = world.live().await;
    assert_eq!(world.file(&container, "/file").as_deref(), Some("unsaved"));
}

#[tokio::test]
async fn a_removed_snapshot_leaves_its_children_to_its_parent() {
    let world = World::new();
    world.up(app()).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        world.run(&["write", "/file", text]).await;
        let report = world.environment.step(&SnapshotRequest::default()).await;
        ids.push(report.unwrap().snapshot.node.id);
    }
    world.environment.remove_snapshot("HEAD^").await.unwrap();
    let list = world.environment.list().unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list[2].parent.as_ref(), Some(&ids[0]));
    for (id, text) in [(&ids[0], "one"), (&ids[2], "three")] {
        restore(&world, id.as_str()).await;
        let container = world.live().await;
        assert_eq!(world.file(&container, "/file").as_deref(), Some(text));
    }
    for held in ["base", "HEAD"] {
        let error = world.environment.remove_snapshot(held).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    assert_eq!(world.environment.list().unwrap().len(), 3);
}

#[tokio::test]
async fn a_container_is_stopped_and_started_with_its_changes() {
    let world = World::new();
    let container = world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    assert!(world.environment.stop().await.unwrap().timing.is_some());
    assert!(world.environment.stop().await.unwrap().timing.is_none());
    let started = world.environment.start().await.unwrap();
    assert_eq!(started.container, container);
    assert!(world.environment.start().await.unwrap().timing.is_none());
    assert_eq!(world.run(&["true"]).await, 0);
    assert_eq!(world.file(&container, "/file").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_branch_that_nothing_has_is_named_with_the_nearest() {
    let world = World::new();
    world.up(app()).await;
    let error = world.environment.switch("mian").await.unwrap_err();
    let CoreError::NotFound {
        what: Named::Branch,
        nearest,
        ..
    } = error.root()
    else {
        panic!("{error}");
    };
    assert_eq!(nearest.as_deref(), Some("main"));
    let names = ["main".to_owned()];
    let error = world.environment.remove_branches(&names).await.unwrap_err();
    assert!(matches!(error.root(), CoreError::MainBranch), "{error}");
    assert_eq!(world.run(&["true"]).await, 0);
}

#[tokio::test]
async fn a_command_that_fails_is_taken_back_and_one_that_works_is_kept() {
    let world = World::new();
    world.up(app()).await;
    for (argv, code, kept) in [
        (["write", "/file", "kept", ";", "true"], 0, "kept"),
        (["write", "/file", "lost", ";", "false"], 1, "kept"),
    ] {
        let request = ExecRequest {
            argv: argv.map(str::to_owned).into(),
            ..ExecRequest::default()
        };
        let report = world
            .environment
            .attempt(&request, async |mut exec| {
                while let Some(output) = exec.output.next().await {
                    output?;
                }
                Ok(exec.control.wait().await?.code())
            })
            .await
            .unwrap();
        assert_eq!((report.exit_code, report.restored), (code, code != 0));
        let container = world.live().await;
        assert_eq!(world.file(&container, "/file").as_deref(), Some(kept));
    }
}

#[tokio::test]
async fn the_head_of_another_branch_becomes_that_of_main() {
    let world = World::new();
    world.up(app()).await;
    world.run(&["write", "/file", "one"]).await;
    world.snapshot().await;
    let record = world.environment.record().unwrap();
    let store = world.environment.store();
    store.copy_branch(record.number, "main", "other").unwrap();
    restore(&world, "base").await;
    world.environment.promote("other").await.unwrap();
    let container = world.live().await;
    assert_eq!(world.file(&container, "/file").as_deref(), Some("one"));
    world
        .environment
        .rename_branch("other", "winner")
        .await
        .unwrap();
    world.environment.switch("winner").await.unwrap();
    assert_eq!(world.environment.branch_name().unwrap(), "winner");
    let names = ["w*".to_owned()];
    let removed = world.environment.remove_branches(&names).await.unwrap();
    assert_eq!(removed, ["winner"]);
    assert_eq!(world.environment.branch_name().unwrap(), "main");
}
