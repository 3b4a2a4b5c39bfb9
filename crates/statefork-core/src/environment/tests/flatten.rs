//! Flattening behind the operations: the swap, what becomes of the long capture, and who gives way.

use std::time::Duration;

use statefork_conformance::{FakeRuntime, Fault, Method};
use statefork_runtime::{Captures, Phase};

use super::recovery::Bed;
use crate::environment::SnapshotReport;
use crate::model::{OperationKind, Outcome, SnapshotId};

/// With one layer in the base, half of the room is taken by ten.
const LIMIT: u32 = 20;
const LONG: u32 = 10;
/// Longer than what runs beside it takes on the fake.
const WHILE: Duration = Duration::from_secs(5);

/// A branch whose head, and the container with it, stands on a long chain.
async fn unflattened() -> (Bed, SnapshotId) {
    let bed = Bed::on(FakeRuntime::new().with_layer_limit(LIMIT));
    bed.up().await;
    for number in 1..LONG - 1 {
        bed.step(&format!("text {number}")).await;
    }
    assert_eq!(bed.environment.flatten().await.unwrap(), None);
    let step = bed.step("long").await;
    (bed, step.snapshot.node.id)
}

/// The same after it was flattened.
async fn flattened() -> (Bed, SnapshotId) {
    let (bed, head) = unflattened().await;
    let flattened = bed.environment.flatten().await.unwrap();
    assert_eq!(flattened.as_ref(), Some(&head));
    (bed, head)
}

impl Bed {
    fn superseded(&self) -> usize {
        let record = self.environment.record().unwrap();
        let superseded = self.environment.store().superseded(record.number);
        superseded.unwrap().len()
    }

    async fn layers(&self, revision: &str) -> u32 {
        let snapshot = self.environment.show(revision).unwrap();
        self.fake.layers(&snapshot.capture).await.unwrap()
    }

    fn flattenings(&self) -> Vec<Outcome> {
        let history = self.environment.history().unwrap().into_iter();
        let flattenings = history.filter(|row| row.kind == OperationKind::Flatten);
        flattenings.map(|row| row.outcome).collect()
    }
}

fn has(report: &SnapshotReport, phase: Phase) -> bool {
    report.timing.phases.iter().any(|(of, _)| *of == phase)
}

#[tokio::test]
async fn the_next_step_goes_on_from_the_short_chain() {
    let (bed, head) = flattened().await;
    assert_eq!(bed.layers(head.as_str()).await, 2);
    assert_eq!(bed.flattenings(), [Outcome::Done]);
    // The container stands on the long one.
    assert_eq!(bed.superseded(), 1);
    let step = bed.step("after").await;
    assert!(has(&step, Phase::Rebase) && !has(&step, Phase::Flatten));
    assert_eq!(bed.layers("HEAD").await, 3);
    let next = bed.step("later").await;
    assert!(!has(&next, Phase::Rebase));
    assert_eq!(bed.layers("HEAD").await, 4);
    // Nothing does any more.
    let images = bed.fake.images().len();
    assert_eq!(bed.environment.flatten().await.unwrap(), None);
    assert_eq!(bed.superseded(), 0);
    assert_eq!(bed.fake.images().len(), images - 1);
    bed.check().await;
    bed.purge().await;
    bed.check_empty("after the purge");
}

#[tokio::test(start_paused = true)]
async fn what_was_captured_meanwhile_stands_on_the_long_chain() {
    let (bed, head) = unflattened().await;
    bed.faulty.plan(Method::Flatten, Fault::Delay(WHILE));
    let meanwhile = async {
        let mut ids = Vec::new();
        for text in ["a", "b"] {
            ids.push(bed.step(text).await.snapshot.node.id);
        }
        ids
    };
    let (flattened, between) = tokio::join!(bed.environment.flatten(), meanwhile);
    assert_eq!(flattened.unwrap(), Some(head));
    // The next capture moves to the short chain by itself.
    assert_eq!(bed.environment.flatten().await.unwrap(), None);
    let step = bed.step("c").await;
    assert!(has(&step, Phase::Rebase));
    assert_eq!(bed.layers("HEAD").await, 2 + 3);
    // Its capture and those of the two between are apart now.
    bed.environment.flatten().await.unwrap();
    assert_eq!(bed.superseded(), 1);
    bed.check().await;
    bed.environment
        .remove_snapshot(between[0].as_str())
        .await
        .unwrap();
    assert_eq!(bed.superseded(), 1, "the second stands on it");
    bed.environment
        .restore(&crate::environment::RestoreRequest::to("base"))
        .await
        .unwrap();
    bed.environment
        .remove_snapshot(between[1].as_str())
        .await
        .unwrap();
    assert_eq!(bed.superseded(), 0);
    bed.check().await;
    bed.purge().await;
    bed.check_empty("after the purge");
}

#[tokio::test]
async fn snapshots_of_a_container_on_a_flattened_chain_are_short() {
    let (bed, _) = flattened().await;
    for text in ["a", "b"] {
        bed.write(text).await;
        let request = crate::environment::SnapshotRequest {
            message: Some(text.to_owned()),
            ..Default::default()
        };
        let report = bed.environment.snapshot(&request).await.unwrap();
        assert!(has(&report, Phase::Rebase));
        assert_eq!(bed.layers("HEAD").await, 3);
    }
    bed.check().await;
}

#[tokio::test]
async fn a_chain_that_cannot_be_put_on_the_short_one_stays_long() {
    let (bed, _) = flattened().await;
    let refused = statefork_runtime::RuntimeError::Unsupported {
        op: "rebase",
        reason: "a test".to_owned(),
    };
    bed.faulty.plan(Method::Rebase, Fault::Before(refused));
    bed.step("after").await;
    assert_eq!(bed.layers("HEAD").await, LONG + 1);
    let told = bed.told.0.lock().unwrap().join("\n");
    assert!(told.contains("the chain stays long"), "{told}");
    bed.step("later").await;
    assert_eq!(bed.layers("HEAD").await, 4);
    bed.check().await;
}

#[tokio::test(start_paused = true)]
async fn it_gives_way_to_the_removal_of_its_snapshot() {
    let (bed, head) = unflattened().await;
    bed.faulty.plan(Method::Flatten, Fault::Delay(WHILE));
    let meanwhile = async {
        bed.step("after").await;
        let removed = bed.environment.remove_snapshot(head.as_str()).await;
        removed.unwrap();
    };
    let (flattened, ()) = tokio::join!(bed.environment.flatten(), meanwhile);
    assert_eq!(flattened.unwrap(), None);
    assert_eq!(bed.flattenings(), [Outcome::Done]);
    assert_eq!(bed.superseded(), 0);
    bed.check().await;
    bed.purge().await;
    bed.check_empty("after the purge");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_goes_just_before_the_swap_takes_the_short_one_along() {
    let (bed, head) = unflattened().await;
    let record = bed.environment.record().unwrap();
    let snapshot = bed.environment.show(head.as_str()).unwrap();
    bed.step("after").await;
    let images = bed.fake.images().len();
    bed.environment
        .remove_snapshot(head.as_str())
        .await
        .unwrap();
    let flattened = crate::store::Flattened {
        capture: snapshot.capture.clone(),
        object: super::super::new_object(),
        size_bytes: 1,
    };
    let store = bed.environment.store();
    let swapped = store.supersede(record.number, &snapshot, &flattened);
    assert!(!swapped.unwrap());
    assert_eq!(bed.fake.images().len(), images - 1);
}

#[tokio::test(start_paused = true)]
async fn a_purge_ends_it_and_leaves_nothing() {
    let (bed, _) = unflattened().await;
    bed.faulty.plan(Method::Flatten, Fault::Delay(WHILE));
    let purge = async {
        tokio::time::sleep(WHILE / 2).await;
        bed.purge().await;
    };
    let (flattened, ()) = tokio::join!(bed.environment.flatten(), purge);
    assert_eq!(flattened.unwrap(), None);
    bed.check_empty("after the purge");
    assert!(!bed.environment.exists().unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_is_undone_and_one_that_lives_is_let_be() {
    let (bed, head) = unflattened().await;
    bed.faulty.halt_after(2, true);
    let cut = tokio::time::timeout(WHILE, bed.environment.flatten()).await;
    assert!(cut.is_err() && bed.faulty.resume());
    let images = bed.fake.images().len();
    // Its process is this one, which lives.
    bed.step("after").await;
    assert_eq!(bed.flattenings(), [Outcome::Running]);
    assert_eq!(bed.fake.images().len(), images + 1);
    assert_eq!(bed.environment.verify(None).await.unwrap().len(), 11);
    bed.environment.remove_snapshot("HEAD~3").await.unwrap();
    assert_eq!(bed.fake.images().len(), images);
    bed.bury();
    bed.step("later").await;
    assert_eq!(bed.flattenings(), [Outcome::Undone]);
    assert_eq!(bed.fake.images().len(), images);
    let told = bed.told.0.lock().unwrap().join("\n");
    assert!(
        told.contains("flatten (operation") && told.contains("was cut off; it is undone now"),
        "{told}"
    );
    assert_eq!(bed.layers(head.as_str()).await, LONG);
    bed.check().await;
}
