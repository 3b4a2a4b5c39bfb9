//! What a shim has done where a command has died or froze an application for too long. People have
//! no use for it.

use clap::Subcommand;
use statefork_runtime::{ContainerId, ErrorKind};

use crate::call::Call;
use crate::failure::Result;

/// A command for shims. Their names are those of [`statefork_core::environment`].
#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Finish or undo what operations on the branch have left whose processes ended
    #[command(name = statefork_core::environment::RECOVER, hide = true)]
    Recover,
    /// Let a frozen container go on, whoever froze it
    #[command(name = statefork_core::environment::THAW, hide = true)]
    Thaw {
        /// Its id in the runtime
        container: String,
    },
}

impl Worker {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        match self {
            Self::Recover => Ok(call.environment()?.environment.recover_branch().await?),
            Self::Thaw { container } => thaw(call, container).await,
        }
    }
}

/// Without locks: whoever froze it holds them.
async fn thaw(call: &Call<'_>, container: &str) -> Result<()> {
    let thawed = call
        .session
        .runtime()?
        .unpause(&ContainerId::new(container))
        .await;
    match thawed {
        // Gone, or ended meanwhile: then nothing is frozen.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound(_) | ErrorKind::WrongState) => {
            Ok(())
        }
        thawed => Ok(thawed?),
    }
}
