//! Set-up, daemons, images, tests, demonstration, proof and comparison of the workspace, as `cargo xtask COMMAND`.

mod census;
mod cleanup;
mod compare;
mod daemons;
mod demo;
mod engine;
mod http;
mod image;
mod interrupt;
mod process;
mod program;
mod prove;
mod runtime;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Development commands of this workspace.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// Install the system packages that are missing.
    Setup(setup::Args),
    /// Start, stop or show the Docker daemon and the Podman service.
    #[command(subcommand)]
    Daemons(daemons::Command),
    /// Make the archives of target-app's image and of the small image of the tests.
    Image(image::Args),
    /// Check the house rules.
    Tidy,
    /// Set everything up, run every check and test, and look for what they left behind.
    Test(test::Args),
    /// Show the main job on a real application, step by step, and check each claim.
    Demo(demo::Args),
    /// Prove on a database that nothing is lost and nothing is left, whatever is killed.
    Prove(prove::Args),
    #[command(name = prove::ENCLOSED, hide = true)]
    ProveEnclosed(prove::Enclosed),
    /// Time snapshot, step and restore on every runtime and in the naive way, and make a report.
    Compare(compare::Args),
    #[command(name = compare::GUARD, hide = true)]
    CompareGuard(compare::Task),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Setup(args) => setup::run_command(&args),
        Command::Image(args) => image::run_command(&args),
        Command::Tidy => tidy::tidy(),
        Command::Test(args) => test::run_command(&args),
        Command::Demo(args) => demo::run_command(&args),
        Command::Prove(args) => prove::run_command(&args),
        Command::ProveEnclosed(task) => prove::run_enclosed(&task),
        Command::Compare(args) => compare::run_command(&args),
        Command::CompareGuard(task) => compare::run_guard(&task),
        Command::Daemons(command) => daemons::run_command(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if interrupt::requested() {
                return ExitCode::from(interrupt::EXIT_CODE);
            }
            ExitCode::FAILURE
        }
    }
}
