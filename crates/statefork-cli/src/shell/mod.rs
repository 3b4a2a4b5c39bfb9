//! The shell: commands from a person at a terminal, or from a script, one a line.

mod bring_up;
mod completion;
mod editor;
mod script;

use std::io::{self, IsTerminal};

use serde::Serialize;
use tokio::runtime::Runtime;

use crate::arguments::{self, LineCommand, NoCommand};
use crate::call::Call;
use crate::commands::shell::Shell;
use crate::exit_code;
use crate::failure::Result;
use crate::run;
use crate::session::Session;

/// What a line came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It did what it says, or says nothing.
    Done,
    /// It failed, and that was told.
    Failed,
    /// The shell is to end.
    Exit,
}

#[derive(Serialize)]
struct HelpDocument<'a> {
    help: &'a str,
}

/// Runs the shell; returns its exit code.
pub(crate) fn run(runtime: &Runtime, session: &mut Session, arguments: &Shell) -> u8 {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let outcome = match at_terminal && !session.output.json {
        true => editor::run(runtime, session),
        false => script::run(runtime, session, arguments.fail_fast),
    };
    run::code_of(&session.output, session.environment_name(), outcome)
}

/// From now on the shell has a branch of its own: the current one of this moment, unless it was
/// asked for another.
fn keep_branch(runtime: &Runtime, session: &Session) -> Result<()> {
    let name = run::with_call(runtime, session, async |call: &Call<'_>| {
        Ok(call.environment()?.environment.branch_name()?)
    })?;
    session.set_branch(&name);
    Ok(())
}

/// Runs one line. Whatever fails is told here.
fn run_line(runtime: &Runtime, session: &Session, line: &str) -> Line {
    let outcome = match arguments::parse_line(line) {
        Ok(None) => return Line::Done,
        Ok(Some(LineCommand::Exit)) => return Line::Exit,
        Ok(Some(LineCommand::Command(command))) => {
            return match run::run_command(runtime, session, &command) {
                exit_code::DONE => Line::Done,
                _ => Line::Failed,
            };
        }
        Err(NoCommand::Print(text)) => print_help(session, &text),
        Err(NoCommand::Failure(failure)) => Err(failure),
    };
    let outcome = outcome.map(|()| exit_code::DONE);
    match run::code_of(&session.output, session.environment_name(), outcome) {
        exit_code::DONE => Line::Done,
        _ => Line::Failed,
    }
}

fn print_help(session: &Session, text: &str) -> Result<()> {
    let document = HelpDocument { help: text };
    let environment = session.environment_name();
    session
        .output
        .answer(environment, || &document, |_| text.to_owned())
}

/// Says what leaving means.
fn say_goodbye(session: &Session) {
    session
        .output
        .remark("containers go on running; `statefork down` ends them");
}
