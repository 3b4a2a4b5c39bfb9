//! Connections wait, and go on where they should.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use statefork_shim::protocol::MAX_HELD;

use crate::application::Application;
use crate::fixture::{Client, Fixture, LONG, target, wait_status};
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("what_waits_goes_to_the_new_target", hold_then_target),
        test("a_release_goes_to_the_former_target", release),
        test("a_limit_closes_what_waits", limit),
        test("the_end_of_the_command_releases", command_ends),
        test("a_second_hold_replaces_the_first", second_hold),
        test("only_an_unused_connection_is_moved", moved),
        test("at_most_1024_wait_and_none_is_refused", most),
    ]
}

async fn hold_then_target() {
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let (mut shim, address) = fixture.leading_to(&a).await;
    shim.hold(LONG).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    client.is_silent().await;
    let status = shim.status().await.unwrap();
    assert!(status.holding);
    assert_eq!((status.open, status.held), (0, 1));
    target(&mut shim, &b).await;
    assert_eq!(client.receive().await.unwrap(), "b 1");
    let status = shim.status().await.unwrap();
    assert!(!status.holding);
    assert_eq!((status.open, status.held), (1, 0));
}

async fn release() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    shim.hold(LONG).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    wait_status(&mut shim, |status| status.held == 1).await;
    // By another command.
    fixture.shim().await.release().await.unwrap();
    assert_eq!(client.receive().await.unwrap(), "a 1");
    shim.release().await.unwrap();
    assert!(!shim.status().await.unwrap().holding);
}

async fn limit() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let begun = Instant::now();
    shim.hold(Duration::from_millis(150)).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    client.is_closed().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("2").await.unwrap(), "a 2");
    assert!(!shim.status().await.unwrap().holding);

    // The limit of a hold that has ended does not end the next.
    shim.hold(Duration::from_millis(50)).await.unwrap();
    shim.release().await.unwrap();
    shim.hold(LONG).await.unwrap();
    let mut client = Client::connect(address).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.is_silent().await;
    assert!(shim.status().await.unwrap().holding);
}

async fn command_ends() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let mut other = fixture.shim().await;
    shim.hold(LONG).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    wait_status(&mut other, |status| status.held == 1).await;
    drop(shim);
    assert_eq!(client.receive().await.unwrap(), "a 1");
}

async fn second_hold() {
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let (mut first, address) = fixture.leading_to(&a).await;
    first.hold(Duration::from_millis(100)).await.unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    wait_status(&mut first, |status| status.held == 1).await;
    let mut second = fixture.shim().await;
    second.hold(LONG).await.unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.is_silent().await;
    target(&mut second, &b).await;
    assert_eq!(client.receive().await.unwrap(), "b 1");
}

async fn moved() {
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let (mut shim, address) = fixture.leading_to(&a).await;
    let mut used = Client::connect(address).await;
    assert_eq!(used.ask("1").await.unwrap(), "a 1");
    let mut unused = Client::connect(address).await;
    wait_status(&mut shim, |status| status.open == 2).await;

    shim.hold(LONG).await.unwrap();
    wait_status(&mut shim, |status| status.open == 1 && status.held == 1).await;
    assert_eq!(used.ask("2").await.unwrap(), "a 2", "it goes on");
    target(&mut shim, &a).await;
    assert_eq!(
        used.ask("3").await.unwrap(),
        "a 3",
        "it leads there already"
    );
    wait_status(&mut shim, |status| status.open == 2).await;

    // Without a hold, too.
    target(&mut shim, &b).await;
    used.is_closed().await;
    assert_eq!(unused.ask("4").await.unwrap(), "b 4");
}

async fn most() {
    const CLIENTS: usize = 1100;
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let (mut shim, address) = fixture.leading_to(&a).await;
    let mut unused = Client::connect(address).await;
    wait_status(&mut shim, |status| status.open == 1).await;
    shim.hold(LONG).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Client::connect(address).await;
        client.send(&number.to_string()).await;
        clients.push(client);
    }
    let most = u32::try_from(MAX_HELD).unwrap();
    wait_status(&mut shim, |status| status.held == most).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(shim.status().await.unwrap().held, most);
    target(&mut shim, &b).await;
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive().await.unwrap(), format!("b {number}"));
    }
    assert_eq!(unused.ask("too").await.unwrap(), "b too");
}
