//! Bytes go both ways, and ends of connections too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::application::Application;
use crate::fixture::{Client, Fixture, PORT, any_port, target, turned_away, wait_status};
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("data_goes_both_ways_with_half_close", half_close),
        test("a_slow_reader_loses_nothing", slow_reader),
        test("a_reset_is_passed_on", reset),
        test("a_server_may_speak_first", server_first),
        test("without_a_target_connections_are_closed", no_target),
        test("a_target_that_refuses_closes_its_connections", refused),
        test("ports_lead_each_to_its_own_target", several_ports),
    ]
}

/// Pseudo-random bytes: an order that is mixed up shows.
fn bytes(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(count).collect()
}

async fn led_to_listener(fixture: &Fixture) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut shim = fixture.shim().await;
    let bound = shim.listen(&[any_port()]).await.unwrap();
    let targets = BTreeMap::from([(PORT, listener.local_addr().unwrap())]);
    shim.target(&targets).await.unwrap();
    (listener, bound[0].host_address())
}

async fn half_close() {
    let fixture = Fixture::new();
    let (listener, address) = led_to_listener(&fixture).await;
    let (up, down) = (bytes(3_000_001, 1), bytes(2_000_003, 2));
    let answer = down.clone();
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        // The client's side is at its end; ours is not.
        stream.write_all(&answer).await.unwrap();
        received
    });
    let mut client = Client::connect(address).await;
    client.0.write_all(&up).await.unwrap();
    client.0.shutdown().await.unwrap();
    let mut received = Vec::new();
    client.0.read_to_end(&mut received).await.unwrap();
    assert!(received == down, "{} bytes", received.len());
    let received = application.await.unwrap();
    assert!(received == up, "{} bytes", received.len());
}

async fn slow_reader() {
    let fixture = Fixture::new();
    let (listener, address) = led_to_listener(&fixture).await;
    // More than all buffers on the way can grow to.
    let sent = bytes(1_000_003, 3).repeat(100);
    let copy = sent.clone();
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&copy).await.unwrap();
    });
    let mut client = Client::connect(address).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!application.is_finished());
    let mut received = Vec::new();
    client.0.read_to_end(&mut received).await.unwrap();
    assert!(received == sent, "{} bytes", received.len());
    application.await.unwrap();
}

async fn reset() {
    let fixture = Fixture::new();
    let (listener, address) = led_to_listener(&fixture).await;
    for from_client in [false, true] {
        let mut client = Client::connect(address).await;
        client.send("hello").await;
        let (stream, _) = listener.accept().await.unwrap();
        let mut application = Client(stream);
        assert_eq!(application.receive().await.unwrap(), "hello");
        let (ends, mut other) = match from_client {
            true => (client, application),
            false => (application, client),
        };
        ends.0.set_zero_linger().unwrap();
        drop(ends);
        let error = other.0.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

async fn server_first() {
    let fixture = Fixture::new();
    let (listener, address) = led_to_listener(&fixture).await;
    let mut client = Client::connect(address).await;
    let (stream, _) = listener.accept().await.unwrap();
    Client(stream).send("220 ready").await;
    assert_eq!(client.receive().await.unwrap(), "220 ready");
}

async fn no_target() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let bound = shim.listen(&[any_port()]).await.unwrap();
    let address = bound[0].host_address();
    turned_away(address).await;

    let application = Application::start("a").await;
    target(&mut shim, &application).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    let mut unused = Client::connect(address).await;
    wait_status(&mut shim, |status| status.open == 2).await;

    shim.target(&BTreeMap::new()).await.unwrap();
    client.is_closed().await;
    unused.is_closed().await;
    turned_away(address).await;
    wait_status(&mut shim, |status| status.open == 0 && status.held == 0).await;
}

async fn refused() {
    let fixture = Fixture::new();
    let application = Application::start("a").await;
    let (_shim, address) = fixture.leading_to(&application).await;
    let inside = application.address();
    drop(application);
    // The listener is closed within its task.
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..100 {
        turned_away(address).await;
    }
    let _application = Application::start_at(inside, "b").await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "b 1");
    let log = std::fs::read_to_string(fixture.dir().join("log")).unwrap();
    assert!(log.contains("failed to connect to"), "{log}");
    assert!(log.lines().count() < 10, "repetitions are counted: {log}");
}

async fn several_ports() {
    let fixture = Fixture::new();
    let (a, b) = (Application::start("a").await, Application::start("b").await);
    let mut shim = fixture.shim().await;
    let ports = ["1000".parse().unwrap(), "[::1]:0:2000".parse().unwrap()];
    let bound = shim.listen(&ports).await.unwrap();
    let targets = BTreeMap::from([(1000, a.address()), (2000, b.address())]);
    shim.target(&targets).await.unwrap();
    let status = shim.status().await.unwrap();
    assert_eq!(status.ports, bound);
    let shown: Vec<_> = status.targets.iter().map(|t| t.container).collect();
    assert_eq!(shown, [1000, 2000]);
    for (bound, name) in bound.iter().zip(["a", "b"]) {
        let mut client = Client::connect(bound.host_address()).await;
        assert_eq!(client.ask("1").await.unwrap(), format!("{name} 1"));
    }
}
