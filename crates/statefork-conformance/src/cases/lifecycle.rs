//! Starting, stopping, pausing and removing.

use std::time::Duration;

use statefork_runtime::{ContainerId, ContainerState, ErrorKind, ExecRequest};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use futures_util::StreamExt;

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Lifecycle:
    a_launched_container_runs,
    inspect_takes_id_or_name,
    an_exit_code_is_kept,
    start_again_keeps_changes,
    start_of_a_running_container_is_success,
    start_of_a_paused_container_is_refused [Pause],
    stop_asks_politely,
    stop_kills_after_the_grace,
    stop_works_on_a_paused_container [Pause],
    kill_returns_when_it_no_longer_runs,
    kill_works_on_a_paused_container [Pause],
    stop_and_kill_of_an_exited_container_are_success,
    pause_and_unpause_show_in_the_state [Pause],
    pause_and_unpause_are_idempotent [Pause],
    pause_freezes_further_commands_too [Pause],
    pause_of_an_exited_container_is_refused [Pause],
    remove_works_in_every_state,
    remove_works_on_a_paused_container [Pause],
    remove_of_an_absent_container_is_success,
];

/// More than any runtime takes for a polite stop, less than a grace that was waited for.
const PROMPT: Duration = Duration::from_secs(8);
const GRACE: Duration = Duration::from_secs(10);
const KILLED: ContainerState = ContainerState::Exited { code: Some(137) };

async fn a_launched_container_runs(f: &Fixture) -> Outcome {
    let request = f.launch_request(f.spec("serve"));
    let launched = f
        .runtime()
        .launch(&f.base(), &request, &Default::default())
        .await?;
    check_eq!(launched.name, request.name, "its name");
    check_eq!(launched.state, ContainerState::Running, "its state");
    check_eq!(&launched.image, f.image(), "its image");
    check!(launched.pid.is_some(), "it has no pid");
    for (name, value) in &request.labels {
        check_eq!(launched.labels.get(name), Some(value), "its label {name}");
    }
    f.until_said(&launched, "serving").await
}

async fn inspect_takes_id_or_name(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let by_id = f.runtime().inspect(&container.id).await?;
    let name = ContainerId::new(&container.name);
    let by_name = f.runtime().inspect(&name).await?;
    check_eq!(by_id.map(|c| c.id), Some(container.id.clone()), "by id");
    check_eq!(by_name.map(|c| c.id), Some(container.id), "by name");
    let absent = f.runtime().inspect(&ContainerId::new(f.absent())).await?;
    check!(absent.is_none(), "an absent container is {absent:?}");
    Ok(())
}

async fn an_exit_code_is_kept(f: &Fixture) -> Outcome {
    let container = f.launch("exit 3").await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code");
    check_eq!(f.inspect(&container).await?.pid, None, "the pid");
    Ok(())
}

async fn start_again_keeps_changes(f: &Fixture) -> Outcome {
    let container = f.launch("cat /mark ; write /mark here").await?;
    check_eq!(f.exit(&container).await?, Some(0), "the first exit code");
    f.runtime().start(&container.id).await?;
    f.exit(&container).await?;
    f.until_said(&container, "here").await
}

async fn start_of_a_running_container_is_success(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().start(&container.id).await?;
    let after = f.inspect(&container).await?;
    check_eq!(after.state, ContainerState::Running, "its state");
    check_eq!(after.pid, container.pid, "its pid");
    Ok(())
}

async fn start_of_a_paused_container_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().pause(&container.id).await?;
    let started = f.runtime().start(&container.id).await;
    fails_with(
        "start of a paused container",
        started,
        &[ErrorKind::WrongState],
    )?;
    check_eq!(
        f.state(&container).await?,
        ContainerState::Paused,
        "its state"
    );
    Ok(())
}

async fn stop_asks_politely(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.until_said(&container, "serving").await?;
    let begun = Instant::now();
    f.runtime().stop(&container.id, GRACE).await?;
    check!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    check_eq!(
        f.state(&container).await?,
        ContainerState::Exited { code: Some(0) },
        "its state"
    );
    Ok(())
}

async fn stop_kills_after_the_grace(f: &Fixture) -> Outcome {
    let container = f.launch("echo asleep ; sleep 1000").await?;
    f.until_said(&container, "asleep").await?;
    let begun = Instant::now();
    f.runtime()
        .stop(&container.id, Duration::from_secs(1))
        .await?;
    check!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    check_eq!(f.state(&container).await?, KILLED, "its state");
    Ok(())
}

async fn stop_works_on_a_paused_container(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.until_said(&container, "serving").await?;
    f.runtime().pause(&container.id).await?;
    f.runtime()
        .stop(&container.id, Duration::from_secs(1))
        .await?;
    let state = f.state(&container).await?;
    check!(
        matches!(state, ContainerState::Exited { .. }),
        "it is {state}"
    );
    Ok(())
}

async fn kill_returns_when_it_no_longer_runs(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().kill(&container.id).await?;
    check_eq!(f.state(&container).await?, KILLED, "its state");
    Ok(())
}

async fn kill_works_on_a_paused_container(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().pause(&container.id).await?;
    f.runtime().kill(&container.id).await?;
    check_eq!(f.state(&container).await?, KILLED, "its state");
    Ok(())
}

async fn stop_and_kill_of_an_exited_container_are_success(f: &Fixture) -> Outcome {
    let container = f.launch("exit 3").await?;
    f.exit(&container).await?;
    f.runtime().stop(&container.id, GRACE).await?;
    f.runtime().kill(&container.id).await?;
    check_eq!(f.exit(&container).await?, Some(3), "the exit code");
    Ok(())
}

async fn pause_and_unpause_show_in_the_state(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().pause(&container.id).await?;
    let paused = f.inspect(&container).await?;
    check_eq!(paused.state, ContainerState::Paused, "the state");
    check_eq!(paused.pid, container.pid, "the pid while paused");
    f.runtime().unpause(&container.id).await?;
    let resumed = f.inspect(&container).await?;
    check_eq!(resumed.state, ContainerState::Running, "the state after");
    check_eq!(resumed.pid, container.pid, "the pid after");
    Ok(())
}

async fn pause_and_unpause_are_idempotent(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().unpause(&container.id).await?;
    f.runtime().pause(&container.id).await?;
    f.runtime().pause(&container.id).await?;
    check_eq!(
        f.state(&container).await?,
        ContainerState::Paused,
        "the state"
    );
    f.runtime().unpause(&container.id).await?;
    f.runtime().unpause(&container.id).await?;
    check_eq!(
        f.state(&container).await?,
        ContainerState::Running,
        "the state"
    );
    Ok(())
}

async fn pause_freezes_further_commands_too(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = ExecRequest {
        argv: f.argv("cat"),
        stdin: true,
        ..ExecRequest::default()
    };
    let mut exec = f.runtime().exec(&container.id, &request).await?;
    let Some(mut input) = exec.input else {
        return Err(crate::case::Failure::new("there is no standard input"));
    };
    input.write_all(b"before\n").await?;
    input.flush().await?;
    check!(exec.output.next().await.is_some(), "there is no output");
    f.runtime().pause(&container.id).await?;
    input.write_all(b"after\n").await?;
    input.flush().await?;
    let said = tokio::time::timeout(Duration::from_millis(500), exec.output.next()).await;
    check!(said.is_err(), "a paused command wrote {said:?}");
    f.runtime().unpause(&container.id).await?;
    check!(
        exec.output.next().await.is_some(),
        "there is no output after"
    );
    input.shutdown().await?;
    Ok(())
}

async fn pause_of_an_exited_container_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("true").await?;
    f.exit(&container).await?;
    let paused = f.runtime().pause(&container.id).await;
    fails_with("pause", paused, &[ErrorKind::WrongState])?;
    let unpaused = f.runtime().unpause(&container.id).await;
    fails_with("unpause", unpaused, &[ErrorKind::WrongState])
}

async fn remove_works_in_every_state(f: &Fixture) -> Outcome {
    for line in ["serve", "exit 1"] {
        let container = f.launch(line).await?;
        if line != "serve" {
            f.exit(&container).await?;
        }
        f.runtime().remove(&container.id).await?;
        let after = f.runtime().inspect(&container.id).await?;
        check!(after.is_none(), "after the removal it is {after:?}");
    }
    Ok(())
}

async fn remove_works_on_a_paused_container(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.runtime().pause(&container.id).await?;
    f.runtime().remove(&container.id).await?;
    let after = f.runtime().inspect(&container.id).await?;
    check!(after.is_none(), "after the removal it is {after:?}");
    Ok(())
}

async fn remove_of_an_absent_container_is_success(f: &Fixture) -> Outcome {
    f.runtime().remove(&ContainerId::new(f.absent())).await?;
    let container = f.launch("serve").await?;
    f.runtime().remove(&container.id).await?;
    f.runtime().remove(&container.id).await?;
    Ok(())
}
