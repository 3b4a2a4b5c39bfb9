//! The shell at a terminal: prompt, history, completion, hints.

use std::borrow::Cow;
use std::io;

use reedline::{
    ColumnarMenu, DefaultHinter, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    default_emacs_keybindings,
};
use statefork_core::MAIN;
use tokio::runtime::Runtime;

use super::completion::Completion;
use super::{Line, bring_up, run_line, say_goodbye};
use crate::arguments;
use crate::call::Call;
use crate::exit_code;
use crate::failure::{Failure, Result};
use crate::run;
use crate::session::Session;
use crate::style::Style;
use crate::terminal;

const BANNER: &str = "StateFork Container Manager";
const MENU: &str = "completion";
/// How many lines are remembered.
const HISTORY: usize = 1000;
const HISTORY_FILE: &str = "shell_history";

/// Talks to a person until they leave.
pub(super) fn run(runtime: &Runtime, session: &Session) -> Result<u8> {
    session.config()?;
    session.interrupts.at_prompt();
    session.interrupts.remember_terminal(terminal::modes());
    let style = Style::of(&io::stdout());
    let banner = format!("{}\n\n{}\n", style.heading(BANNER), arguments::line_help());
    session.output.text(&banner)?;
    if let Err(failure) = bring_up::bring_up(runtime, session) {
        session.output.tell(&failure);
    }
    super::keep_branch(runtime, session)?;
    let mut editor = editor(runtime, session, style)?;
    while !session.interrupts.ending() {
        let prompt = StateForkPrompt::on(session.branch()?);
        let signal = editor.read_line(&prompt).map_err(terminal_error)?;
        match signal {
            Signal::Success(line) => {
                editor.sync_history().map_err(|source| Failure::Io {
                    op: "keep the history of the shell",
                    source,
                })?;
                if run_line(runtime, session, &line) == Line::Exit {
                    break;
                }
            }
            Signal::CtrlD => break,
            // Ctrl-C gives up the line, not the shell.
            _ => {}
        }
    }
    say_goodbye(session);
    Ok(match session.interrupts.ending() {
        true => exit_code::INTERRUPTED,
        false => exit_code::DONE,
    })
}

fn editor(runtime: &Runtime, session: &Session, style: Style) -> Result<Reedline> {
    let home = session.home()?;
    let history = FileBackedHistory::with_file(HISTORY, home.path().join(HISTORY_FILE))
        .map_err(|error| terminal_error(io::Error::other(error)))?;
    let environment = run::with_call(runtime, session, async |call: &Call<'_>| {
        Ok(call.environment()?.environment)
    })?;
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuNext,
        ]),
    );
    let menu = ColumnarMenu::default().with_name(MENU);
    Ok(Reedline::create()
        .with_history(Box::new(history))
        .with_completer(Box::new(Completion::new(environment)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_hinter(Box::new(DefaultHinter::default()))
        .with_ansi_colors(style.has_colour())
        .with_edit_mode(Box::new(Emacs::new(keys))))
}

fn terminal_error(source: io::Error) -> Failure {
    Failure::Io {
        op: "use the terminal",
        source,
    }
}

struct StateForkPrompt {
    text: String,
}

impl StateForkPrompt {
    /// Names the branch unless it is `main`.
    fn on(branch: Option<String>) -> Self {
        let text = match branch.filter(|name| name != MAIN) {
            Some(name) => format!("StateFork ({name}) > "),
            None => "StateFork > ".to_owned(),
        };
        Self { text }
    }
}

impl Prompt for StateForkPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.text)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("… ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("search {:?}: ", search.term))
    }
}
