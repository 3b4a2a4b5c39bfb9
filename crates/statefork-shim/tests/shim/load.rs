//! Retargeting while clients come every few ms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::application::Application;
use crate::fixture::{Client, Fixture, LONG, target};
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("nobody_is_turned_away_at_a_handover", handovers)]
}

/// How long the application takes to come back.
const GAP: Duration = Duration::from_millis(40);

async fn handovers() {
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let (mut shim, address) = fixture.leading_to(&a).await;
    let ended = Arc::new(AtomicBool::new(false));
    let clients = tokio::spawn(come(address, Arc::clone(&ended)));
    for round in 0..20 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        shim.hold(LONG).await.unwrap();
        // What was under way is answered by now; the rest waits.
        tokio::time::sleep(GAP).await;
        if round % 5 == 4 {
            shim.release().await.unwrap();
        } else {
            let next = if round % 2 == 0 { &b } else { &a };
            target(&mut shim, next).await;
        }
    }
    ended.store(true, Ordering::Relaxed);
    let answers = clients.await.unwrap();
    let of = |name: &str| {
        answers
            .iter()
            .filter(|answer| answer.starts_with(name))
            .count()
    };
    assert!(
        of("a ") > 20 && of("b ") > 20,
        "{} a, {} b",
        of("a "),
        of("b ")
    );
    assert_eq!(of("a ") + of("b "), answers.len());
}

/// A client every 2 ms until the end; the answer of each.
async fn come(address: SocketAddr, ended: Arc<AtomicBool>) -> Vec<String> {
    let mut tasks = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        tasks.push(tokio::spawn(async move {
            Client::connect(address).await.ask("hello").await.unwrap()
        }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
