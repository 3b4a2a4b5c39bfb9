//! `cp`: files into a branch's container and out of it.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use statefork_core::{Copied, check_name};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::output;
use crate::standard_input::StandardInput;
use crate::text::{count, size};

/// Copy files into the application's container or out of it
///
/// Exactly one side is in a container: `:PATH` on the current branch, `BRANCH:PATH` on another. A
/// target that is a folder takes the source in; else it is the copy's name. Owners become root in
/// the container, and you outside. `-` is a tar stream on standard input or standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "A source that ends with /. stands for what lies in it. A path of yours with a \
                  colon is written with a slash before it: ./a:b\n\nExample:\n  statefork cp \
                  fix.py :/app/\n  statefork cp main:/data/. backup\n  statefork cp :/data - | tar \
                  tf -"
)]
pub(crate) struct Cp {
    /// What to copy
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to
    #[arg(value_name = "DST")]
    target: String,
}

#[derive(Serialize)]
struct CpDocument<'a> {
    source: &'a str,
    target: &'a str,
    files: usize,
    size_bytes: u64,
}

#[derive(Serialize)]
struct ArchiveDocument<'a> {
    source: &'a str,
    target: &'a str,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Host(PathBuf),
    /// A tar stream on standard input or standard output.
    Standard,
    Container {
        branch: Option<String>,
        path: PathBuf,
    },
}

impl Side {
    /// What stands before the first colon is a branch, unless a slash is in it.
    fn read(text: &str) -> Result<Self> {
        let (branch, path) = match text.split_once(':') {
            Some((branch, path)) if !branch.contains('/') => (branch, path),
            _ if text == "-" => return Ok(Self::Standard),
            _ => return Ok(Self::Host(text.into())),
        };
        if !branch.is_empty() {
            check_name(branch)?;
        }
        if path.is_empty() {
            return Err(Failure::usage(format!("{text:?} names no path")));
        }
        Ok(Self::Container {
            branch: Some(branch.to_owned()).filter(|branch| !branch.is_empty()),
            // As from the root, which is where most containers work.
            path: Path::new("/").join(path),
        })
    }
}

impl Cp {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let copied = match (Side::read(&self.source)?, Side::read(&self.target)?) {
            (Side::Host(source), Side::Container { branch, path }) => {
                let opened = call.open_on(branch)?;
                let copying = opened.environment.copy_in(&source, &path);
                let copying = opened
                    .progress
                    .during("copying into the container", copying);
                call.interrupt.or(copying).await?
            }
            (Side::Container { branch, path }, Side::Host(target)) => {
                let opened = call.open_on(branch)?;
                let copying = opened.environment.copy_out(&path, &target);
                let copying = opened
                    .progress
                    .during("copying out of the container", copying);
                call.interrupt.or(copying).await?
            }
            (Side::Standard, Side::Container { branch, path }) => {
                return self.archive_in(call, branch, &path).await;
            }
            (Side::Container { branch, path }, Side::Standard) => {
                return self.archive_out(call, branch, &path).await;
            }
            _ => {
                return Err(Failure::usage(
                    "exactly one of SRC and DST is in the container, as :PATH or BRANCH:PATH",
                ));
            }
        };
        self.tell(call, copied)
    }

    async fn archive_in(&self, call: &Call<'_>, branch: Option<String>, path: &Path) -> Result<()> {
        let opened = call.open_on(branch)?;
        let input = StandardInput::open(call.session.input).map_err(|source| Failure::Io {
            op: "read standard input",
            source,
        })?;
        let archive = stream::try_unfold(input, async |mut input| {
            let piece = input.next().await?;
            Ok(piece.map(|piece| (piece.into(), input)))
        });
        let unpacking = opened.environment.archive_in(archive.boxed(), path);
        call.interrupt.or(unpacking).await?;
        let document = || ArchiveDocument {
            source: &self.source,
            target: &self.target,
        };
        call.answer(document, |_| {
            format!("unpacked the archive in {}\n", self.target)
        })
    }

    async fn archive_out(
        &self,
        call: &Call<'_>,
        branch: Option<String>,
        path: &Path,
    ) -> Result<()> {
        if call.session.output.json {
            return Err(Failure::usage("an archive and --json exclude each other"));
        }
        if io::stdout().is_terminal() {
            return Err(Failure::usage(
                "an archive is nothing for a terminal: redirect it",
            ));
        }
        let opened = call.open_on(branch)?;
        let copying = async {
            let mut archive = opened.environment.archive_out(path).await?;
            while let Some(piece) = archive.try_next().await.map_err(|source| Failure::Io {
                op: "read the archive",
                source,
            })? {
                output::write(&piece)?;
            }
            Ok::<_, Failure>(())
        };
        call.interrupt.or(copying).await
    }

    fn tell(&self, call: &Call<'_>, copied: Copied) -> Result<()> {
        let document = || CpDocument {
            source: &self.source,
            target: &self.target,
            files: copied.files,
            size_bytes: copied.bytes,
        };
        let text = |_| {
            format!(
                "copied {} ({}) to {}\n",
                count(copied.files, "file"),
                size(copied.bytes),
                self.target
            )
        };
        call.answer(document, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_with_a_colon_is_in_a_container() {
        let container = |branch: Option<&str>, path: &str| Side::Container {
            branch: branch.map(ToOwned::to_owned),
            path: path.into(),
        };
        for (text, side) in [
            ("file", Side::Host("file".into())),
            ("-", Side::Standard),
            ("./a:b", Side::Host("./a:b".into())),
            (":/etc/motd", container(None, "/etc/motd")),
            (":etc/.", container(None, "/etc/.")),
            ("v2:/a:b", container(Some("v2"), "/a:b")),
        ] {
            assert_eq!(Side::read(text).unwrap(), side, "{text}");
        }
        for text in [":", "main:", "two words:/a"] {
            assert!(Side::read(text).is_err(), "{text}");
        }
    }
}
