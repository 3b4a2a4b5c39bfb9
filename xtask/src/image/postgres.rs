//! The image of the database that `cargo xtask prove` takes apart: from its Dockerfile where a
//! registry answers, else from Debian's packages. Its data lies under a declared VOLUME.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::archive;
use super::debian;
use super::dockerfile::Docker;
use crate::process::step;

/// The tag in the archive.
pub(crate) const TAG: &str = "localhost/statefork-postgres:latest";

/// What the image is made from, in `xtask/src/prove/postgres/`.
pub(crate) const SOURCES: [&str; 2] = ["Dockerfile", "entrypoint.sh"];

/// The base that the Dockerfile names.
const BASE: &str = "debian:bookworm-slim";

const PACKAGE: &str = "postgresql-15";

/// Where the package has its programs; the compiler that `jit=off` leaves unused, a third of the
/// whole; and the cluster that the package makes by itself.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const COMPILER: [&str; 2] = ["libLLVM", "libz3"];
const OWN_CLUSTER: &str = "var/lib/postgresql/15";

/// Writes the archive. `cache` keeps what was downloaded.
pub(crate) fn build(sources: &Path, cache: &Path, scratch: &Path, archive: &Path) -> Result<()> {
    if let Some(docker) = Docker::with_base(BASE) {
        return docker.build(sources, TAG, archive);
    }
    let root = scratch.join("postgres-root");
    debian::debootstrap(cache, &root, PACKAGE)?;
    install(sources, &root)?;
    step("pack the root file system", || {
        pack(scratch, &root, archive)
    })
}

fn install(sources: &Path, root: &Path) -> Result<()> {
    let cluster = root.join(OWN_CLUSTER);
    // The package has made its user a moment ago; its number is the owner of what it made.
    let owner = fs::metadata(&cluster).with_context(|| format!("look at {}", cluster.display()))?;
    fs::remove_dir_all(&cluster)?;
    let data = root.join("data");
    fs::create_dir(&data)?;
    fs::set_permissions(&data, PermissionsExt::from_mode(0o700))?;
    std::os::unix::fs::chown(&data, Some(owner.uid()), Some(owner.gid()))?;
    fs::copy(sources.join("entrypoint.sh"), root.join("entrypoint.sh"))?;
    let machine = std::env::consts::ARCH;
    let libraries = root.join(format!("usr/lib/{machine}-linux-gnu"));
    for entry in fs::read_dir(&libraries)? {
        let entry = entry?;
        let name = entry.file_name();
        if COMPILER
            .iter()
            .any(|library| name.to_string_lossy().starts_with(library))
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn pack(scratch: &Path, root: &Path, archive: &Path) -> Result<()> {
    let layer = debian::pack(root, &scratch.join("postgres-layer.tar"))?;
    let config = json!({
        "Entrypoint": ["sh", "/entrypoint.sh"],
        "Env": [
            format!("PATH={PROGRAMS}:/usr/local/bin:/usr/bin:/bin"),
            "LANG=C.UTF-8",
            "PGDATA=/data/cluster",
        ],
        "User": "postgres",
        "WorkingDir": "/data",
        "Volumes": {"/data": {}},
        "ExposedPorts": {"5432/tcp": {}},
        "StopSignal": "SIGINT",
    });
    archive::write(archive, TAG, &config, &layer)
}
