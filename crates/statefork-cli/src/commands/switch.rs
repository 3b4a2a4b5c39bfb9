//! `switch`: choose the current branch.

use clap::Args;
use serde::Serialize;

use crate::call::Call;
use crate::failure::Result;

/// Choose the branch that commands work on
///
/// In the shell this changes the shell's own branch too; other shells keep theirs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork switch main")]
pub(crate) struct Switch {
    /// The branch
    #[arg(value_name = "NAME")]
    branch: String,
}

#[derive(Serialize)]
struct SwitchDocument<'a> {
    current: &'a str,
}

impl Switch {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let current = self.branch.as_str();
        call.open()?.environment.switch(current).await?;
        call.session.set_branch(current);
        call.answer(
            || SwitchDocument { current },
            |_| format!("on branch {current}\n"),
        )
    }
}
