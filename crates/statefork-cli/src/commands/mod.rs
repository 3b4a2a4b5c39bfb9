//! The commands, one a file.

mod config;
mod doctor;
mod down;
mod exec;
mod history;
mod list;
mod logs;
mod restore;
pub(crate) mod shell;
mod show;
mod snapshot;
mod stats;
pub(crate) mod status;
mod step;
pub(crate) mod up;

use clap::Subcommand;

use crate::call::Call;
use crate::exit_code;
use crate::failure::Result;

/// A command that the command line and the shell have in common.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Box<up::Up>),
    Status(status::Status),
    Snapshot(snapshot::Snapshot),
    Step(step::Step),
    Restore(restore::Restore),
    List(list::List),
    Show(show::Show),
    Exec(exec::Exec),
    Logs(logs::Logs),
    Stats(stats::Stats),
    History(history::History),
    Down(down::Down),
    Doctor(doctor::Doctor),
    Config(config::Config),
}

impl Command {
    /// Runs it; returns its exit code, which is 0 for all but `exec`.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        match self {
            Self::Up(up) => up.run(call).await?,
            Self::Status(status) => status.run(call).await?,
            Self::Snapshot(snapshot) => snapshot.run(call).await?,
            Self::Step(step) => step.run(call).await?,
            Self::Restore(restore) => restore.run(call).await?,
            Self::List(list) => list.run(call)?,
            Self::Show(show) => show.run(call)?,
            Self::Exec(exec) => return exec.run(call).await,
            Self::Logs(logs) => logs.run(call).await?,
            Self::Stats(stats) => stats.run(call)?,
            Self::History(history) => history.run(call)?,
            Self::Down(down) => down.run(call).await?,
            Self::Doctor(doctor) => doctor.run(call).await?,
            Self::Config(config) => config.run(call)?,
        }
        Ok(exit_code::DONE)
    }
}
