//! What a shim runs in the background.

use std::fs;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::fixture::Fixture;
use crate::test;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("work::one_at_a_time_and_nice", one_at_a_time),
        test("work::what_cannot_be_run_is_told", not_there),
    ]
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).into()
}

async fn one_at_a_time() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let marks = fixture.folder().join("marks");
    // Field 19 of `/proc/PID/stat` is how nice a process is.
    let script = format!(
        "sleep 0.3; cut -d' ' -f19 /proc/$$/stat >> {}; sleep 0.2",
        marks.display()
    );
    let work = shell(&script);
    // Of those that are asked for while one runs, the last one is begun after it.
    for expected in ["10\n10\n", "10\n10\n10\n10\n"] {
        for _ in 0..3 {
            shim.work(&work).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(fs::read_to_string(&marks).unwrap(), expected);
    }
    let log = fs::read_to_string(fixture.dir().join("log")).unwrap();
    assert!(log.contains("work in the background ended with"), "{log}");
}

async fn not_there() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    for command in [vec!["/nowhere/program".to_owned()], Vec::new()] {
        let error = shim.work(&command).await.unwrap_err();
        assert!(
            error.to_string().contains("work in the background"),
            "{error}"
        );
    }
    // That was none which runs.
    let mark = fixture.folder().join("mark");
    let work = shell(&format!("echo done > {}", mark.display()));
    shim.work(&work).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(fs::read_to_string(&mark).unwrap(), "done\n");
}
