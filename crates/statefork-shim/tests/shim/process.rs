//! What a shim is as a process, and what it does with what it does not understand.

use std::fs::{self, File};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, Signal};
use statefork_shim::protocol::Hello;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

use crate::application::Application;
use crate::fixture::{Client, Fixture, pid, wait_gone};
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("it_leaves_the_command_that_started_it", detached),
        test("only_sigterm_ends_it", signals),
        test("without_descriptors_it_waits", no_descriptors),
        test("what_it_cannot_read_it_refuses", unreadable),
        test("another_version_may_only_shut_it_down", wrong_version),
    ]
}

async fn detached() {
    let fixture = Fixture::new();
    let path = fixture.folder().join("inherited");
    let inherited = File::create(&path).unwrap();
    rustix::io::fcntl_setfd(&inherited, FdFlags::empty()).unwrap();
    let shim = fixture.shim().await;
    let process = pid(shim.pid());
    let proc = format!("/proc/{}", shim.pid());
    assert_eq!(rustix::process::getsid(Some(process)).unwrap(), process);
    assert_eq!(
        fs::read_link(format!("{proc}/cwd")).unwrap().as_os_str(),
        "/"
    );
    assert_eq!(
        fs::read_to_string(format!("{proc}/comm")).unwrap(),
        "statefork-shim\n"
    );
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    assert!(status.contains("\nUmask:\t0077\n"), "{status}");
    assert!(status.contains("\nThreads:\t1\n"), "{status}");
    for descriptor in fs::read_dir(format!("{proc}/fd")).unwrap() {
        let target = fs::read_link(descriptor.unwrap().path()).unwrap();
        assert_ne!(target, path);
    }
    for (descriptor, expected) in [
        ("0", "/dev/null".into()),
        ("1", "/dev/null".into()),
        ("2", fixture.dir().join("log")),
    ] {
        let target = fs::read_link(format!("{proc}/fd/{descriptor}")).unwrap();
        assert_eq!(target, expected, "descriptor {descriptor}");
    }
    for file in ["sock", "lock", "log"] {
        let stat = rustix::fs::stat(fixture.dir().join(file)).unwrap();
        assert_eq!(
            Mode::from_raw_mode(stat.st_mode),
            Mode::RUSR | Mode::WUSR,
            "{file}"
        );
    }
}

async fn signals() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (shim, address) = fixture.leading_to(&a).await;
    for signal in [Signal::HUP, Signal::INT, Signal::PIPE] {
        fixture.signal(&shim, signal);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask("1").await.unwrap(), "a 1");
    fixture.signal(&shim, Signal::TERM);
    wait_gone(fixture.dir()).await;
    assert!(!fixture.dir().join("sock").exists());
    let log = fs::read_to_string(fixture.dir().join("log")).unwrap();
    assert!(log.contains("ends: by SIGTERM"), "{log}");
}

/// Processor time of a process, in ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, fields 14 and 15 in proc_pid_stat(5); the first here is the third there.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn no_descriptors() {
    let fixture = Fixture::new();
    let a = Application::start("a").await;
    let (shim, address) = fixture.leading_to(&a).await;
    let process = Some(pid(shim.pid()));
    let before = rustix::process::getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(3),
        maximum: before.maximum,
    };
    let own = rustix::process::prlimit(process, Resource::Nofile, none).unwrap();
    let mut client = Client::connect(address).await;
    client.send("1").await;
    let spent = ticks(shim.pid());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = ticks(shim.pid()) - spent;
    assert!(spent < 10, "{spent} ticks in a second");
    rustix::process::prlimit(process, Resource::Nofile, own).unwrap();
    assert_eq!(client.receive().await.unwrap(), "a 1");
    let log = fs::read_to_string(fixture.dir().join("log")).unwrap();
    assert!(log.contains("failed to accept a connection"), "{log}");
}

/// A control connection by hand.
struct Raw(Lines<BufReader<UnixStream>>);

impl Raw {
    async fn connect(fixture: &Fixture) -> Self {
        let stream = UnixStream::connect(fixture.dir().join("sock"))
            .await
            .unwrap();
        Self(BufReader::new(stream).lines())
    }

    async fn greet(&mut self, version: u32) {
        let line = format!(r#"{{"hello":{version},"pid":1,"build":"9"}}"#);
        let answer = self.say(&line).await.unwrap();
        let hello: Hello = serde_json::from_str(&answer).unwrap();
        assert_eq!(hello.hello, statefork_shim::protocol::VERSION);
    }

    async fn say(&mut self, line: &str) -> Option<String> {
        let line = format!("{line}\n");
        let stream = self.0.get_mut().get_mut();
        stream.write_all(line.as_bytes()).await.unwrap();
        self.0.next_line().await.unwrap()
    }
}

async fn unreadable() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let mut early = Raw::connect(&fixture).await;
    let answer = early.say(r#"{"id":7,"request":"status"}"#).await.unwrap();
    assert_eq!(
        answer,
        r#"{"id":7,"reply":"failed","kind":"refused","reason":"it comes before the handshake"}"#
    );
    assert_eq!(early.0.next_line().await.unwrap(), None);

    let mut raw = Raw::connect(&fixture).await;
    raw.greet(statefork_shim::protocol::VERSION).await;
    let answer = raw.say(r#"{"id":8,"request":"dance"}"#).await.unwrap();
    assert!(
        answer.starts_with(r#"{"id":8,"reply":"failed","kind":"refused""#),
        "{answer}"
    );
    let twice = r#"{"container":1,"address":"127.0.0.1:1"}"#;
    let line = format!(r#"{{"id":9,"request":"target","targets":[{twice},{twice}]}}"#);
    let answer = raw.say(&line).await.unwrap();
    assert!(answer.contains("named twice"), "{answer}");
    let answer = raw
        .say(r#"{"id":10,"request":"release","new":1}"#)
        .await
        .unwrap();
    assert_eq!(
        answer, r#"{"id":10,"reply":"done"}"#,
        "unknown keys are ignored"
    );
    assert_eq!(raw.say("nonsense").await, None);
    shim.status().await.unwrap();
}

async fn wrong_version() {
    let fixture = Fixture::new();
    let _shim = fixture.shim().await;
    let mut raw = Raw::connect(&fixture).await;
    raw.greet(0).await;
    let answer = raw.say(r#"{"id":1,"request":"status"}"#).await.unwrap();
    assert!(answer.contains("not 0"), "{answer}");
    let answer = raw.say(r#"{"id":2,"request":"shutdown"}"#).await.unwrap();
    assert_eq!(answer, r#"{"id":2,"reply":"done"}"#);
    wait_gone(fixture.dir()).await;
}
