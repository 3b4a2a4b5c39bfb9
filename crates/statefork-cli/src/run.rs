//! From the command line to the exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::arguments::{self, Arguments, NoCommand, TopCommand};
use crate::call::Call;
use crate::commands::Command;
use crate::commands::shell::Shell;
use crate::exit_code;
use crate::failure::{Failure, Result};
use crate::interrupts::Interrupts;
use crate::kind::Kind;
use crate::logging;
use crate::output::Output;
use crate::session::Session;
use crate::shell;

/// Runs the process's command.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<_> = arguments.collect();
    let code = match arguments::parse(&words) {
        Ok(arguments) => run_arguments(arguments),
        Err(no_command) => {
            let output = Output::new(arguments::wants_json(&words), false);
            let printed = match no_command {
                NoCommand::Print(text) => output.text(&text),
                NoCommand::Failure(failure) => Err(failure),
            };
            code_of(&output, None, printed.map(|()| exit_code::DONE))
        }
    };
    ExitCode::from(code)
}

fn run_arguments(arguments: Arguments) -> u8 {
    let Arguments { globals, command } = arguments;
    logging::start(globals.verbose);
    let output = Output::new(globals.json, globals.quiet);
    let (runtime, interrupts) = match start() {
        Ok(started) => started,
        Err(failure) => return code_of(&output, None, Err(failure)),
    };
    let mut session = Session::new(globals, output, interrupts);
    match command {
        Some(TopCommand::Command(command)) => run_command(&runtime, &session, &command),
        Some(TopCommand::Worker(worker)) => {
            let outcome = with_call(&runtime, &session, async |call| worker.run(call).await);
            let outcome = outcome.map(|()| exit_code::DONE);
            code_of(&session.output, session.environment_name(), outcome)
        }
        Some(TopCommand::Shell(arguments)) => shell::run(&runtime, &mut session, &arguments),
        None => shell::run(&runtime, &mut session, &Shell::default()),
    }
}

fn start() -> Result<(Runtime, Interrupts)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            op: "start",
            source,
        })?;
    Ok((runtime, Interrupts::listen()?))
}

/// Runs a command and tells how it failed, if it did. Returns its exit code.
pub(crate) fn run_command(runtime: &Runtime, session: &Session, command: &Command) -> u8 {
    let outcome = with_call(runtime, session, async |call| command.run(call).await);
    let environment = session.environment_name();
    match (outcome, command) {
        (Err(failure), Command::Exec(_) | Command::Try(_)) => {
            let code = exit_code::of_exec(Kind::of(&failure));
            tell(&session.output, environment, &failure, code)
        }
        (outcome, _) => code_of(&session.output, environment, outcome),
    }
}

/// Runs work that signals end.
pub(crate) fn with_call<T>(
    runtime: &Runtime,
    session: &Session,
    work: impl AsyncFnOnce(&Call<'_>) -> Result<T>,
) -> Result<T> {
    let running = session.interrupts.run();
    let call = Call {
        session,
        interrupt: running.interrupt(),
    };
    let outcome = runtime.block_on(work(&call));
    outcome.map_err(|failure| session.explain(failure))
}

/// The exit code of an outcome, a failure of which is told.
pub(crate) fn code_of(output: &Output, environment: Option<&str>, outcome: Result<u8>) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            let code = exit_code::of(Kind::of(&failure));
            tell(output, environment, &failure, code)
        }
    }
}

fn tell(output: &Output, environment: Option<&str>, failure: &Failure, code: u8) -> u8 {
    if failure.is_closed_output() {
        // Whoever read our output has seen enough of it.
        return exit_code::DONE;
    }
    output.failure(environment, failure, code);
    code
}
