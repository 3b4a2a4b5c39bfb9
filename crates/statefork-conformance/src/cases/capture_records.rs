//! What a capture says about itself, its name, its removal and its loss.

use statefork_runtime::{
    Capture, ContainerSpec, ContainerState, EnvVar, ErrorKind, LABEL_OBJECT, ObjectKind,
    ObjectType, Phase, Phases,
};

use crate::case::{Case, Outcome, cases, check, check_eq, fails_with};
use crate::fixture::Fixture;
use crate::image::Draft;

pub(super) const CASES: &[Case] = cases![Capture:
    bytes_are_those_of_the_layer,
    settings_of_the_container_are_not_captured,
    labels_of_the_container_are_not_captured,
    a_taken_name_is_refused,
    a_capture_in_use_is_not_removed,
    removing_a_capture_twice_is_success,
    removing_the_capture_of_an_image_leaves_it,
    a_lost_capture_is_not_found,
    damaged_data_is_refused,
    a_capture_that_is_there_is_verified,
    a_lost_capture_is_not_verified,
    captures_record_their_phases [Pause],
];

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
    again.labels = f.labels(ObjectType::Capture);
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
        let verified = f.runtime().verify_capture(&damaged).await;
        fails_with(what, verified, &[ErrorKind::Damaged])?;
    }
    Ok(())
}

async fn a_capture_that_is_there_is_verified(f: &Fixture) -> Outcome {
    let container = f.launch("write /data/one 1 ; serve").await?;
    f.until_said(&container, "serving").await?;
    let first = f.capture(&container).await?;
    let container = f.launch_from(&first, f.spec("serve")).await?;
    let second = f.capture(&container).await?;
    for (what, capture) in [
        ("the base", f.base()),
        ("the first", first),
        ("the second", second),
    ] {
        check!(f.runtime().verify_capture(&capture).await?, "{what} is not");
    }
    Ok(())
}

async fn a_lost_capture_is_not_verified(f: &Fixture) -> Outcome {
    let container = f.launch("serve").await?;
    let request = f.capture_request();
    let capture = f.capture_as(&container.id, &request).await?.capture;
    // As somebody does who tidies up by hand.
    f.runtime().remove_image(&request.name).await?;
    check!(!f.runtime().verify_capture(&capture).await?, "it is");
    let (image, name) = f.import(Draft::default()).await?;
    let own = f.runtime().of_image(&image);
    check!(f.runtime().verify_capture(&own).await?, "the image is not");
    f.runtime().remove_image(&name).await?;
    check!(!f.runtime().verify_capture(&own).await?, "its image is");
    check!(
        f.runtime().verify_capture(&f.base()).await?,
        "the base is not"
    );
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
