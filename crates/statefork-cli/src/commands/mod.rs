//! The commands, one a file.

mod attempt;
mod branch;
mod completions;
mod config;
mod cp;
mod doctor;
mod down;
mod exec;
mod fork;
mod history;
mod image;
pub(crate) mod list;
pub(crate) mod logs;
mod restore;
mod rm;
pub(crate) mod shell;
mod show;
mod snapshot;
mod start;
mod stats;
pub(crate) mod status;
mod step;
mod stop;
mod switch;
mod tag;
mod tree;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod worker;

use clap::Subcommand;

use crate::call::Call;
use crate::exit_code;
use crate::failure::Result;

/// A command that the command line and the shell have in common.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Box<up::Up>),
    Status(status::Status),
    Start(start::Start),
    Stop(stop::Stop),
    Snapshot(snapshot::Snapshot),
    Step(step::Step),
    Restore(restore::Restore),
    List(list::List),
    Tree(tree::Tree),
    Show(show::Show),
    Tag(tag::Tag),
    Fork(fork::Fork),
    Branch(branch::Branch),
    Switch(switch::Switch),
    Try(attempt::Try),
    Exec(exec::Exec),
    Cp(cp::Cp),
    Logs(logs::Logs),
    Stats(stats::Stats),
    History(history::History),
    Rm(rm::Rm),
    Verify(verify::Verify),
    Image(image::Image),
    Down(down::Down),
    Doctor(doctor::Doctor),
    Config(config::Config),
    Completions(completions::Completions),
}

impl Command {
    /// Runs it; returns its exit code, which is 0 for all but `exec`, `try`, `fork` and `verify`.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<u8> {
        match self {
            Self::Up(up) => up.run(call).await?,
            Self::Status(status) => status.run(call).await?,
            Self::Start(start) => start.run(call).await?,
            Self::Stop(stop) => stop.run(call).await?,
            Self::Snapshot(snapshot) => snapshot.run(call).await?,
            Self::Step(step) => step.run(call).await?,
            Self::Restore(restore) => restore.run(call).await?,
            Self::List(list) => list.run(call)?,
            Self::Tree(tree) => tree.run(call)?,
            Self::Show(show) => show.run(call)?,
            Self::Tag(tag) => tag.run(call).await?,
            Self::Fork(fork) => return fork.run(call).await,
            Self::Branch(branch) => branch.run(call).await?,
            Self::Switch(switch) => switch.run(call).await?,
            Self::Try(attempt) => return attempt.run(call).await,
            Self::Exec(exec) => return exec.run(call).await,
            Self::Cp(cp) => cp.run(call).await?,
            Self::Logs(logs) => logs.run(call).await?,
            Self::Stats(stats) => stats.run(call)?,
            Self::History(history) => history.run(call)?,
            Self::Rm(rm) => rm.run(call).await?,
            Self::Verify(verify) => return verify.run(call).await,
            Self::Image(image) => image.run(call).await?,
            Self::Down(down) => down.run(call).await?,
            Self::Doctor(doctor) => doctor.run(call).await?,
            Self::Config(config) => config.run(call)?,
            Self::Completions(completions) => completions.run(call)?,
        }
        Ok(exit_code::DONE)
    }
}
