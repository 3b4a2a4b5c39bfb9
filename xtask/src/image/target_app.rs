//! target-app's image: from its Dockerfile where a registry answers, else from Debian's packages
//! and wheels that the host fetches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::archive::{self, Layer};
use crate::process::{command, is_root, retry, run, step};

/// The tag in the archive.
pub(crate) const TAG: &str = "localhost/target-app:latest";

/// What the image is made from, in `target-app/`.
pub(crate) const SOURCES: [&str; 3] = ["Dockerfile", "app.py", "requirements.txt"];

/// The base that the Dockerfile names.
const BASE: &str = "python:3.11-slim-bookworm";

/// Debian's release with the same Python, so that the same wheels fit.
const SUITE: &str = "bookworm";
const PYTHON: &str = "3.11";
const MIRROR: &str = "http://deb.debian.org/debian";

/// How long a registry may take to hand out the base, in seconds.
const PULL_PATIENCE: &str = "120";

/// Directories whose content belongs to the machine, or is of no use in a container.
const LEFT_OUT: [&str; 14] = [
    "boot",
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
    "var/tmp",
];

/// Files that debootstrap takes from this machine or that differ from run to run.
const REMOVED: [&str; 5] = [
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/diversions-old",
];

/// Writes the archive. `cache` keeps what was downloaded.
pub(crate) fn build(sources: &Path, cache: &Path, scratch: &Path, archive: &Path) -> Result<()> {
    let wheels = scratch.join("wheels");
    step("fetch the wheels of requirements.txt", || {
        retry(3, || fetch_wheels(sources, &wheels))
    })?;
    if let Some(docker) = Docker::with_base() {
        return step(&format!("build the Dockerfile on {BASE}"), || {
            docker.build(sources, &wheels, scratch, archive)
        });
    }
    if !is_root() {
        bail!("no registry answers, and debootstrap takes root: run this as root");
    }
    let root = scratch.join("root");
    step(&format!("debootstrap {SUITE} with python3"), || {
        retry(2, || debootstrap(cache, &root))
    })?;
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

fn debootstrap(cache: &Path, root: &Path) -> Result<()> {
    // A first try that failed leaves a half of it.
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::create_dir_all(cache)?;
    // In a mount namespace of its own: whatever it mounts below `root` goes when it ends, even by
    // a signal, and so `root` can be removed without reaching into the host's /proc.
    run(command("unshare")
        .args(["--mount", "--propagation", "private", "debootstrap"])
        .args(["--variant=minbase", "--include=python3"])
        .arg(format!("--cache-dir={}", cache.display()))
        .arg(SUITE)
        .arg(root)
        .arg(MIRROR))?;
    Ok(())
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
    for file in REMOVED {
        let _ = fs::remove_file(root.join(file));
    }
    // Runtimes mount theirs over these.
    for file in ["etc/hostname", "etc/resolv.conf", "etc/hosts"] {
        fs::write(root.join(file), "")?;
    }
    Ok(())
}

fn pack(scratch: &Path, root: &Path, archive: &Path) -> Result<()> {
    let mut layer = Layer::create(&scratch.join("target-app-layer.tar"))?;
    layer.tree(root, &|path| {
        path.parent()
            .is_some_and(|parent| LEFT_OUT.iter().any(|dir| parent == Path::new(dir)))
    })?;
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
    archive::write(archive, TAG, &config, &layer.finish()?)
}

/// A Docker daemon that has the base.
struct Docker {
    client: PathBuf,
    had_base: bool,
}

impl Docker {
    /// `None` where no daemon answers or the base cannot be had.
    fn with_base() -> Option<Self> {
        let client = crate::process::find_program("docker")?;
        let probe = Self {
            client,
            had_base: false,
        };
        probe.run(&["version"]).ok()?;
        let had_base = probe.run(&["image", "inspect", BASE]).is_ok();
        if !had_base {
            let pull = step(&format!("pull {BASE}"), || {
                probe.run(&["pull", "--quiet", BASE])
            });
            if let Err(error) = pull {
                println!(
                    "  no registry answers: {}",
                    first_line(&format!("{error:#}"))
                );
                return None;
            }
        }
        Some(Self { had_base, ..probe })
    }

    fn build(&self, sources: &Path, wheels: &Path, scratch: &Path, archive: &Path) -> Result<()> {
        let context = scratch.join("context");
        fs::create_dir(&context)?;
        for file in SOURCES {
            fs::copy(sources.join(file), context.join(file))?;
        }
        fs::rename(wheels, context.join("wheels"))?;
        // The tag may be in use: it is given back afterwards.
        let former = self
            .run(&["image", "inspect", "--format", "{{.Id}}", TAG])
            .ok();
        let built = self
            .run(&["build", "--tag", TAG, text(&context)?])
            .and_then(|_| self.run(&["save", "--output", text(archive)?, TAG]));
        let restored = match &former {
            Some(id) => self.run(&["tag", id.trim(), TAG]),
            None => self.run(&["image", "rm", TAG]),
        };
        if !self.had_base {
            let _ = self.run(&["image", "rm", BASE]);
        }
        built.and(restored)?;
        Ok(())
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        run(command("timeout")
            .arg(PULL_PATIENCE)
            .arg(&self.client)
            .args(args))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("the path {} is not UTF-8", path.display()))
}

fn first_line(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("| "))
        .unwrap_or(text)
}
