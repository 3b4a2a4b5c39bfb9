//! What is Docker's own, against a real daemon; the rest is in the conformance suite.
//!
//! The daemon is the one at `DOCKER_HOST` or the usual place, the programs are those of the
//! archive that `cargo xtask image` makes, or of `STATEFORK_TEST_IMAGE`.

mod adopt;
mod fixture;
mod freeze;

use std::time::Duration;

use futures_util::TryStreamExt;
use statefork_runtime::{
    Captures, ContainerId, ContainerPort, ContainerSpec, Containers, EnvVar, ErrorKind,
    ExecRequest, Images, MountKind, Output, Phases, PrepareRequest, TerminalSize,
};

use self::fixture::Fixture;

type Error = Box<dyn std::error::Error>;
type Outcome = Result<(), Error>;

#[tokio::test]
async fn a_capture_that_others_stand_on_goes_with_the_last_of_them() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    let one = f.launch("one", &f.docker.of_image(&base)).await?;
    let first = f.capture(&one, "first").await?;
    let two = f.launch("two", &first).await?;
    let second = f.capture(&two, "second").await?;
    f.docker.remove(&two.id).await?;
    f.docker.remove_capture(&first).await?;
    let named = f.docker.inspect_image(&f.name("first")).await?;
    assert_eq!(named, None, "its name is free");
    // What stands on it still works.
    let three = f.launch("three", &second).await?;
    f.docker.remove(&three.id).await?;
    f.docker.remove_capture(&second).await?;
    f.docker.remove(&one.id).await?;
    assert_eq!(f.images_of_home().await?, Vec::<String>::new());
    Ok(f.clean_up().await?)
}

/// The daemon, asked to remove an image, also removes what it stood on if that has no name.
#[tokio::test]
async fn a_base_image_without_a_name_outlives_its_captures() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    let one = f.launch("one", &f.docker.of_image(&base)).await?;
    let capture = f.capture(&one, "capture").await?;
    f.untag(&f.name("base")).await?;
    f.docker.remove(&one.id).await?;
    f.docker.remove_capture(&capture).await?;
    let still = f.docker.inspect_image(base.as_str()).await?;
    assert!(still.is_some_and(|image| image.names.is_empty()));
    f.docker.remove_image(base.as_str()).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn a_prepared_image_differs_in_its_volumes_and_labels_only() -> Outcome {
    let f = Fixture::new().await?;
    let config = serde_json::json!({
        "Cmd": ["/bin/sleep", "1000"],
        "Env": ["A=b"],
        "Volumes": { "/data": {} },
        "StopSignal": "SIGUSR1",
        "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000 },
        "ExposedPorts": { "80/tcp": {} },
        "WorkingDir": "/etc",
        "User": "1000",
    });
    let image = f.import(&f.name("volumes"), &config, 1).await?;
    let request = PrepareRequest {
        name: f.name("prepared"),
        labels: f.labels(),
    };
    let prepared = f.docker.prepare_image(&image, &request).await?;
    let (mut before, mut after) = (f.raw_image(&image).await?, f.raw_image(&prepared).await?);
    assert_eq!(after["RootFS"], before["RootFS"]);
    let described = f.docker.inspect_image(prepared.as_str()).await?;
    assert_eq!(
        described.ok_or("no image")?.config.volumes,
        Vec::<std::path::PathBuf>::new()
    );
    assert_eq!(after["Config"]["Labels"]["dev.statefork.home"], f.home);
    for image in [&mut before, &mut after] {
        let config = image["Config"].as_object_mut().ok_or("no settings")?;
        config.retain(|key, _| !matches!(key.as_str(), "Volumes" | "Labels"));
    }
    assert_eq!(after["Config"], before["Config"]);
    let again = f.docker.prepare_image(&image, &request).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    f.docker.remove_image(&f.name("volumes")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn an_anonymous_volume_is_listed_and_goes_with_its_container() -> Outcome {
    let f = Fixture::new().await?;
    let config = serde_json::json!({ "Volumes": { "/data": {} } });
    let image = f.import(&f.name("volumes"), &config, 0).await?;
    let one = f.launch("one", &f.docker.of_image(&image)).await?;
    let [mount] = one.mounts.as_slice() else {
        panic!("{:?}", one.mounts);
    };
    assert_eq!(mount.kind, MountKind::Volume);
    let volume = f.volume_of(&one.id).await?;
    assert!(f.has_volume(&volume).await?);
    f.docker.remove(&one.id).await?;
    assert!(!f.has_volume(&volume).await?);
    f.docker.remove_image(&f.name("volumes")).await?;
    Ok(f.clean_up().await?)
}

/// A variable, a port or a label of the container alone takes one step or two; either way nothing
/// of it remains in the capture, and no image beside it.
#[tokio::test]
async fn settings_that_a_commit_takes_over_do_not_stay() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    for (number, variable, label) in [(0, "SECRET", None), (1, "HOSTNAME", Some("extra"))] {
        let mut request = f.request(&format!("c{number}"));
        request.spec.env = vec![EnvVar {
            name: variable.into(),
            value: "s3cret".into(),
        }];
        request.publish = vec![ContainerPort::tcp(80)];
        if let Some(label) = label {
            request.labels.insert(label.into(), "yes".into());
        }
        let from = f.docker.of_image(&base);
        let container = f.docker.launch(&from, &request, &Phases::new()).await?;
        assert!(container.published[0].1.ip().is_loopback());
        let capture = f.capture(&container, &format!("capture{number}")).await?;
        let name = f.name(&format!("capture{number}"));
        let image = f.docker.inspect_image(&name).await?.ok_or("no image")?;
        assert_eq!(image.config.env, [], "{variable}");
        assert_eq!(image.config.labels, f.labels());
        let raw = f.raw_image(&image.id).await?.to_string();
        assert!(!raw.contains("s3cret"), "{raw}");
        let mut request = f.request(&format!("back{number}"));
        request.spec.command = Some(vec!["/bin/env".into()]);
        let back = f.docker.launch(&capture, &request, &Phases::new()).await?;
        let written = f.logs_to_the_end(&back.id).await?;
        assert!(!written.contains("s3cret"), "{written}");
        assert!(written.contains("PATH="), "{written}");
        f.docker.remove(&back.id).await?;
        f.docker.remove(&container.id).await?;
        assert_eq!(f.images_of_home().await?, [name]);
        f.docker.remove_capture(&capture).await?;
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn the_layer_limit_is_where_the_probe_says() -> Outcome {
    let f = Fixture::new().await?;
    // The programs are one layer, and a capture of something changed is one more.
    let base = f
        .import(&f.name("base"), &serde_json::json!({}), 123)
        .await?;
    let one = f.launch("one", &f.docker.of_image(&base)).await?;
    let request = ExecRequest {
        argv: vec!["/bin/touch".into(), "/changed".into()],
        ..ExecRequest::default()
    };
    let exec = f.docker.exec(&one.id, &request).await?;
    assert_eq!(exec.control.wait().await?.code(), 0);
    let last = f.capture(&one, "last").await?;
    let image = f.docker.inspect_image(&f.name("last")).await?;
    assert_eq!(image.map(|image| image.layers), Some(125));
    let two = f.launch("two", &last).await?;
    let refused = f.capture(&two, "refused").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("125"), "{refused}");
    assert_eq!(f.images_of_home().await?, [f.name("last")]);
    for container in [&one, &two] {
        f.docker.remove(&container.id).await?;
    }
    f.docker.remove_capture(&last).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn a_terminal_may_write_what_looks_like_a_frame() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    let one = f.launch("one", &f.docker.of_image(&base)).await?;
    let request = ExecRequest {
        argv: ["/bin/printf", r"\001\000\000\000\377\000\000\001x"]
            .map(str::to_owned)
            .to_vec(),
        terminal: Some(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        ..ExecRequest::default()
    };
    let exec = f.docker.exec(&one.id, &request).await?;
    let output: Vec<Output> = exec.output.try_collect().await?;
    let bytes: Vec<u8> = output.iter().flat_map(|part| part.bytes.to_vec()).collect();
    assert_eq!(bytes, b"\x01\0\0\0\xff\0\0\x01x");
    assert_eq!(exec.control.wait().await?.code(), 0);
    f.docker.remove(&one.id).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

#[tokio::test]
async fn the_beginning_of_an_id_is_nobodys_name() -> Outcome {
    let f = Fixture::new().await?;
    let base = f.import(&f.name("base"), &serde_json::json!({}), 0).await?;
    let one = f.launch("one", &f.docker.of_image(&base)).await?;
    let beginning = ContainerId::new(one.id.short());
    assert_eq!(f.docker.inspect(&beginning).await?, None);
    f.docker.remove(&beginning).await?;
    let refused = f.docker.stop(&beginning, Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotFound(_)));
    assert_eq!(f.docker.inspect_image(base.short()).await?, None);
    f.docker.remove_image(base.short()).await?;
    assert!(f.docker.inspect(&one.id).await?.is_some());
    f.docker.remove(&one.id).await?;
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}

/// The daemon takes an empty command for that of the image.
#[tokio::test]
async fn an_empty_command_takes_the_images_arguments_away() -> Outcome {
    let f = Fixture::new().await?;
    let config = serde_json::json!({ "Entrypoint": ["/bin/echo", "-"], "Cmd": ["argument"] });
    let image = f.import(&f.name("base"), &config, 0).await?;
    for (command, written) in [(None, "- argument\n"), (Some(Vec::new()), "-\n")] {
        let mut request = f.request("one");
        request.spec = ContainerSpec {
            command,
            ..ContainerSpec::default()
        };
        let from = f.docker.of_image(&image);
        let one = f.docker.launch(&from, &request, &Phases::new()).await?;
        assert_eq!(f.logs_to_the_end(&one.id).await?, written);
        f.docker.remove(&one.id).await?;
    }
    f.docker.remove_image(&f.name("base")).await?;
    Ok(f.clean_up().await?)
}
