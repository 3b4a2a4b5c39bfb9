//! The terminal: its size, and raw mode that ends on every way out.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use statefork_runtime::TerminalSize;

use crate::failure::{Failure, Result};
use crate::interrupts::Interrupts;

/// The size of the terminal at a stream; `None` where there is none or it does not say.
pub(crate) fn size(stream: &(impl AsFd + IsTerminal)) -> Option<TerminalSize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// The columns of the terminal at a stream.
pub(crate) fn width(stream: &(impl AsFd + IsTerminal)) -> Option<u16> {
    size(stream).map(|size| size.columns)
}

/// The modes of the terminal at standard input; `None` where there is none.
pub(crate) fn modes() -> Option<Termios> {
    tcgetattr(io::stdin()).ok()
}

/// Gives the terminal at standard input its modes back.
pub(crate) fn restore(modes: &Termios) -> io::Result<()> {
    Ok(tcsetattr(io::stdin(), OptionalActions::Flush, modes)?)
}

/// Raw mode of the terminal at standard input, until this is dropped or a signal ends the process.
pub(crate) struct Raw<'a> {
    before: Termios,
    /// What a signal was to restore until then.
    outer: Option<Termios>,
    interrupts: &'a Interrupts,
}

impl<'a> Raw<'a> {
    /// Enters raw mode.
    pub(crate) fn enter(interrupts: &'a Interrupts) -> Result<Self> {
        let fail = |source: rustix::io::Errno| Failure::Io {
            op: "put the terminal into raw mode",
            source: source.into(),
        };
        let before = tcgetattr(io::stdin()).map_err(fail)?;
        let outer = interrupts.remember_terminal(Some(before.clone()));
        let mut raw = before.clone();
        raw.make_raw();
        let entered = Self {
            before,
            outer,
            interrupts,
        };
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(fail)?;
        Ok(entered)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // The terminal may be gone with whoever closed it; then there is nothing to restore.
        let _ = restore(&self.before);
        self.interrupts.remember_terminal(self.outer.take());
    }
}
