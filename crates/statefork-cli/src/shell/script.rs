//! The shell from a pipe or a file: no prompt, one command a line.

use std::io::{self, BufRead};

use tokio::runtime::Runtime;

use super::{Line, bring_up, run_line, say_goodbye};
use crate::exit_code;
use crate::failure::{Failure, Result};
use crate::run;
use crate::session::Session;
use crate::standard_input::Input;

/// Runs all lines of standard input. It goes on after one that failed, unless `fail_fast`; the
/// exit code is 1 if any did.
pub(super) fn run(runtime: &Runtime, session: &mut Session, fail_fast: bool) -> Result<u8> {
    // The rest of the script is no input for what runs in the container.
    session.input = Input::Empty;
    session.output.compact = true;
    session.config()?;
    let mut failed = false;
    super::keep_branch(runtime, session)?;
    if let Err(failure) = bring_up::bring_up(runtime, session) {
        // Not on standard output: there each line has one document, and this was no line.
        session.output.tell(&failure);
        failed = true;
    }
    let mut lines = io::stdin().lock();
    let mut bytes = Vec::new();
    loop {
        if failed && fail_fast || session.interrupts.ending() {
            break;
        }
        bytes.clear();
        let read = lines.read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| Failure::Io {
            op: "read standard input",
            source,
        })?;
        if read == 0 {
            break;
        }
        match run_bytes(runtime, session, &bytes) {
            Line::Done => {}
            Line::Failed => failed = true,
            Line::Exit => {
                say_goodbye(session);
                break;
            }
        }
    }
    Ok(match (session.interrupts.ending(), failed) {
        (true, _) => exit_code::INTERRUPTED,
        (false, true) => exit_code::FAILED,
        (false, false) => exit_code::DONE,
    })
}

fn run_bytes(runtime: &Runtime, session: &Session, bytes: &[u8]) -> Line {
    match std::str::from_utf8(bytes) {
        Ok(line) => run_line(runtime, session, line),
        Err(_) => {
            let failure = Failure::usage("the line is not UTF-8");
            run::code_of(&session.output, session.environment_name(), Err(failure));
            Line::Failed
        }
    }
}
