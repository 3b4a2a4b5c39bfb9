//! What a capture holds, and what becomes of its container.

use statefork_runtime::{Capture, ContainerState};

use crate::case::{Case, Outcome, cases, check, check_eq};
use crate::fixture::Fixture;

pub(super) const CASES: &[Case] = cases![Capture:
    files_are_back,
    the_captured_container_goes_on,
    a_capture_without_a_pause_goes_on_too,
    a_paused_container_stays_paused [Pause],
    an_exited_container_can_be_captured,
    later_writes_are_not_in_the_capture,
    processes_start_anew,
    a_deleted_file_stays_deleted,
    a_chain_holds_every_step,
    a_capture_outlives_what_it_stands_on,
    a_capture_outlives_its_container,
    links_modes_owners_and_empty_folders_are_kept [Programs],
    a_folder_that_was_replaced_holds_only_what_is_new [Programs],
];

async fn files_are_back(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    f.told(&container, "write /etc/motd changed").await?;
    let capture = f.capture(&container).await?;
    // The store keeps it as JSON.
    let stored = serde_json::to_string(&capture)?;
    let capture: Capture = serde_json::from_str(&stored)?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check!(back.id != container.id, "it is the same container");
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the file of process 1");
    let motd = f.file(&back, "/etc/motd").await?;
    check_eq!(motd.as_deref(), Some("changed"), "the image's file");
    Ok(())
}

async fn goes_on(f: &Fixture, pause: bool) -> Outcome {
    let container = f.launch("serve").await?;
    let mut request = f.capture_request();
    request.pause = pause;
    f.capture_as(&container.id, &request).await?;
    let after = f.inspect(&container).await?;
    check_eq!(after.state, ContainerState::Running, "its state");
    check_eq!(after.pid, container.pid, "its pid");
    check_eq!(f.told(&container, "echo here").await?, "here", "it says");
    Ok(())
}

async fn the_captured_container_goes_on(f: &Fixture) -> Outcome {
    goes_on(f, f.capabilities().pause.is_yes()).await
}

async fn a_capture_without_a_pause_goes_on_too(f: &Fixture) -> Outcome {
    goes_on(f, false).await
}

async fn a_paused_container_stays_paused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/one 1").await?;
    f.runtime().pause(&container.id).await?;
    let capture = f.capture(&container).await?;
    check_eq!(f.state(&container).await?, ContainerState::Paused, "it is");
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(back.state, ContainerState::Running, "what is launched is");
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the file");
    Ok(())
}

async fn an_exited_container_can_be_captured(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; exit 4").await?;
    check_eq!(f.exit(&container).await?, Some(4), "the exit code");
    let capture = f.capture(&container).await?;
    let state = ContainerState::Exited { code: Some(4) };
    check_eq!(f.state(&container).await?, state, "its state");
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the file");
    Ok(())
}

async fn later_writes_are_not_in_the_capture(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/one before").await?;
    let capture = f.capture(&container).await?;
    f.told(&container, "write /data/one after ; write /data/two after")
        .await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("before"), "the changed file");
    check_eq!(f.file(&back, "/data/two").await?, None, "the new file");
    Ok(())
}

async fn processes_start_anew(f: &Fixture) -> Outcome {
    let container = f.launch("echo first ; serve").await?;
    f.until_said(&container, "serving").await?;
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("echo second")).await?;
    check_eq!(f.exit(&back).await?, Some(0), "the exit code");
    f.until_said(&back, "second").await?;
    check_eq!(f.logs(&back).await?.0, "second", "the output");
    Ok(())
}

async fn a_deleted_file_stays_deleted(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(
        &container,
        "rm /etc/old ; write /data/a a ; write /data/b b",
    )
    .await?;
    let capture = f.capture(&container).await?;
    let next = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(f.file(&next, "/etc/old").await?, None, "the image's file");
    f.told(&next, "rm /data/a").await?;
    let capture = f.capture(&next).await?;
    let last = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(f.file(&last, "/etc/old").await?, None, "the image's file");
    check_eq!(f.file(&last, "/data/a").await?, None, "the capture's file");
    let b = f.file(&last, "/data/b").await?;
    check_eq!(b.as_deref(), Some("b"), "the file beside it");
    Ok(())
}

async fn a_chain_holds_every_step(f: &Fixture) -> Outcome {
    let mut captures = vec![f.base()];
    for step in 1..=5 {
        let line = format!("write /data/{step} {step} ; write /data/last {step} ; serve");
        let from = captures.last().unwrap_or(&captures[0]).clone();
        let container = f.launch_from(&from, f.spec(&line)).await?;
        f.until_said(&container, "serving").await?;
        captures.push(f.capture(&container).await?);
        f.runtime().remove(&container.id).await?;
    }
    for (depth, step) in [(5, "5"), (2, "2")] {
        let container = f.launch_from(&captures[depth], f.spec("serve")).await?;
        let last = f.file(&container, "/data/last").await?;
        check_eq!(last.as_deref(), Some(step), "the last of {depth}");
        for file in 1..=5 {
            let seen = f.file(&container, &format!("/data/{file}")).await?;
            let expected = (file <= depth).then(|| file.to_string());
            check_eq!(seen, expected, "file {file} at step {depth}");
        }
    }
    Ok(())
}

async fn a_capture_outlives_what_it_stands_on(f: &Fixture) -> Outcome {
    let first = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&first, "serving").await?;
    let lower = f.capture(&first).await?;
    let second = f
        .launch_from(&lower, f.spec("write /data/two 2 ; serve"))
        .await?;
    f.until_said(&second, "serving").await?;
    let upper = f.capture(&second).await?;
    f.runtime().remove(&first.id).await?;
    f.runtime().remove(&second.id).await?;
    f.runtime().remove_capture(&lower).await?;
    let back = f.launch_from(&upper, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the lower file");
    let two = f.file(&back, "/data/two").await?;
    check_eq!(two.as_deref(), Some("2"), "the upper file");
    Ok(())
}

async fn a_capture_outlives_its_container(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.told(&container, "write /data/one 1").await?;
    let capture = f.capture(&container).await?;
    f.runtime().remove(&container.id).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("1"), "the file");
    Ok(())
}

async fn links_modes_owners_and_empty_folders_are_kept(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let make = "mkdir -p /data/empty && cd /data && echo x > file && chmod 4751 file \
                && chown 1000:65534 file && ln -s /nowhere/else link && ln file hard \
                && mkfifo pipe && chmod 1770 empty";
    let show = "cd /data && ls -ln file pipe | tr -s ' ' | cut -d' ' -f1,3,4 ; readlink link ; \
                stat -c '%a %h' empty file ; [ file -ef hard ] && echo same";
    f.script(&container, make).await?;
    let before = f.script(&container, show).await?;
    check!(before.ends_with("same"), "the container shows {before:?}");
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(f.script(&back, show).await?, before, "it shows");
    Ok(())
}

async fn a_folder_that_was_replaced_holds_only_what_is_new(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    f.script(&container, "mkdir /data && touch /data/old")
        .await?;
    let capture = f.capture(&container).await?;
    let next = f.launch_from(&capture, f.spec("serve")).await?;
    f.script(&next, "rm -r /data && mkdir /data && touch /data/new")
        .await?;
    let capture = f.capture(&next).await?;
    let back = f.launch_from(&capture, f.spec("serve")).await?;
    check_eq!(f.script(&back, "ls /data").await?, "new", "it holds");
    Ok(())
}
