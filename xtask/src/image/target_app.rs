//! target-app's image: from its Dockerfile where a registry answers, else from Debian's packages
//! and wheels that the host fetches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::archive;
use super::debian;
use super::dockerfile::Docker;
use crate::process::{command, retry, run, step};

/// The tag in the archive.
pub(crate) const TAG: &str = "localhost/target-app:latest";

/// What the image is made from, in `target-app/`.
pub(crate) const SOURCES: [&str; 3] = ["Dockerfile", "app.py", "requirements.txt"];

/// The base that the Dockerfile names.
const BASE: &str = "python:3.11-slim-bookworm";

/// Debian's Python is the same, so that the same wheels fit.
const PYTHON: &str = "3.11";

/// Writes the archive. `cache` keeps what was downloaded.
pub(crate) fn build(sources: &Path, cache: &Path, scratch: &Path, archive: &Path) -> Result<()> {
    let wheels = scratch.join("wheels");
    step("fetch the wheels of requirements.txt", || {
        retry(3, || fetch_wheels(sources, &wheels))
    })?;
    if let Some(docker) = Docker::with_base(BASE) {
        let context = context(sources, &wheels, scratch)?;
        return docker.build(&context, TAG, archive);
    }
    let root = scratch.join("root");
    debian::debootstrap(cache, &root, "python3")?;
    step("install the wheels and the application", || {
        install(sources, &wheels, &root)
    })?;
    step("pack the root file system", || {
        pack(scratch, &root, archive)
    })
}

/// Wheels for the image's Python, whichever the host has. Exact versions and `--no-deps` below:
/// nothing comes in that requirements.txt does not name.
fn fetch_wheels(sources: &Path, wheels: &Path) -> Result<()> {
    let machine = std::env::consts::ARCH;
    run(command("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args([
            "--only-binary=:all:",
            "--no-deps",
            "--python-version",
            PYTHON,
        ])
        .arg(format!("--platform=manylinux2014_{machine}"))
        .arg("--dest")
        .arg(wheels)
        .arg("--requirement")
        .arg(sources.join("requirements.txt")))?;
    Ok(())
}

/// What the Dockerfile is built from, with the wheels beside it.
fn context(sources: &Path, wheels: &Path, scratch: &Path) -> Result<PathBuf> {
    let context = scratch.join("context");
    fs::create_dir(&context)?;
    for file in SOURCES {
        fs::copy(sources.join(file), context.join(file))?;
    }
    fs::rename(wheels, context.join("wheels"))?;
    Ok(context)
}

fn install(sources: &Path, wheels: &Path, root: &Path) -> Result<()> {
    let site = format!("usr/local/lib/python{PYTHON}/dist-packages");
    let machine = std::env::consts::ARCH;
    run(command("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args([
            "--root-user-action=ignore",
            "--no-compile",
            "--no-index",
            "--no-deps",
        ])
        .args(["--only-binary=:all:", "--python-version", PYTHON])
        .arg(format!("--platform=manylinux2014_{machine}"))
        .arg("--find-links")
        .arg(wheels)
        .arg("--target")
        .arg(root.join(&site))
        .arg("--requirement")
        .arg(sources.join("requirements.txt")))?;
    let app = root.join("app");
    fs::create_dir_all(&app)?;
    fs::copy(sources.join("app.py"), app.join("app.py"))?;
    // Compiled ahead: the image tells Python not to write byte code, which would be a change of
    // the container's files at every start. Not by time stamps, and Debian's own once more: the
    // archive resets all times, and Python would compile what is older than its source anew.
    run(command("chroot")
        .arg(root)
        .args([
            "python3",
            "-m",
            "compileall",
            "-f",
            "-q",
            "--invalidation-mode",
        ])
        .args(["unchecked-hash", "/app"])
        .arg(format!("/{site}"))
        .arg(format!("/usr/lib/python{PYTHON}")))?;
    Ok(())
}

fn pack(scratch: &Path, root: &Path, archive: &Path) -> Result<()> {
    let layer = debian::pack(root, &scratch.join("target-app-layer.tar"))?;
    let config = json!({
        "Entrypoint": ["python3", "-m", "uvicorn", "app:app"],
        "Cmd": ["--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "2"],
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
            "DATA_DIR=/data-app",
        ],
        "WorkingDir": "/app",
        "ExposedPorts": {"8000/tcp": {}},
        "StopSignal": "SIGTERM",
    });
    archive::write(archive, TAG, &config, &layer)
}
