//! Which ports are bound, and which stay so.

use std::collections::BTreeMap;
use std::net::TcpListener;

use libtest_mimic::Trial;
use statefork_runtime::PortMapping;
use statefork_shim::ShimErrorKind;

use crate::application::Application;
use crate::fixture::{Client, Fixture, PORT, any_port, turned_away};
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_port_in_use_changes_nothing", in_use),
        test("a_port_stays_bound_when_asked_for_again", kept),
        test("a_port_that_is_not_named_is_closed", closed),
        test("a_port_may_change_its_address", widened),
        test("an_address_that_the_host_lacks_is_named", no_such_address),
    ]
}

fn mapping(text: &str) -> PortMapping {
    text.parse().unwrap()
}

/// A mapping as it was bound, but to another address of the host.
fn at(bound: PortMapping, ip: &str) -> PortMapping {
    PortMapping {
        ip: ip.parse().unwrap(),
        ..bound
    }
}

async fn in_use() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = foreign.local_addr().unwrap();
    let wanted = [
        mapping("1000"),
        mapping(&format!("{}:2000", taken.port())),
        mapping("3000"),
    ];
    let error = shim.listen(&wanted).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::PortInUse);
    assert_eq!(
        error.to_string(),
        format!("listen on {taken}: the port is in use")
    );
    let status = shim.status().await.unwrap();
    assert_eq!(status.ports.len(), 1);
    assert_eq!(status.ports[0].host_address(), address);
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");

    drop(foreign);
    assert_eq!(shim.listen(&wanted).await.unwrap().len(), 3);
    // The shim's own port, twice in one request.
    let twice = [mapping("127.0.0.1:0:1"), wanted[1], wanted[1]];
    let error = shim.listen(&twice).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::PortInUse);
}

async fn kept() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    let first = shim.listen(&[any_port()]).await.unwrap();
    assert_eq!(first[0].host_address(), address);
    assert_eq!(shim.listen(&first).await.unwrap(), first, "by its number");
    let both = shim.listen(&[mapping("9000"), any_port()]).await.unwrap();
    assert_eq!(both[1], first[0], "in the order of the request");
    assert_ne!(both[0].host, both[1].host);
    assert_eq!(client.ask("2").await.unwrap(), "a 2", "it was left alone");

    // Another port of the container behind the same port of the host.
    let other = PortMapping {
        container: 9000,
        ..first[0]
    };
    assert_eq!(shim.listen(&[other]).await.unwrap(), [other]);
    turned_away(address).await;
    let b = Application::start("b").await;
    let targets = BTreeMap::from([(PORT, a.address()), (9000, b.address())]);
    shim.target(&targets).await.unwrap();
    let mut later = Client::connect(address).await;
    assert_eq!(later.ask("3").await.unwrap(), "b 3");
    assert_eq!(client.ask("4").await.unwrap(), "a 4", "it keeps its port");
}

async fn closed() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    assert_eq!(shim.listen(&[]).await.unwrap(), []);
    // On the answer it is free.
    let _ours = TcpListener::bind(address).unwrap();
    assert_eq!(client.ask("2").await.unwrap(), "a 2");
    assert_eq!(shim.status().await.unwrap().ports, []);
}

async fn widened() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (mut shim, address) = fixture.leading_to(&a).await;
    let narrow = shim.status().await.unwrap().ports[0];
    let wide = at(narrow, "0.0.0.0");
    assert_eq!(shim.listen(&[wide]).await.unwrap(), [wide]);
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    let error = TcpListener::bind(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);

    // What cannot be had leaves the wide one; then the narrow one is had again.
    let lacking = [narrow, mapping(&format!("192.0.2.1:{}:1", narrow.host))];
    let error = shim.listen(&lacking).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::AddressNotAvailable);
    assert_eq!(shim.status().await.unwrap().ports, [wide]);
    assert_eq!(shim.listen(&[narrow]).await.unwrap(), [narrow]);
    let mut later = Client::connect(address).await;
    assert_eq!(later.ask("2").await.unwrap(), "a 2");
    assert_eq!(client.ask("3").await.unwrap(), "a 3");
}

async fn no_such_address() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let error = shim.listen(&[mapping("192.0.2.1:0:80")]).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::AddressNotAvailable);
}
