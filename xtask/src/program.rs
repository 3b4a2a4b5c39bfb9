//! The program of the workspace that the demonstration and the proof run.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::image::workspace;
use crate::interrupt::{self, Heed};
use crate::process::{command, display};

/// Builds `statefork` and its helper, unoptimised: what takes time here is the runtime's work.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = command("cargo");
    cargo
        .args(["build", "--package", "statefork-cli"])
        .current_dir(workspace());
    println!("$ {}", display(&cargo));
    let status = interrupt::run(&mut cargo, Heed::Interrupts)?;
    interrupt::check()?;
    if !status.success() {
        bail!("`{}` ended with {status}", display(&cargo));
    }
    built()
}

/// Where it is once it is built.
pub(crate) fn built() -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("failed to find the target directory")?;
    let program = metadata.target_directory.join("debug/statefork");
    Ok(program.into_std_path_buf())
}
