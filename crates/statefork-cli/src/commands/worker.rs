//! What a shim has done where a command has died or froze an application for too long, and in the
//! background. People have no use for it.

use std::time::{Duration, Instant};

use clap::Subcommand;
use statefork_runtime::{ContainerId, ErrorKind};

use crate::call::Call;
use crate::failure::Result;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// A daemon that is away for longer is started by somebody who then gives a command.
const GIVE_UP: Duration = Duration::from_secs(600);

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
    /// Do what there is to do behind the operations on the branch
    #[command(name = statefork_core::environment::TEND, hide = true)]
    Tend,
    /// Remove the branches of the environment whose time is over
    #[command(name = statefork_core::environment::REAP, hide = true)]
    Reap,
}

impl Worker {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        match self {
            Self::Recover => {
                let environment = call.environment()?.environment;
                persist(async || environment.recover_branch().await).await
            }
            Self::Thaw { container } => thaw(call, container).await,
            // A home that was removed meanwhile must not be made anew.
            Self::Tend | Self::Reap if !call.session.config()?.home.exists() => Ok(()),
            Self::Tend => Ok(call.environment()?.environment.tend().await?),
            // A branch that is worked on at the moment goes afterwards.
            Self::Reap => {
                let environment = call.environment()?.environment;
                persist(async || environment.reap().await.map(drop)).await
            }
        }
    }
}

/// Tries again while the runtime does not answer: its daemon may have died with the command, and
/// come back.
async fn persist(attempt: impl AsyncFn() -> statefork_core::Result<()>) -> Result<()> {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Err(error) if begun.elapsed() < GIVE_UP && is_passing(error.kind()) => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Whether it may be otherwise before long: a daemon that has just been started also refuses things.
fn is_passing(kind: statefork_core::ErrorKind) -> bool {
    use statefork_core::ErrorKind;
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Failed | ErrorKind::Conflict
    )
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
