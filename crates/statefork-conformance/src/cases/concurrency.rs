//! Several calls at once, and calls that are dropped.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use statefork_runtime::{ContainerId, ContainerState, ErrorKind, Phases};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Concurrency:
    ten_launches_at_once,
    one_name_goes_to_one_container,
    removals_at_once,
    an_end_from_all_sides_at_once,
    captures_of_one_container_at_once,
    a_paused_capture_is_of_one_instant [Pause, Programs],
    a_dropped_capture_leaves_nothing_frozen [Pause],
    a_dropped_launch_can_be_cleaned_up,
];

async fn ten_launches_at_once(f: &Fixture) -> Outcome {
    let lines: Vec<String> = (0..10).map(|n| format!("echo {n} ; serve")).collect();
    let containers = try_join_all(lines.iter().map(|line| f.launch(line))).await?;
    let ids: BTreeSet<_> = containers.iter().map(|container| &container.id).collect();
    check_eq!(ids.len(), 10, "different containers");
    for (n, container) in containers.iter().enumerate() {
        f.until_said(container, &n.to_string()).await?;
    }
    try_join_all(containers.iter().map(|c| f.runtime().remove(&c.id))).await?;
    check_eq!(f.runtime().find(&f.home).await?, [], "found at the end");
    Ok(())
}

async fn one_name_goes_to_one_container(f: &Fixture) -> Outcome {
    let request = f.launch_request(f.spec("serve"));
    let (base, phases) = (f.base(), Phases::new());
    let launches = (0..4).map(|_| f.runtime().launch(&base, &request, &phases));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(launches)
        .await
        .into_iter()
        .partition(Result::is_ok);
    check_eq!(won.len(), 1, "launches that succeeded");
    for launched in lost {
        fails_with("another launch", launched, &[ErrorKind::Conflict])?;
    }
    let name = ContainerId::new(&request.name);
    let found = f.runtime().inspect(&name).await?.map(|c| c.state);
    check_eq!(found, Some(ContainerState::Running), "the winner is");
    Ok(())
}

async fn removals_at_once(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    try_join_all((0..3).map(|_| f.runtime().remove(&container.id))).await?;
    let after = f.runtime().inspect(&container.id).await?;
    check!(after.is_none(), "after the removals it is {after:?}");
    let capture_of = f.launch("serve").await?;
    let capture = f.capture(&capture_of).await?;
    try_join_all((0..3).map(|_| f.runtime().remove_capture(&capture))).await?;
    Ok(())
}

async fn an_end_from_all_sides_at_once(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.until_said(&container, "serving").await?;
    let grace = Duration::from_secs(5);
    let (stopped, killed) = tokio::join!(
        f.runtime().stop(&container.id, grace),
        f.runtime().kill(&container.id)
    );
    stopped?;
    killed?;
    let state = f.state(&container).await?;
    check!(
        matches!(state, ContainerState::Exited { .. }),
        "it is {state}"
    );
    Ok(())
}

async fn captures_of_one_container_at_once(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let captures = try_join_all((0..3).map(|_| f.capture(&container))).await?;
    check_eq!(f.state(&container).await?, ContainerState::Running, "it is");
    for capture in &captures {
        let back = f.launch_from(capture, f.spec("serve")).await?;
        let one = f.file(&back, "/data/one").await?;
        check_eq!(one.as_deref(), Some("1"), "the file");
    }
    Ok(())
}

async fn a_paused_capture_is_of_one_instant(f: &Fixture) -> Outcome {
    // /b follows /a: at no instant are they more than one apart, and /b is never ahead.
    let writer = "n=0; while :; do n=$((n+1)); echo $n > /a; echo $n > /b; done";
    let spec = statefork_runtime::ContainerSpec {
        command: Some(f.shell(writer)),
        ..Default::default()
    };
    let container = f.launch_from(&f.base(), spec).await?;
    for _ in 0..3 {
        let capture = f.capture(&container).await?;
        let back = f.launch_from(&capture, f.spec("serve")).await?;
        // A write that is cut in half leaves its file empty.
        let apart = "a=$(cat /a); b=$(cat /b); [ -z \"$a\" ] || [ -z \"$b\" ] || echo $((a-b))";
        let apart = f.script(&back, apart).await?;
        check!(
            matches!(apart.as_str(), "" | "0" | "1"),
            "the files are {apart} apart"
        );
        f.runtime().remove(&back.id).await?;
    }
    Ok(())
}

async fn a_dropped_capture_leaves_nothing_frozen(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    for wait in [0, 1, 5, 20, 60] {
        let request = f.capture_request();
        let capture = f.runtime();
        let phases = Phases::new();
        let capturing = capture.capture(&container.id, &request, &phases);
        let over = tokio::time::timeout(Duration::from_millis(wait), capturing).await;
        if let Ok(result) = over {
            result?;
        }
        // The daemon goes on with what it has begun, and a command beside that freeze may be
        // stuck in it for long.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let state = f.state(&container).await?;
        if state != ContainerState::Running {
            f.until("the end of the freeze", async || {
                let state = f.state(&container).await?;
                Ok((state == ContainerState::Running).then_some(()))
            })
            .await?;
        }
        check_eq!(f.told(&container, "echo here").await?, "here", "it says");
    }
    // What a dropped call has begun may come into being after it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    check_eq!(f.state(&container).await?, ContainerState::Running, "it is");
    Ok(())
}

/// What it leaves carries the labels that the caller has logged.
async fn a_dropped_launch_can_be_cleaned_up(f: &Fixture) -> Outcome {
    let mut names = Vec::new();
    for wait in [0, 1, 30, 100] {
        let request = f.launch_request(f.spec("serve"));
        let (base, phases) = (f.base(), Phases::new());
        let launching = f.runtime().launch(&base, &request, &phases);
        let over = tokio::time::timeout(Duration::from_millis(wait), launching).await;
        if let Ok(result) = over {
            result?;
        }
        names.push(ContainerId::new(&request.name));
    }
    // What a dropped call has begun may come into being after it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for found in f.runtime().find(&f.home).await? {
        if let statefork_runtime::Found::Container { id, .. } = found {
            f.runtime().remove(&id).await?;
        }
    }
    for name in &names {
        let left = f.runtime().inspect(name).await?;
        check!(left.is_none(), "without our labels it left {left:?}");
    }
    Ok(())
}
