//! Containers that are prepared ahead: what is prepared, what a restore does with it, and that none is
//! left when it is of no use any more.

use std::time::Duration;

use statefork_conformance::{Fault, Method};
use statefork_runtime::{ContainerId, ContainerState, Containers, RuntimeError};

use super::app;
use super::recovery::Bed;
use crate::config::{Candidates, Standby};
use crate::environment::{RestoreReport, RestoreRequest, UpRequest};
use crate::model::{OperationKind, Outcome};

/// Longer than what runs beside it takes on the fake.
const WHILE: Duration = Duration::from_secs(5);

/// A bed with this policy and three snapshots, `one` to `three`; the container has changed since.
async fn bed(which: Candidates, count: Option<u32>) -> Bed {
    let bed = Bed::new();
    let request = UpRequest {
        application: Some(app()),
        standby: Some(Standby { which, count }),
        recreate: false,
    };
    bed.environment.up(&request).await.unwrap();
    for text in ["one", "two", "three"] {
        bed.snapshot(text).await;
    }
    bed.write("four").await;
    bed
}

impl Bed {
    /// The messages of the snapshots from which a container is prepared, and that it is frozen.
    fn prepared(&self) -> Vec<String> {
        let record = self.environment.record().unwrap();
        let store = self.environment.store();
        let standbys = store.standbys(record.number).unwrap().into_iter();
        let mut messages: Vec<String> = standbys
            .map(|standby| {
                let id = standby.container.expect("it is ready").id;
                assert_eq!(self.state(&id), Some(ContainerState::Paused));
                let snapshot = self.environment.show(standby.snapshot.as_str()).unwrap();
                snapshot.message.clone().unwrap_or_else(|| "base".into())
            })
            .collect();
        messages.sort();
        messages
    }

    fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        let containers = self.fake.containers().into_iter();
        let mut found = containers.filter(|container| container.id == *id);
        found.next().map(|container| container.state)
    }

    pub(super) fn only_prepared(&self) -> ContainerId {
        let containers = self.fake.containers().into_iter();
        let mut paused = containers.filter(|of| of.state == ContainerState::Paused);
        let prepared = paused.next().expect("one is prepared").id;
        assert_eq!(paused.next().map(|of| of.id), None);
        prepared
    }

    async fn restore(&self, revision: &str) -> RestoreReport {
        let request = RestoreRequest::to(revision);
        self.environment.restore(&request).await.unwrap()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let history = self.environment.history().unwrap().into_iter();
        let standbys = history.filter(|row| row.kind == OperationKind::Standby);
        standbys.map(|row| row.outcome).collect()
    }
}

#[tokio::test]
async fn a_restore_goes_on_in_what_was_prepared() {
    let bed = bed(Candidates::Head, None).await;
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.prepared(), ["three"]);
    let prepared = bed.only_prepared();
    let head = bed.environment.show("HEAD").unwrap().id.clone();
    assert_eq!(bed.environment.prepared_for(&head).unwrap(), ["main"]);
    let list = bed.environment.branches().await.unwrap().unwrap();
    let standby = &list.branches[0].standby[0];
    assert_eq!((&standby.snapshot, &standby.container), (&head, &prepared));

    let report = bed.restore("HEAD").await;
    assert_eq!(
        (report.timing.warm, &report.container),
        (Some(true), &prepared)
    );
    assert_eq!(bed.state(&prepared), Some(ContainerState::Running));
    let file = bed.fake.file(&prepared, "/file").unwrap();
    assert_eq!(&file[..], b"three");
    // It is used up: until the next one is prepared, a restore is cold.
    let report = bed.restore("HEAD").await;
    assert_eq!(report.timing.warm, Some(false));
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.restore("HEAD").await.timing.warm, Some(true));
    let rows = bed.environment.stats().unwrap();
    let whole = rows.iter().filter(|row| row.phase.is_none());
    let restores: Vec<_> = whole
        .filter(|row| row.operation == OperationKind::Restore)
        .map(|row| (row.warm, row.count))
        .collect();
    assert_eq!(restores, [(Some(false), 1), (Some(true), 2)]);
    bed.check().await;
    bed.purge().await;
    bed.check_empty("after the purge");
}

#[tokio::test]
async fn the_policy_says_what_is_prepared() {
    for (which, count, expected) in [
        (Candidates::None, None, &[][..]),
        (Candidates::Head, None, &["three"]),
        (Candidates::Recent(2), None, &["three", "two"]),
        (Candidates::Recent(9), Some(1), &["three"]),
        (
            Candidates::Recent(9),
            None,
            &["base", "one", "three", "two"],
        ),
        (Candidates::Tags, None, &["one", "two"]),
        (Candidates::Tags, Some(1), &["two"]),
    ] {
        let bed = bed(which, count).await;
        bed.environment.tag("a", "HEAD~2", false).await.unwrap();
        bed.environment.tag("b", "HEAD^", false).await.unwrap();
        bed.environment.tend().await.unwrap();
        assert_eq!(bed.prepared(), expected, "{which} {count:?}");
        // Nothing is done twice, and what is wanted no more goes.
        bed.environment.tend().await.unwrap();
        assert_eq!(bed.outcomes().len(), expected.len(), "{which} {count:?}");
        let request = UpRequest {
            standby: Some(Standby::NONE),
            ..UpRequest::default()
        };
        bed.environment.up(&request).await.unwrap();
        bed.environment.tend().await.unwrap();
        assert_eq!(bed.prepared(), [""; 0]);
        bed.check().await;
    }
}

#[tokio::test]
async fn what_is_prepared_follows_the_head() {
    let bed = bed(Candidates::Head, None).await;
    bed.environment.tend().await.unwrap();
    bed.snapshot("four").await;
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.prepared(), ["four"]);
    bed.restore("HEAD~2").await;
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.prepared(), ["two"]);
    assert_eq!(bed.fake.containers().len(), 2);
}

#[tokio::test]
async fn one_that_cannot_be_used_is_replaced_and_the_reason_told() {
    for removed in [true, false] {
        let bed = bed(Candidates::Head, None).await;
        bed.environment.tend().await.unwrap();
        let prepared = bed.only_prepared();
        match removed {
            true => bed.fake.remove(&prepared).await.unwrap(),
            false => bed.fake.kill(&prepared).await.unwrap(),
        }
        let report = bed.restore("HEAD").await;
        assert_eq!(report.timing.warm, Some(false));
        assert_ne!(report.container, prepared);
        let told = bed.told.0.lock().unwrap().join("\n");
        assert!(told.contains("another container is launched"), "{told}");
        bed.check().await;
        bed.purge().await;
        bed.check_empty("after the purge");
    }
}

#[tokio::test]
async fn one_that_ended_is_prepared_anew() {
    let bed = bed(Candidates::Head, None).await;
    bed.environment.tend().await.unwrap();
    let first = bed.only_prepared();
    bed.fake.kill(&first).await.unwrap();
    bed.environment.tend().await.unwrap();
    assert_ne!(bed.only_prepared(), first);
    assert_eq!(bed.state(&first), None);
}

#[tokio::test]
async fn a_restore_that_fails_removes_what_it_took() {
    let bed = bed(Candidates::Head, None).await;
    bed.environment.tend().await.unwrap();
    let broken = || RuntimeError::Unsupported {
        op: "freeze",
        reason: "a test".to_owned(),
    };
    bed.faulty.plan(Method::Pause, Fault::Before(broken()));
    let request = RestoreRequest::to("HEAD");
    bed.environment.restore(&request).await.unwrap_err();
    assert_eq!(bed.fake.containers().len(), 1);
    bed.check().await;
}

#[tokio::test]
async fn none_outlives_its_snapshot_or_its_branch_s_container() {
    let bed = bed(Candidates::Recent(3), None).await;
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.prepared(), ["one", "three", "two"]);
    bed.environment.remove_snapshot("HEAD^").await.unwrap();
    assert_eq!(bed.prepared(), ["one", "three"]);
    assert_eq!(bed.fake.containers().len(), 3);
    bed.environment.down(Default::default()).await.unwrap();
    assert_eq!(bed.fake.containers().len(), 0);
    // Nor is one prepared while the branch has no container.
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.fake.containers().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_prepared_gives_way_to_the_end() {
    let bed = bed(Candidates::Head, None).await;
    bed.faulty.plan(Method::Launch, Fault::Delay(WHILE));
    let (tended, ()) = tokio::join!(bed.environment.tend(), bed.purge());
    tended.unwrap();
    bed.check_empty("after the purge");
}

#[tokio::test]
async fn no_more_memory_is_set_aside_than_there_may_be() {
    let mut bed = bed(Candidates::Recent(3), None).await;
    // On the fake each has the least that is set aside.
    bed.environment.options.standby_memory = Some(9 << 20);
    bed.environment.tend().await.unwrap();
    assert_eq!(bed.prepared(), ["three", "two"]);
    let told = bed.told.0.lock().unwrap().join("\n");
    assert!(told.contains("no container is prepared"), "{told}");
    bed.check().await;
}
