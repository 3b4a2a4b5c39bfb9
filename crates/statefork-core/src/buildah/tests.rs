//! `buildah` as it is run, by a script in its place that writes down how it was called.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use statefork_runtime::{Labels, RuntimeError};

use super::Buildah;
use crate::config::Build;
use crate::environment::Cancel;
use crate::error::{CoreError, Result};

const NAME: &str = "statefork.local/shop:build-01234567";

/// Writes the names of its images into `images` beside itself, and each call into `calls`.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1" in
build)
    case "$*" in
    *slow*) echo begun; exec sleep 60 ;;
    *bad*) echo first; echo last >&2; exit 3 ;;
    esac
    echo STEP 1; echo "$7" > "$here/images" ;;
push) target=${3#docker-archive:}; printf archive > "${target%%:*}" ;;
images) cat "$here/images" 2>/dev/null || true ;;
rmi) grep -qx "$2" "$here/images" && rm "$here/images" ;;
esac
"#;

struct Bed {
    folder: tempfile::TempDir,
    buildah: Buildah,
    cancel: Cancel,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(Buildah::NAME);
        std::fs::write(&program, SCRIPT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let path = std::env::join_paths(["/nowhere".as_ref(), folder.path()]).unwrap();
        let buildah = Buildah::of_path(&path).unwrap();
        Self {
            folder,
            buildah,
            cancel: Cancel::new(),
        }
    }

    async fn build(&self, context: &str, progress: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
        let build = Build {
            context: context.into(),
            dockerfile: "Dockerfile".into(),
            args: BTreeMap::from([("A".into(), "b c".into())]),
        };
        let labels = Labels::from([("owner".to_owned(), "me".to_owned())]);
        self.buildah
            .build(&build, NAME, &labels, progress, &self.cancel)
            .await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn an_image_is_built_moved_and_removed() {
    let bed = Bed::new();
    let mut said = Vec::new();
    bed.build("/context", &mut |line| said.push(line.to_owned()))
        .await
        .unwrap();
    assert_eq!(said, ["STEP 1"]);
    let archive = bed.path("image.tar");
    let stream = bed.buildah.export(NAME, &archive, &bed.cancel).await;
    let pieces: Vec<_> = stream.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"archive");
    assert!(!archive.exists());
    bed.buildah.remove(NAME).await.unwrap();
    assert!(!bed.path("images").exists());
    // Absent.
    bed.buildah.remove(NAME).await.unwrap();
    let calls = std::fs::read_to_string(bed.path("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(
        calls[0],
        format!(
            "build --layers --force-rm --format docker --tag {NAME} --label owner=me \
             --build-arg A=b c --file /context/Dockerfile /context"
        )
    );
    let verbs = calls.iter().map(|call| call.split(' ').next().unwrap());
    let verbs: Vec<&str> = verbs.collect();
    assert_eq!(verbs, ["build", "push", "images", "rmi", "images"]);
}

#[tokio::test]
async fn a_build_that_fails_says_the_last_lines() {
    let bed = Bed::new();
    match bed.build("/bad", &mut |_| ()).await.unwrap_err() {
        CoreError::Runtime(RuntimeError::BuildFailed { reason, mut tail }) => {
            assert!(reason.contains('3'), "{reason}");
            tail.sort();
            assert_eq!(tail, ["first", "last"]);
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_removal_that_fails_is_no_failed_build() {
    let bed = Bed::new();
    std::fs::write(bed.path("images"), "other\n").unwrap();
    match bed.buildah.remove(NAME).await.unwrap_err() {
        CoreError::Program { command, .. } => assert_eq!(command, "buildah rmi"),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_build_ends_when_it_is_interrupted() {
    let bed = Bed::new();
    let begun = Instant::now();
    let cancel = bed.cancel.clone();
    let error = bed.build("/slow", &mut |_| cancel.cancel()).await;
    assert!(matches!(error, Err(CoreError::Interrupted)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}
