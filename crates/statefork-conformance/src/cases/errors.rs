//! Kinds of errors.

use std::time::Duration;

use statefork_runtime::{
    ContainerId, ContainerState, ErrorKind, ExecRequest, LogRequest, ObjectKind, Phases, Result,
    RuntimeOptions,
};
use tokio::net::UnixListener;

use crate::case::{Case, Failure, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Errors:
    an_absent_container_is_not_found,
    a_taken_container_name_is_refused,
    an_impossible_container_name_is_refused,
    an_impossible_host_name_is_refused,
    an_empty_command_is_refused,
    an_error_names_its_object,
    nobody_at_the_socket_is_unreachable [Daemon],
    a_silent_daemon_is_given_up [Daemon],
];

async fn an_absent_container_is_not_found(f: &Fixture) -> Outcome {
    let absent = ContainerId::new(f.absent());
    let kinds = [ErrorKind::NotFound(ObjectKind::Container)];
    let runtime = f.runtime();
    let request = ExecRequest {
        argv: f.argv("true"),
        ..ExecRequest::default()
    };
    let second = Duration::from_secs(1);
    fails_with("start", runtime.start(&absent).await, &kinds)?;
    fails_with("stop", runtime.stop(&absent, second).await, &kinds)?;
    fails_with("kill", runtime.kill(&absent).await, &kinds)?;
    if f.capabilities().pause.is_yes() {
        fails_with("pause", runtime.pause(&absent).await, &kinds)?;
        fails_with("unpause", runtime.unpause(&absent).await, &kinds)?;
    }
    fails_with("exec", runtime.exec(&absent, &request).await, &kinds)?;
    let logs = runtime.logs(&absent, LogRequest::default()).await;
    fails_with("logs", logs, &kinds)?;
    fails_with("changes", runtime.changes(&absent).await, &kinds)?;
    let captured = f.capture_as(&absent, &f.capture_request()).await;
    fails_with("capture", captured, &kinds)
}

async fn a_taken_container_name_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let mut request = f.launch_request(f.spec("serve"));
    request.name.clone_from(&container.name);
    let launched = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await;
    fails_with("the launch", launched, &[ErrorKind::Conflict])?;
    let state = f.state(&container).await?;
    check_eq!(
        state,
        ContainerState::Running,
        "the one that has the name is"
    );
    Ok(())
}

async fn an_impossible_container_name_is_refused(f: &Fixture) -> Outcome {
    for name in ["", "a b", "../up", "-dash"] {
        let mut request = f.launch_request(f.spec("serve"));
        request.name = name.into();
        let launched = f
            .runtime()
            .launch(&f.base(), &request, &Phases::new())
            .await;
        if let Ok(container) = &launched {
            f.runtime().remove(&container.id).await?;
        }
        fails_with(&format!("name {name:?}"), launched, &[ErrorKind::Invalid])?;
    }
    Ok(())
}

async fn an_impossible_host_name_is_refused(f: &Fixture) -> Outcome {
    let mut spec = f.spec("serve");
    spec.hostname = Some("h".repeat(65));
    let launched = f.launch_from(&f.base(), spec).await;
    fails_with("65 bytes", launched, &[ErrorKind::Invalid])
}

async fn an_empty_command_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let ran = f
        .runtime()
        .exec(&container.id, &ExecRequest::default())
        .await;
    fails_with("the command", ran, &[ErrorKind::Invalid])
}

async fn an_error_names_its_object(f: &Fixture) -> Outcome {
    let absent = f.absent();
    let started = f.runtime().start(&ContainerId::new(&absent)).await;
    let Err(error) = started else {
        return Err(Failure::new("an absent container was started"));
    };
    let text = error.to_string();
    check!(text.contains(&absent), "{text:?} does not name {absent}");
    check!(!text.ends_with('.'), "{text:?} ends with a full stop");
    check!(!text.contains('\n'), "{text:?} is more than a line");
    Ok(())
}

async fn with_socket(f: &Fixture, socket: std::path::PathBuf) -> Outcome<Result<()>> {
    let Some(open) = f.shared().open else {
        return Err(Failure::new("the enrolment opens no daemon"));
    };
    let runtime = open(&RuntimeOptions {
        socket: Some(socket),
        api_timeout: Duration::from_secs(1),
        ..RuntimeOptions::default()
    })?;
    // Two calls, since the first may do more than what it is called for.
    match runtime.identify().await {
        Ok(_) => Ok(runtime.start(&ContainerId::new(f.absent())).await),
        Err(error) => Ok(Err(error)),
    }
}

async fn nobody_at_the_socket_is_unreachable(f: &Fixture) -> Outcome {
    let absent = f.folder()?.join("absent.sock");
    let answered = with_socket(f, absent).await?;
    fails_with("no socket", answered, &[ErrorKind::Unreachable])?;
    let left = f.folder()?.join("left.sock");
    drop(UnixListener::bind(&left)?);
    let answered = with_socket(f, left).await?;
    fails_with("nobody listens", answered, &[ErrorKind::Unreachable])
}

async fn a_silent_daemon_is_given_up(f: &Fixture) -> Outcome {
    let path = f.folder()?.join("silent.sock");
    let listener = UnixListener::bind(&path)?;
    let limit = Duration::from_secs(10);
    let answered = tokio::time::timeout(limit, with_socket(f, path)).await;
    drop(listener);
    let Ok(answered) = answered else {
        return Err(Failure::new("it is waited for without end"));
    };
    fails_with("the call", answered?, &[ErrorKind::TimedOut])
}
