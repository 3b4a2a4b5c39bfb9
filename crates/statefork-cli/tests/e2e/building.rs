//! `up --build` on a runtime that has no builder.

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use statefork_runtime::RuntimeOptions;

use crate::world::{BUSYBOX, World, ended, on, provide_images, signal};

/// Another runtime, which builds.
const BUILDER: &str = "docker";

fn context(world: &World, instruction: &str) {
    let context = world.folder().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("greeting"), "hello\n").unwrap();
    let dockerfile = format!("FROM {BUSYBOX}\n{instruction}\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
}

/// The names that the builder has for images of this environment.
fn left_at_the_builder(world: &World) -> Vec<String> {
    let options = RuntimeOptions::default();
    let images = on(BUILDER, &options, async |runtime| {
        runtime.list_images().await
    });
    let names = images.into_iter().flat_map(|image| image.names);
    names.filter(|name| name.contains(&world.name)).collect()
}

/// Reads what a command says for people until there is `text` in it. What follows is left to read.
fn until_said(child: &mut Child, text: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(text) {
        let mut byte = [0];
        let read = stderr.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{}", String::from_utf8_lossy(&said));
        said.extend(byte);
    }
}

pub(crate) fn another_runtime_builds(world: World) {
    provide_images(BUILDER);
    context(&world, "COPY greeting /greeting\nCMD [\"sleep\", \"600\"]");
    let ended = world.run(&["up", "--build", "context"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains(BUILDER), "{}", ended.stderr);
    assert_eq!(world.sh("cat /greeting"), "hello\n");
    assert_eq!(left_at_the_builder(&world), [""; 0]);
}

pub(crate) fn another_runtime_fails_to_build(world: World) {
    provide_images(BUILDER);
    context(&world, "RUN echo not so good; exit 9");
    let ended = world.run(&["up", "--build", "context"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("| not so good"), "{}", ended.stderr);
    assert_eq!(left_at_the_builder(&world), [""; 0]);
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn a_build_by_another_runtime_is_undone(world: World) {
    provide_images(BUILDER);
    context(&world, "RUN sleep 30");
    let mut child = world.spawn(&["-v", "up", "--build", "context"]);
    until_said(&mut child, "sleep 30");
    let begun = Instant::now();
    signal(&child, Signal::INT);
    let ended = ended(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(left_at_the_builder(&world), [""; 0]);
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

pub(crate) fn nothing_there_builds(world: World) {
    context(&world, "COPY greeting /greeting");
    let nowhere = format!("unix://{}", world.folder().join("nobody").display());
    let mut command = world.command(&["--json", "up", "--build", "context"]);
    command
        .env("DOCKER_HOST", &nowhere)
        .env("CONTAINER_HOST", &nowhere)
        .env("PATH", world.folder());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "builder_missing");
    let hint = document["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("buildah"), "{hint}");
    assert_eq!(world.left_in_runtime(), [""; 0]);
}
