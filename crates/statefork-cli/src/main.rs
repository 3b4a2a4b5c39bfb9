//! The program `statefork`: git for running containers.

mod arguments;
mod call;
mod commands;
mod documents;
mod exit_code;
mod failure;
mod filter;
mod hints;
mod interrupts;
mod kind;
mod logging;
mod output;
mod progress;
mod run;
mod runtimes;
mod session;
mod shell;
mod standard_input;
mod streams;
mod style;
mod terminal;
mod text;

fn main() -> std::process::ExitCode {
    run::run(std::env::args_os())
}
