//! `cargo xtask tidy`: the house rules that a machine can check.

mod dependencies;
mod documents;
mod sources;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::process::{command, run};

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// 0 where it is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A file of the repository.
struct Source {
    /// Relative to the root.
    path: String,
    text: String,
}

/// Runs the command on this workspace.
pub(crate) fn tidy() -> Result<()> {
    let findings = check(&crate::image::workspace())?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: nothing to complain about");
    Ok(())
}

/// Checks every rule on a workspace and returns what is broken, sorted by place.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let metadata = metadata(root)?;
    let sources = sources(root)?;
    let mut findings = dependencies::check(&metadata);
    let large = documents::check(&metadata, &sources, &mut findings);
    for source in &sources {
        sources::check(source, &large, &mut findings);
    }
    findings.sort();
    Ok(findings)
}

fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("failed to read the workspace's members")
}

/// The text files that git knows, and those that it would if they were added.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let listed = run(command("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut paths: Vec<&str> = listed.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    let mut sources = Vec::new();
    for path in paths {
        let file: PathBuf = root.join(path);
        // One that was deleted but not yet from the index, and a link to a directory, are no files.
        if !file.is_file() {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests;
