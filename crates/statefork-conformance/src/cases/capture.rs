//! Capturing and launching.

use statefork_runtime::{
    Capture, ContainerSpec, ContainerState, EnvVar, ErrorKind, LABEL_OBJECT, ObjectKind, Phase,
    Phases,
};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
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
    bytes_are_those_of_the_layer,
    settings_of_the_container_are_not_captured,
    labels_of_the_container_are_not_captured,
    a_taken_name_is_refused,
    a_capture_in_use_is_not_removed,
    removing_a_capture_twice_is_success,
    removing_the_capture_of_an_image_leaves_it,
    a_lost_capture_is_not_found,
    damaged_data_is_refused,
    captures_record_their_phases [Pause],
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

async fn bytes_are_those_of_the_layer(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let text = "x".repeat(20_000);
    f.told(&container, &format!("write /data/big {text}"))
        .await?;
    let captured = f.capture_as(&container.id, &f.capture_request()).await?;
    check!(
        (20_000..200_000).contains(&captured.size_bytes),
        "20000 bytes are {}",
        captured.size_bytes
    );
    Ok(())
}

/// `None` in the settings means: as the image says, not as some former container.
async fn settings_of_the_container_are_not_captured(f: &Fixture) -> Outcome {
    let spec = ContainerSpec {
        env: vec![EnvVar {
            name: "BASE".into(),
            value: "own".into(),
        }],
        user: Some("1000".into()),
        workdir: Some("/etc".into()),
        ..f.spec("echo own ; sleep 1000")
    };
    let container = f.launch_from(&f.base(), spec).await?;
    let capture = f.capture(&container).await?;
    let back = f.launch_from(&capture, ContainerSpec::default()).await?;
    // The image's command, not the container's.
    f.until_said(&back, "serving").await?;
    let out = f.told(&back, "printenv BASE ; id -u ; pwd").await?;
    check_eq!(out, "base\n0\n/", "variable, user, directory");
    Ok(())
}

async fn labels_of_the_container_are_not_captured(f: &Fixture) -> Outcome {
    let mut request = f.launch_request(f.spec("serve"));
    let extra = "dev.statefork.conformance.extra";
    request.labels.insert(extra.into(), "yes".into());
    let container = f
        .runtime()
        .launch(&f.base(), &request, &Phases::new())
        .await?;
    let capture_request = f.capture_request();
    f.capture_as(&container.id, &capture_request).await?;
    let image = f.runtime().inspect_image(&capture_request.name).await?;
    let labels = image.map(|image| image.config.labels).unwrap_or_default();
    check_eq!(labels.get(extra), None, "the container's own label");
    for (name, value) in &capture_request.labels {
        check_eq!(labels.get(name), Some(value), "label {name}");
    }
    Ok(())
}

async fn a_taken_name_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = f.capture_request();
    f.told(&container, "write /data/one first").await?;
    let first = f.capture_as(&container.id, &request).await?.capture;
    f.told(&container, "write /data/one second").await?;
    let mut again = request.clone();
    again.labels = f.labels(statefork_runtime::ObjectType::Capture);
    let second = f.capture_as(&container.id, &again).await;
    fails_with("the second capture", second, &[ErrorKind::Conflict])?;
    check_eq!(f.state(&container).await?, ContainerState::Running, "it is");
    let image = f.runtime().inspect_image(&request.name).await?;
    let object = image.and_then(|image| image.config.labels.get(LABEL_OBJECT).cloned());
    check_eq!(
        object.as_ref(),
        request.labels.get(LABEL_OBJECT),
        "it is of"
    );
    let back = f.launch_from(&first, f.spec("serve")).await?;
    let one = f.file(&back, "/data/one").await?;
    check_eq!(one.as_deref(), Some("first"), "the first capture's file");
    Ok(())
}

async fn a_capture_in_use_is_not_removed(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let capture = f.capture(&container).await?;
    let user = f.launch_from(&capture, f.spec("serve")).await?;
    let removed = f.runtime().remove_capture(&capture).await;
    fails_with("the removal", removed, &[ErrorKind::Conflict])?;
    check_eq!(
        f.state(&user).await?,
        ContainerState::Running,
        "its user is"
    );
    f.launch_from(&capture, f.spec("serve")).await?;
    Ok(())
}

async fn removing_a_capture_twice_is_success(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = f.capture_request();
    let capture = f.capture_as(&container.id, &request).await?.capture;
    f.runtime().remove_capture(&capture).await?;
    let image = f.runtime().inspect_image(&request.name).await?;
    check!(image.is_none(), "its name is still there");
    f.runtime().remove_capture(&capture).await?;
    Ok(())
}

async fn removing_the_capture_of_an_image_leaves_it(f: &Fixture) -> Outcome {
    f.runtime().remove_capture(&f.base()).await?;
    let image = f.runtime().inspect_image(f.image().as_str()).await?;
    check!(image.is_some(), "the image is gone");
    Ok(())
}

async fn a_lost_capture_is_not_found(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let capture = f.capture(&container).await?;
    f.runtime().remove_capture(&capture).await?;
    let launched = f.launch_from(&capture, f.spec("serve")).await;
    let lost = ErrorKind::NotFound(ObjectKind::Capture);
    fails_with("the launch", launched, &[lost])
}

async fn damaged_data_is_refused(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let capture = f.capture(&container).await?;
    let newer = Capture {
        format: capture.format + 1,
        ..capture.clone()
    };
    let empty = Capture {
        data: serde_json::Value::Null,
        ..capture
    };
    for (what, damaged) in [("a newer format", newer), ("no data", empty)] {
        let launched = f.launch_from(&damaged, f.spec("serve")).await;
        fails_with(what, launched, &[ErrorKind::Damaged])?;
        let removed = f.runtime().remove_capture(&damaged).await;
        fails_with(what, removed, &[ErrorKind::Damaged])?;
    }
    Ok(())
}

async fn captures_record_their_phases(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    for pause in [true, false] {
        let phases = Phases::new();
        let mut request = f.capture_request();
        request.pause = pause;
        f.runtime()
            .capture(&container.id, &request, &phases)
            .await?;
        let mut recorded: Vec<Phase> = phases.snapshot().iter().map(|(phase, _)| *phase).collect();
        recorded.sort();
        let expected: &[Phase] = if pause {
            &[Phase::Pause, Phase::Capture]
        } else {
            &[Phase::Capture]
        };
        check_eq!(recorded, expected, "with pause {pause} they are");
    }
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
