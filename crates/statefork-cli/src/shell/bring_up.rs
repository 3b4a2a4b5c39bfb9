//! Before the first line: bring the environment up, if it is not.

use statefork_core::config::Config;
use tokio::runtime::Runtime;

use crate::call::Call;
use crate::commands::status::is_up;
use crate::commands::up::Up;
use crate::failure::Result;
use crate::run;
use crate::session::Session;

/// Brings up what the configuration says, or what was up before. Where nothing says what to start,
/// a person is told how to.
pub(super) fn bring_up(runtime: &Runtime, session: &Session) -> Result<()> {
    run::with_call(runtime, session, async |call: &Call<'_>| {
        let opened = call.read()?;
        let status = call.interrupt.or(opened.environment.status()).await?;
        match status {
            Some(status) if is_up(&status) => Ok(()),
            None if !names_image(call.session.config()?) => {
                call.session.output.note(&format!(
                    "environment {:?} does not exist and the configuration names no image: \
                     `up IMAGE` starts one",
                    opened.environment.name()
                ));
                Ok(())
            }
            _ => Up::default().run_aside(call, &opened).await,
        }
    })
}

fn names_image(config: &Config) -> bool {
    config.application.image.is_some() || config.application.build.is_some()
}
