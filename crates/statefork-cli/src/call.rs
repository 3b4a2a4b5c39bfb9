//! One call of a command.

use std::sync::Arc;

use serde::Serialize;
use statefork_core::environment::{Environment, Observer, Options};

use crate::failure::Result;
use crate::interrupts::Interrupt;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::{Layout, count};

/// One call of a command.
pub(crate) struct Call<'a> {
    pub(crate) session: &'a Session,
    pub(crate) interrupt: &'a Interrupt,
}

/// The environment that a command works on.
pub(crate) struct Opened {
    pub(crate) environment: Environment,
    pub(crate) progress: Arc<Progress>,
}

impl Call<'_> {
    /// Names the environment, without a word about it.
    pub(crate) fn environment(&self) -> Result<Opened> {
        self.environment_on(self.session.branch()?)
    }

    fn environment_on(&self, branch: Option<String>) -> Result<Opened> {
        let session = self.session;
        let config = session.config()?;
        let progress = Arc::new(Progress::new(session.output, session.globals.verbose > 0));
        let options = Options {
            programs: Some(session.programs()?),
            freeze_timeout: config.freeze_timeout,
            lock_timeout: config.lock_timeout,
            stop_timeout: config.stop_timeout,
            builders: session.builders()?,
            standby_memory: config.standby_memory,
            cancel: self.interrupt.cancel.clone(),
            observer: progress.clone(),
        };
        let runtime = session.runtime()?;
        let name = &config.environment;
        let home = session.home()?;
        Ok(Opened {
            environment: Environment::new(home, runtime, name, branch.as_deref(), options)?,
            progress,
        })
    }

    /// Opens the environment for a command that names a branch of its own, or none.
    pub(crate) fn open_on(&self, branch: Option<String>) -> Result<Opened> {
        match branch {
            Some(branch) => self.environment_on(Some(branch)),
            None => self.open(),
        }
    }

    /// Opens the environment for a command that changes something.
    ///
    /// If it is empty and its name has snapshots on another runtime, that is said.
    pub(crate) fn open(&self) -> Result<Opened> {
        let opened = self.environment()?;
        let environment = &opened.environment;
        if !environment.exists()? {
            let elsewhere = environment.elsewhere()?;
            if let Some(other) = elsewhere.first() {
                opened.progress.notice(&format!(
                    "environment {:?} has no snapshots on {}, but on {} (-r {other})",
                    environment.name(),
                    environment.runtime_name(),
                    elsewhere.join(" and "),
                ));
            }
        }
        Ok(opened)
    }

    /// Opens the environment for a command that only reads: operations that did not end are told.
    pub(crate) fn read(&self) -> Result<Opened> {
        let opened = self.open()?;
        let unfinished = opened.environment.unfinished()?;
        if !unfinished.is_empty() {
            let which: Vec<_> = unfinished
                .iter()
                .map(|unfinished| format!("{} ({})", unfinished.operation, unfinished.kind))
                .collect();
            opened.progress.notice(&format!(
                "{} did not end: {}",
                count(unfinished.len(), "operation"),
                which.join(", ")
            ));
        }
        Ok(opened)
    }

    /// Answers: the document, or the text.
    pub(crate) fn answer<T: Serialize>(
        &self,
        body: impl FnOnce() -> T,
        text: impl FnOnce(Layout) -> String,
    ) -> Result<()> {
        let environment = self.session.environment_name();
        self.session.output.answer(environment, body, text)
    }
}
