//! Reading the output.

use std::time::Duration;

use statefork_runtime::{Container, LogRequest};

use crate::case::{Case, Failure, Outcome, cases, check_eq};
use crate::fixture::{Fixture, as_text, collect};

pub(super) const CASES: &[Case] = cases![Logs:
    they_are_complete_and_in_order,
    output_and_errors_come_apart,
    the_tail_is_the_last_lines,
    an_exited_container_has_its_logs,
    following_shows_what_comes_and_ends_with_the_container,
    following_an_exited_container_ends,
    a_follower_starts_at_the_tail,
];

/// Longer than any follower takes to learn of a container's end.
const FOLLOW_LIMIT: Duration = Duration::from_secs(30);

async fn read(f: &Fixture, container: &Container, request: LogRequest) -> Outcome<String> {
    let stream = f.runtime().logs(&container.id, request).await?;
    match tokio::time::timeout(FOLLOW_LIMIT, collect(stream)).await {
        Ok(read) => Ok(as_text(&read?.0)),
        Err(_) => Err(Failure::new("the stream does not end")),
    }
}

fn tail(lines: u32) -> LogRequest {
    LogRequest {
        follow: false,
        tail: Some(lines),
    }
}

const FOLLOW: LogRequest = LogRequest {
    follow: true,
    tail: None,
};

async fn they_are_complete_and_in_order(f: &Fixture) -> Outcome {
    let container = f.launch("seq 1 1500 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let out = read(f, &container, LogRequest::default()).await?;
    let expected = (1..=1500).map(|number| number.to_string());
    let expected: Vec<String> = expected.chain(["serving".into()]).collect();
    check_eq!(out.lines().collect::<Vec<_>>(), expected, "the lines");
    Ok(())
}

async fn output_and_errors_come_apart(f: &Fixture) -> Outcome {
    let container = f
        .launch("echo one ; warn two ; echo three ; warn four")
        .await?;
    f.exit(&container).await?;
    f.until_said(&container, "four").await?;
    let (out, err) = f.logs(&container).await?;
    check_eq!(out, "one\nthree", "standard output");
    check_eq!(err, "two\nfour", "standard error");
    Ok(())
}

async fn the_tail_is_the_last_lines(f: &Fixture) -> Outcome {
    let container = f.launch("seq 1 10 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let three = read(f, &container, tail(3)).await?;
    check_eq!(three, "9\n10\nserving", "three lines");
    check_eq!(read(f, &container, tail(0)).await?, "", "no lines");
    let all = read(f, &container, tail(100)).await?;
    check_eq!(all.lines().count(), 11, "more lines than there are");
    Ok(())
}

async fn an_exited_container_has_its_logs(f: &Fixture) -> Outcome {
    let container = f.launch("echo said ; crash badly").await?;
    check_eq!(f.exit(&container).await?, Some(1), "the exit code");
    f.until_said(&container, "badly").await?;
    let (out, err) = f.logs(&container).await?;
    check_eq!((out.as_str(), err.as_str()), ("said", "badly"), "the logs");
    Ok(())
}

async fn following_shows_what_comes_and_ends_with_the_container(f: &Fixture) -> Outcome {
    let container = f.launch("echo before ; sleep 1 ; echo after").await?;
    let out = read(f, &container, FOLLOW).await?;
    check_eq!(out, "before\nafter", "the follower read");
    Ok(())
}

async fn following_an_exited_container_ends(f: &Fixture) -> Outcome {
    let container = f.launch("echo said").await?;
    f.exit(&container).await?;
    f.until_said(&container, "said").await?;
    let out = read(f, &container, FOLLOW).await?;
    check_eq!(out, "said", "the follower read");
    Ok(())
}

async fn a_follower_starts_at_the_tail(f: &Fixture) -> Outcome {
    let container = f.launch("seq 1 5 ; sleep 2 ; echo after").await?;
    f.until_said(&container, "5").await?;
    let request = LogRequest {
        follow: true,
        tail: Some(1),
    };
    let out = read(f, &container, request).await?;
    check_eq!(out, "5\nafter", "the follower read");
    Ok(())
}
