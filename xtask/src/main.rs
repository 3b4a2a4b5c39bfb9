//! Set-up, daemons, images and house rules of the workspace, as `cargo xtask COMMAND`.

mod daemons;
mod image;
mod process;
mod setup;
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
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Setup(args) => setup::run_command(&args),
        Command::Image(args) => image::run_command(&args),
        Command::Tidy => tidy::tidy(),
        Command::Daemons(command) => daemons::run_command(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
