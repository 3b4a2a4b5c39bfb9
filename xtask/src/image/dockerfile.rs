//! An image built from its Dockerfile, where a registry hands out the base.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{command, find_program, run, step};

/// How long a registry may take to hand out the base, in seconds, or a build.
const PATIENCE: &str = "120";

/// A Docker daemon that has the base.
pub(super) struct Docker {
    client: PathBuf,
    base: &'static str,
    had_base: bool,
}

impl Docker {
    /// `None` where no daemon answers or the base cannot be had.
    pub(super) fn with_base(base: &'static str) -> Option<Self> {
        let client = find_program("docker")?;
        let probe = Self {
            client,
            base,
            had_base: false,
        };
        probe.run(&["version"]).ok()?;
        let had_base = probe.run(&["image", "inspect", base]).is_ok();
        if !had_base {
            let pull = step(&format!("pull {base}"), || {
                probe.run(&["pull", "--quiet", base])
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

    /// Builds the Dockerfile of a folder and writes the archive.
    pub(super) fn build(&self, context: &Path, tag: &str, archive: &Path) -> Result<()> {
        step(&format!("build the Dockerfile on {}", self.base), || {
            self.build_and_save(context, tag, archive)
        })
    }

    fn build_and_save(&self, context: &Path, tag: &str, archive: &Path) -> Result<()> {
        // The tag may be in use: it is given back afterwards.
        let former = self
            .run(&["image", "inspect", "--format", "{{.Id}}", tag])
            .ok();
        let built = self
            .run(&["build", "--tag", tag, text(context)?])
            .and_then(|_| self.run(&["save", "--output", text(archive)?, tag]));
        let restored = match &former {
            Some(id) => self.run(&["tag", id.trim(), tag]),
            None => self.run(&["image", "rm", tag]),
        };
        if !self.had_base {
            let _ = self.run(&["image", "rm", self.base]);
        }
        built.and(restored)?;
        Ok(())
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        run(command("timeout")
            .arg(PATIENCE)
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
