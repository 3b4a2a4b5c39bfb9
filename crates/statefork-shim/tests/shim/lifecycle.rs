//! Shims begin, end and follow one another.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::process::Signal;
use statefork_shim::protocol::VERSION;
use statefork_shim::{Shim, ShimErrorKind};

use crate::application::Application;
use crate::fixture::{Client, Fixture, any_port, helper, processes_of, target, wait_gone};
use crate::{other_version, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_killed_shim_is_replaced_on_the_same_port", killed),
        test("starts_at_once_give_one_shim", at_once),
        test("an_older_version_is_replaced", older_version),
        test("a_newer_version_is_left_alone", newer_version),
        test("a_long_path_is_no_obstacle", long_path),
        test("a_shim_without_its_directory_ends", directory_gone),
        test("a_successors_socket_is_left_alone", foreign_socket),
        test("after_a_shutdown_the_ports_are_free", shutdown),
        test("a_shim_that_hangs_is_killed", hangs),
        test("a_directory_open_to_others_is_refused", not_private),
        test("a_missing_helper_is_named", no_helper),
    ]
}

async fn killed() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (shim, address) = fixture.leading_to(&a).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    let ports = {
        let mut other = fixture.shim().await;
        other.status().await.unwrap().ports
    };
    fixture.signal(&shim, Signal::KILL);
    wait_gone(fixture.dir()).await;
    client.is_closed().await;
    assert!(fixture.dir().join("sock").exists(), "nobody removed it");
    assert!(Shim::connect(fixture.dir()).await.unwrap().is_none());

    let mut next = fixture.shim().await;
    assert_ne!(next.pid(), shim.pid());
    assert_eq!(next.listen(&ports).await.unwrap(), ports);
    target(&mut next, &a).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("2").await.unwrap(), "a 2");
}

async fn at_once() {
    let fixture = Fixture::new();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let dir = fixture.dir().to_owned();
            tokio::spawn(async move { Shim::ensure(&helper(), &dir).await.unwrap().pid() })
        })
        .collect();
    let mut pids = Vec::new();
    for start in starts {
        pids.push(start.await.unwrap());
    }
    pids.dedup();
    assert_eq!(pids.len(), 1);
    assert_eq!(processes_of(fixture.dir()).len(), 1);
}

fn make_private(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}

async fn older_version() {
    let fixture = Fixture::new();
    make_private(fixture.dir());
    let mut old = other_version::start(VERSION - 1, fixture.dir());
    // It is a child of this test: reaped, so that its end is seen.
    let old_pid = old.id();
    let reaper = std::thread::spawn(move || old.wait().unwrap());
    let mut shim = fixture.shim().await;
    assert_ne!(shim.pid(), old_pid);
    assert_eq!(shim.hello().hello, VERSION);
    assert!(reaper.join().unwrap().success());
    assert_eq!(shim.listen(&[any_port()]).await.unwrap().len(), 1);
}

async fn newer_version() {
    let fixture = Fixture::new();
    make_private(fixture.dir());
    let mut new = other_version::start(VERSION + 1, fixture.dir());
    let error = Shim::ensure(&helper(), fixture.dir()).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::Version);
    let mut shim = Shim::connect(fixture.dir()).await.unwrap().unwrap();
    let error = shim.status().await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::Version);
    shim.shutdown().await.unwrap();
    assert!(new.wait().unwrap().success());
}

async fn long_path() {
    let part = "a".repeat(60);
    let fixture = Fixture::with_dir(&format!("{part}/{part}/{part}"));
    assert!(fixture.dir().as_os_str().len() > 107);
    let a = Application::start("a").await;
    let (shim, address) = fixture.leading_to(&a).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    shim.shutdown().await.unwrap();
    assert!(Shim::connect(fixture.dir()).await.unwrap().is_none());
}

async fn directory_gone() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (_shim, address) = fixture.leading_to(&a).await;
    fs::remove_dir_all(fixture.dir()).unwrap();
    wait_gone(fixture.dir()).await;
    let _ours = TcpListener::bind(address).unwrap();
}

async fn foreign_socket() {
    let fixture = Fixture::new();
    let shim = fixture.shim().await;
    let socket = fixture.dir().join("sock");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "another's").unwrap();
    wait_gone(fixture.dir()).await;
    assert_eq!(fs::read_to_string(&socket).unwrap(), "another's");
    drop(shim);

    // Also when it ends because it is asked to.
    let shim = fixture.shim().await;
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "another's").unwrap();
    shim.shutdown().await.unwrap();
    assert_eq!(fs::read_to_string(&socket).unwrap(), "another's");
}

async fn shutdown() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    for _ in 0..5 {
        let (shim, address) = fixture.leading_to(&a).await;
        let mut client = Client::connect(address).await;
        assert_eq!(client.ask("1").await.unwrap(), "a 1");
        let begun = Instant::now();
        shim.shutdown().await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        let _ours = TcpListener::bind(address).unwrap();
        assert!(processes_of(fixture.dir()).is_empty());
        assert!(!fixture.dir().join("sock").exists());
        client.is_closed().await;
    }
}

async fn hangs() {
    let fixture = Fixture::new();
    let shim = fixture.shim().await;
    fixture.signal(&shim, Signal::STOP);
    shim.shutdown().await.unwrap();
    assert!(processes_of(fixture.dir()).is_empty());
}

async fn not_private() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.dir()).unwrap();
    fs::set_permissions(fixture.dir(), fs::Permissions::from_mode(0o750)).unwrap();
    let error = Shim::ensure(&helper(), fixture.dir()).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::StartFailed);
    assert!(error.to_string().contains("others can enter it"), "{error}");
    assert!(processes_of(fixture.dir()).is_empty());
}

async fn no_helper() {
    let fixture = Fixture::new();
    let helper = fixture.folder().join("absent");
    let error = Shim::ensure(&helper, fixture.dir()).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::HelperMissing);
    let program = fixture.folder().join("program");
    fs::write(&program, "#!/bin/sh\necho no shim >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let error = Shim::ensure(&program, fixture.dir()).await.unwrap_err();
    assert_eq!(error.kind(), ShimErrorKind::StartFailed);
    assert!(error.to_string().contains("no shim"), "{error}");
}
