//! `verify`: whether the runtime still has what snapshots need.

use clap::Args;
use serde::Serialize;
use statefork_core::environment::Verified;

use crate::call::Call;
use crate::exit_code;
use crate::failure::Result;

/// Check that the runtime still has what snapshots need
///
/// All snapshots unless one is named. What is missing is told and shown by `list`; then the exit
/// code is 8.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork verify\n  statefork verify HEAD^")]
pub(crate) struct Verify {
    /// The snapshot
    #[arg(value_name = "REV", conflicts_with = "all")]
    revision: Option<String>,
    /// All snapshots, as without a REV
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct VerifyDocument {
    verified: Vec<VerifiedDocument>,
}

#[derive(Serialize)]
struct VerifiedDocument {
    id: String,
    verified: &'static str,
}

impl Verify {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        let opened = call.open()?;
        let work = opened.environment.verify(self.revision.as_deref());
        let found = opened.progress.during("looking", work).await?;
        let document = || VerifyDocument {
            verified: found
                .iter()
                .map(|found| VerifiedDocument {
                    id: found.id.to_string(),
                    verified: word(found.intact),
                })
                .collect(),
        };
        call.answer(document, |_| shown(&found))?;
        Ok(match found.iter().all(|found| found.intact) {
            true => exit_code::DONE,
            false => exit_code::DAMAGED,
        })
    }
}

/// The word for what was found.
pub(crate) fn word(intact: bool) -> &'static str {
    match intact {
        true => "ok",
        false => "missing",
    }
}

fn shown(found: &[Verified]) -> String {
    let rows = found.iter();
    rows.map(|found| format!("{}  {}\n", found.id, word(found.intact)))
        .collect()
}
