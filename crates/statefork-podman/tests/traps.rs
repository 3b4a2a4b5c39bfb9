//! What is particular to Podman, against the real service.

mod adopt;
mod bridge;

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use statefork_podman::PodmanRuntime;
use statefork_runtime::{
    Capture, CaptureRequest, Captures, Container, ContainerSpec, Containers, EnvVar, ErrorKind,
    ImageId, Images, Labels, LaunchRequest, LogRequest, Phases, RuntimeOptions, freezer,
};

/// The files of the test image (`cargo xtask image`) as layers of their own.
struct Archive {
    files: Vec<(String, Vec<u8>)>,
    config: Value,
    layers: Vec<String>,
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

impl Archive {
    fn busybox() -> Self {
        let path = std::env::var_os("STATEFORK_TEST_IMAGE").map_or_else(
            || {
                PathBuf::from(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../../target/xtask/busybox.tar"
                ))
            },
            PathBuf::from,
        );
        let file = std::fs::File::open(&path)
            .unwrap_or_else(|error| panic!("open {} (cargo xtask image): {error}", path.display()));
        let mut files = Vec::new();
        for entry in tar::Archive::new(file).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.push((path, bytes));
        }
        let read = |files: &[(String, Vec<u8>)], name: &str| -> Value {
            let (_, bytes) = files.iter().find(|(path, _)| path == name).unwrap();
            serde_json::from_slice(bytes).unwrap()
        };
        let manifest = read(&files, "manifest.json");
        let config = read(&files, manifest[0]["Config"].as_str().unwrap());
        let layers = manifest[0]["Layers"].as_array().unwrap();
        let layers = layers.iter().map(|name| name.as_str().unwrap().to_owned());
        Self {
            layers: layers.collect(),
            files,
            config,
        }
    }

    fn add_layer(&mut self, path: &str, text: &str) {
        let layer = tar_of(&[(path.to_owned(), text.into())]);
        let digest = digest(&layer);
        let ids = self.config["rootfs"]["diff_ids"].as_array_mut().unwrap();
        ids.push(json!(format!("sha256:{digest}")));
        let history = self.config["history"].as_array_mut().unwrap();
        history.push(json!({"created_by": path}));
        self.layers.push(format!("{digest}.tar"));
        self.files.push((format!("{digest}.tar"), layer));
    }

    async fn import(mut self, runtime: &PodmanRuntime, names: &[&str]) -> ImageId {
        let config = self.config.to_string().into_bytes();
        let config_name = format!("{}.json", digest(&config));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": names,
            "Layers": self.layers,
        }]);
        self.files.retain(|(path, _)| path.ends_with(".tar"));
        self.files.push((config_name, config));
        self.files
            .push(("manifest.json".into(), manifest.to_string().into_bytes()));
        let bytes = Bytes::from(tar_of(&self.files));
        let stream = stream::iter([Ok(bytes)]).boxed();
        runtime.import_image(stream).await.unwrap()
    }
}

fn open() -> PodmanRuntime {
    statefork_podman::open(&RuntimeOptions::default()).unwrap()
}

/// A name that no other run uses.
fn name(part: &str) -> String {
    format!("podman-traps-{part}-{}", std::process::id())
}

fn image_name(part: &str) -> String {
    format!("statefork.local/{}:t", name(part))
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

async fn launch(
    runtime: &PodmanRuntime,
    capture: &Capture,
    part: &str,
    labels: Labels,
    env: &[(&str, &str)],
) -> Container {
    let request = LaunchRequest {
        name: name(part),
        spec: ContainerSpec {
            command: Some(vec!["sleep".into(), "1000".into()]),
            env: env
                .iter()
                .map(|&(name, value)| EnvVar {
                    name: name.into(),
                    value: value.into(),
                })
                .collect(),
            ..ContainerSpec::default()
        },
        labels,
        publish: Vec::new(),
    };
    runtime
        .launch(capture, &request, &Phases::new())
        .await
        .unwrap()
}

fn request(part: &str, labels: Labels) -> CaptureRequest {
    CaptureRequest {
        name: image_name(part),
        labels,
        pause: true,
    }
}

/// A commit knows no escapes in a label's value and cannot drop a label.
#[tokio::test]
async fn the_labels_of_a_capture_are_exactly_those_asked_for() {
    let runtime = open();
    let base = image_name("labels-base");
    let image = Archive::busybox().import(&runtime, &[&base]).await;
    let base_capture = runtime.of_image(&image);
    let awkward = labels(&[
        ("quotes", "a \"b\" 'c'"),
        ("quoted", "\"q\""),
        ("json", "{\"a\": [1, \"x\\n\"]}"),
        ("lines", "one\ntwo\n"),
        ("blank", "  "),
        ("empty", ""),
        ("unicode", "größe=$HOME `x` \\"),
    ]);
    // By the commit alone; then with a label and a variable that it would take over.
    for (part, own, env) in [
        ("labels-commit", labels(&[("quotes", "other")]), &[][..]),
        (
            "labels-rewrite",
            labels(&[("own", "1")]),
            &[("OWN", "1")][..],
        ),
    ] {
        let container = launch(&runtime, &base_capture, part, own, env).await;
        let captured = runtime
            .capture(
                &container.id,
                &request(part, awkward.clone()),
                &Phases::new(),
            )
            .await
            .unwrap();
        let stored = runtime.inspect_image(&image_name(part)).await.unwrap();
        let stored = stored.expect("the capture's image");
        assert_eq!(stored.config.labels, awkward, "{part}");
        assert!(stored.config.env.iter().all(|var| var.name != "OWN"));
        assert_eq!(stored.config.command, ["/bin/sh"], "{part}");
        assert_eq!(stored.layers, 2);
        runtime.remove(&container.id).await.unwrap();
        runtime.remove_capture(&captured.capture).await.unwrap();
        let gone = runtime.inspect_image(stored.id.as_str()).await.unwrap();
        assert!(gone.is_none(), "{part}");
    }
    runtime.remove_image(&base).await.unwrap();
}

/// A commit beyond the limit of the storage succeeds, and what it makes cannot be mounted.
#[tokio::test]
async fn a_capture_is_refused_at_the_layer_limit_and_not_before() {
    let runtime = open();
    let base = image_name("layers");
    let mut archive = Archive::busybox();
    while archive.layers.len() < 124 {
        let number = archive.layers.len().to_string();
        archive.add_layer(&format!("layer-{number}"), &number);
    }
    let image = archive.import(&runtime, &[&base]).await;
    let first = launch(
        &runtime,
        &runtime.of_image(&image),
        "layers-1",
        Labels::new(),
        &[],
    )
    .await;
    let captured = runtime
        .capture(
            &first.id,
            &request("layers-1", Labels::new()),
            &Phases::new(),
        )
        .await
        .unwrap();
    let second = launch(&runtime, &captured.capture, "layers-2", Labels::new(), &[]).await;
    let refused = runtime
        .capture(
            &second.id,
            &request("layers-2", Labels::new()),
            &Phases::new(),
        )
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    for container in [first, second] {
        runtime.remove(&container.id).await.unwrap();
    }
    runtime.remove_capture(&captured.capture).await.unwrap();
    runtime.remove_image(&base).await.unwrap();
}

/// Podman removes an image with several names by its id only by force, and then its containers
/// with it.
#[tokio::test]
async fn an_image_with_several_names_is_removed_by_its_id_but_not_under_a_container() {
    let runtime = open();
    let names = [
        image_name("names-a"),
        image_name("names-b"),
        image_name("names-c"),
    ];
    let mut archive = Archive::busybox();
    archive.add_layer("names", "names");
    let image = archive
        .import(&runtime, &[&names[0], &names[1], &names[2]])
        .await;
    let capture = runtime.of_image(&image);
    let container = launch(&runtime, &capture, "names", Labels::new(), &[]).await;

    let refused = runtime.remove_image(image.as_str()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let kept = runtime.inspect_image(image.as_str()).await.unwrap();
    assert_eq!(kept.expect("the image").names, names);
    let running = runtime.inspect(&container.id).await.unwrap();
    assert!(running.is_some(), "the container is gone");

    runtime.remove(&container.id).await.unwrap();
    runtime.remove_image(image.as_str()).await.unwrap();
    assert!(runtime.inspect_image(&names[1]).await.unwrap().is_none());
}

/// The service's own last lines lack what a process wrote before a line's last piece.
#[tokio::test]
async fn a_line_that_was_written_in_pieces_is_whole_among_the_last_ones() {
    let runtime = open();
    let base = image_name("pieces");
    let image = Archive::busybox().import(&runtime, &[&base]).await;
    let script = "echo first; printf in; sleep 0.3; echo ' pieces'; sleep 1000";
    let request = LaunchRequest {
        name: name("pieces"),
        spec: ContainerSpec {
            command: Some(["sh", "-c", script].map(str::to_owned).into()),
            ..ContainerSpec::default()
        },
        labels: Labels::new(),
        publish: Vec::new(),
    };
    let container = runtime
        .launch(&runtime.of_image(&image), &request, &Phases::new())
        .await
        .unwrap();
    let request = LogRequest {
        follow: false,
        tail: Some(1),
    };
    let mut text = String::new();
    for _ in 0..100 {
        let mut output = runtime.logs(&container.id, request).await.unwrap();
        text.clear();
        while let Some(piece) = output.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap().bytes).unwrap());
        }
        if text.ends_with("pieces\n") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(text, "in pieces\n");
    runtime.remove(&container.id).await.unwrap();
    runtime.remove_image(&base).await.unwrap();
}

/// As by a service that was killed before it had written down what it did.
#[tokio::test]
async fn what_was_frozen_behind_the_service_s_back_is_thawed() {
    let runtime = open();
    let name = image_name("frozen");
    let image = Archive::busybox().import(&runtime, &[&name]).await;
    let capture = runtime.of_image(&image);
    let container = launch(&runtime, &capture, "frozen", Labels::new(), &[]).await;
    let pid = container.pid.unwrap();
    freezer::freeze(pid, &container.id).await.unwrap();
    let unpaused = runtime.unpause(&container.id).await;
    let frozen = freezer::is_frozen(pid, &container.id).unwrap();
    freezer::thaw(pid, &container.id).unwrap();
    runtime.remove(&container.id).await.unwrap();
    runtime.remove_image(&name).await.unwrap();
    unpaused.unwrap();
    assert_eq!(frozen, Some(false));
}
