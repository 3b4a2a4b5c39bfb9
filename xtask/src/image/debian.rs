//! A root file system of Debian's packages, for where no registry hands out a base.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::archive::{Finished, Layer};
use crate::process::{command, is_root, retry, run, step};

/// Debian's release: with the Python and the PostgreSQL that the Dockerfiles name.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

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

/// Makes `root`, with these packages beside the smallest base. `cache` keeps what was downloaded.
pub(super) fn debootstrap(cache: &Path, root: &Path, packages: &str) -> Result<()> {
    if !is_root() {
        bail!("no registry answers, and debootstrap takes root: run this as root");
    }
    step(&format!("debootstrap {SUITE} with {packages}"), || {
        retry(2, || try_debootstrap(cache, root, packages))
    })
}

fn try_debootstrap(cache: &Path, root: &Path, packages: &str) -> Result<()> {
    // A first try that failed leaves a half of it.
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::create_dir_all(cache)?;
    // In a mount namespace of its own: whatever it mounts below `root` goes when it ends, even by
    // a signal, and so `root` can be removed without reaching into the host's /proc.
    run(command("unshare")
        .args(["--mount", "--propagation", "private", "debootstrap"])
        .arg("--variant=minbase")
        .arg(format!("--include={packages}"))
        .arg(format!("--cache-dir={}", cache.display()))
        .arg(SUITE)
        .arg(root)
        .arg(MIRROR)
        // A package must not start its daemon: run level 1 starts nothing.
        .env("RUNLEVEL", "1"))?;
    Ok(())
}

/// Packs what is in `root` into a layer, without what belongs to a machine.
pub(super) fn pack(root: &Path, layer: &Path) -> Result<Finished> {
    for file in REMOVED {
        let _ = fs::remove_file(root.join(file));
    }
    // Runtimes mount theirs over these.
    for file in ["etc/hostname", "etc/resolv.conf", "etc/hosts"] {
        fs::write(root.join(file), "")?;
    }
    let mut layer = Layer::create(layer)?;
    layer.tree(root, &|path| {
        path.parent()
            .is_some_and(|parent| LEFT_OUT.iter().any(|dir| parent == Path::new(dir)))
    })?;
    layer.finish()
}
