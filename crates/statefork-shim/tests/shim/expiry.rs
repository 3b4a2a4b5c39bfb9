//! What a shim does at a moment that was set ahead.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use libtest_mimic::Trial;

use crate::fixture::Fixture;
use crate::test;

/// How long what is due may take to be seen.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "expiry::the_last_moment_that_was_set_counts",
            the_last_counts,
        ),
        test("expiry::a_moment_that_has_passed_is_now", passed),
    ]
}

fn write(mark: &Path, text: &str) -> Vec<String> {
    let script = format!("echo {text} >> {}", mark.display());
    ["sh".to_owned(), "-c".to_owned(), script].into()
}

fn in_ms(later: u64) -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(now.as_millis()).unwrap() + later
}

async fn wait_for(mark: &Path) -> String {
    let begun = Instant::now();
    while !mark.exists() || fs::read_to_string(mark).unwrap().is_empty() {
        assert!(begun.elapsed() < SOON, "it is not done");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::read_to_string(mark).unwrap()
}

async fn the_last_counts() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let mark = fixture.folder().join("mark");
    shim.expire(in_ms(100), &write(&mark, "first"))
        .await
        .unwrap();
    let second = in_ms(700);
    shim.expire(second, &write(&mark, "second")).await.unwrap();
    // Nobody has to stay for it.
    drop(shim);
    assert_eq!(wait_for(&mark).await, "second\n");
    assert!(in_ms(0) >= second, "it was too early");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read_to_string(&mark).unwrap(), "second\n");
}

async fn passed() {
    let fixture = Fixture::new();
    let mut shim = fixture.shim().await;
    let mark = fixture.folder().join("mark");
    shim.expire(in_ms(0) - 5000, &write(&mark, "now"))
        .await
        .unwrap();
    assert_eq!(wait_for(&mark).await, "now\n");
    shim.expire(u64::MAX, &write(&mark, "never")).await.unwrap();
    let error = shim.expire(0, &[]).await.unwrap_err();
    assert!(error.to_string().contains("do something later"), "{error}");
}
