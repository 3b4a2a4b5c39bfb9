//! `cargo xtask image`: the archives of the images that the tests, the demonstration and the proof
//! use. All are docker-archives; every runtime imports the same bytes.

mod archive;
mod busybox;
mod debian;
mod dockerfile;
mod postgres;
mod target_app;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::process::step;
use archive::hex;
pub(crate) use busybox::TAG as BUSYBOX;
pub(crate) use postgres::TAG as POSTGRES;
pub(crate) use target_app::TAG as TARGET_APP;

/// To be raised when the way the archives are made changes.
const RECIPE: &str = "1";

/// Debian's packages that were downloaded, beside the archives.
const PACKAGES: &str = "debs";

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the archives go; `target/xtask` unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Make them anew although nothing they are made from has changed.
    #[arg(long)]
    force: bool,
}

/// Where the archives are unless told otherwise.
pub(crate) fn usual_dir() -> PathBuf {
    workspace().join("target/xtask")
}

/// The archives.
pub(crate) struct Archives {
    /// `localhost/target-app:latest`.
    pub(crate) target_app: PathBuf,
    /// `localhost/statefork-busybox:latest`.
    pub(crate) busybox: PathBuf,
}

impl Archives {
    /// Those of a directory, whether they are made yet or not.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            target_app: dir.join("target-app.tar"),
            busybox: dir.join("busybox.tar"),
        }
    }
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(usual_dir);
    let archives = images(&out, args.force)?;
    let postgres = postgres(&out, args.force)?;
    for archive in [&archives.target_app, &archives.busybox, &postgres] {
        let bytes = fs::metadata(archive)?.len();
        println!("{} {:.1} MB", archive.display(), bytes as f64 / 1e6);
    }
    Ok(())
}

/// Makes the archive of target-app's image, unless what it is made from is unchanged.
pub(crate) fn target_app(out: &Path, force: bool) -> Result<PathBuf> {
    let out = &directory(out)?;
    let scratch = Scratch::new(out)?;
    let archive = Archives::in_dir(out).target_app;
    let sources = workspace().join("target-app");
    let inputs = inputs(&sources, &target_app::SOURCES)?;
    refresh(&archive, force, &inputs, &scratch, |next| {
        target_app::build(&sources, &out.join(PACKAGES), scratch.path(), next)
    })?;
    Ok(archive)
}

/// Makes the archives of target-app and of the small image, unless what they are made from is
/// unchanged.
pub(crate) fn images(out: &Path, force: bool) -> Result<Archives> {
    target_app(out, force)?;
    let out = &directory(out)?;
    let scratch = Scratch::new(out)?;
    let archives = Archives::in_dir(out);
    let program = busybox::program()?;
    refresh(&archives.busybox, force, &[&program], &scratch, |next| {
        busybox::build(scratch.path(), next, &program)
    })?;
    Ok(archives)
}

/// Makes the archive of the database, unless what it is made from is unchanged.
pub(crate) fn postgres(out: &Path, force: bool) -> Result<PathBuf> {
    let out = &directory(out)?;
    let scratch = Scratch::new(out)?;
    let archive = out.join("postgres.tar");
    let sources = workspace().join("xtask/src/prove/postgres");
    let inputs = inputs(&sources, &postgres::SOURCES)?;
    refresh(&archive, force, &inputs, &scratch, |next| {
        postgres::build(&sources, &out.join(PACKAGES), scratch.path(), next)
    })?;
    Ok(archive)
}

fn directory(out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    Ok(out.canonicalize()?)
}

/// What an archive is made from: these files, for this kind of machine.
fn inputs(sources: &Path, names: &[&str]) -> Result<Vec<Vec<u8>>> {
    let mut inputs = vec![archive::architecture().as_bytes().to_vec()];
    for name in names {
        let path = sources.join(name);
        inputs.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(inputs)
}

/// Builds an archive if its inputs differ from those of the archive that is there. The archive
/// appears complete or not at all.
fn refresh(
    archive: &Path,
    force: bool,
    inputs: &[impl AsRef<[u8]>],
    scratch: &Scratch,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let stamp = archive.with_extension("inputs");
    let digest = digest(inputs);
    let length = |path: &Path| fs::metadata(path).map(|meta| meta.len());
    if !force
        && let (Ok(recorded), Ok(length)) = (fs::read_to_string(&stamp), length(archive))
        && recorded == format!("{digest} {length}\n")
    {
        println!("image: {name} is up to date");
        return Ok(());
    }
    let next = scratch.path().join(&*name);
    step(&format!("image: make {name}"), || build(&next))
        .with_context(|| format!("failed to make {name}"))?;
    let length = length(&next)?;
    File::open(&next)?.sync_all()?;
    fs::rename(&next, archive)?;
    fs::write(&stamp, format!("{digest} {length}\n"))?;
    Ok(())
}

fn digest(inputs: &[impl AsRef<[u8]>]) -> String {
    let mut hash = Sha256::new_with_prefix(RECIPE);
    for input in inputs {
        hash.update((input.as_ref().len() as u64).to_le_bytes());
        hash.update(input);
    }
    hex(&hash.finalize())
}

/// The workspace's root directory.
pub(crate) fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_owned).unwrap_or(manifest)
}

/// A temporary directory beside the archives, removed at the end; one that a killed build has
/// left is removed at the start of the next.
struct Scratch {
    dir: PathBuf,
    /// Held until the end: two builds at once would remove each other's directory.
    _lock: File,
}

impl Scratch {
    fn new(out: &Path) -> Result<Self> {
        let lock = File::create(out.join(".lock"))?;
        lock.lock()?;
        let dir = out.join(".build");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        fs::create_dir(&dir)?;
        Ok(Self { dir, _lock: lock })
    }

    fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            println!("image: {} stays: {error}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_built_again_only_when_its_inputs_or_it_change() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let archive = dir.path().join("a.tar");
        let built = |inputs: &[&str], force| {
            let mut built = false;
            refresh(&archive, force, inputs, &scratch, |next| {
                built = true;
                Ok(fs::write(next, "content")?)
            })
            .unwrap();
            built
        };
        assert!(built(&["a", "b"], false));
        assert!(!built(&["a", "b"], false));
        assert!(built(&["a", "b"], true));
        assert!(built(&["ab", ""], false), "the same bytes in other files");
        fs::write(&archive, "cut").unwrap();
        assert!(built(&["ab", ""], false), "a damaged archive");
    }

    #[test]
    fn a_failed_build_leaves_the_former_archive() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let archive = dir.path().join("a.tar");
        fs::write(&archive, "former").unwrap();
        let result = refresh(&archive, true, &["x"], &scratch, |next| {
            fs::write(next, "half")?;
            anyhow::bail!("no")
        });
        assert!(result.is_err());
        assert_eq!(fs::read_to_string(&archive).unwrap(), "former");
    }
}
