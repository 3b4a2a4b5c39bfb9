//! Standard output and standard error: one document or text for people there, everything else here.

use std::io::{self, Write};

use serde::Serialize;

use crate::documents::Document;
use crate::failure::{Failure, Result};
use crate::style::Style;
use crate::terminal;
use crate::text::{Layout, printable};

/// What is written where, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Documents instead of text on standard output.
    pub(crate) json: bool,
    /// Each document on one line.
    pub(crate) compact: bool,
    /// No notes, no progress.
    pub(crate) quiet: bool,
    layout: Layout,
    stderr: Style,
}

impl Output {
    /// For this process's streams.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            compact: false,
            quiet,
            layout: Layout {
                style: Style::of(&io::stdout()),
                width: terminal::width(&io::stdout()),
            },
            stderr: Style::of(&io::stderr()),
        }
    }

    /// Answers a command: the document, or the text. Only what is asked for is made.
    pub(crate) fn answer<T: Serialize>(
        &self,
        environment: Option<&str>,
        body: impl FnOnce() -> T,
        text: impl FnOnce(Layout) -> String,
    ) -> Result<()> {
        match self.json {
            true => self.document(environment, &body()),
            false => write(text(self.layout).as_bytes()),
        }
    }

    /// Text on standard output, whatever is asked for.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        write(text.as_bytes())
    }

    fn document<T: Serialize>(&self, environment: Option<&str>, body: &T) -> Result<()> {
        let document = Document::new(environment, body);
        let written = match self.compact {
            true => serde_json::to_vec(&document),
            false => serde_json::to_vec_pretty(&document),
        };
        let mut bytes = written.map_err(|error| Failure::Output(error.into()))?;
        bytes.push(b'\n');
        write(&bytes)
    }

    /// Something that a person should know.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let word = self.stderr.note("note:");
            self.message(&format!("{word} {}\n", printable(text)));
        }
    }

    /// What was done, beside what standard output says.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet {
            let text = self.stderr.faint(&printable(text));
            self.message(&format!("{text}\n"));
        }
    }

    /// Tells a failure on standard error alone.
    pub(crate) fn tell(&self, failure: &Failure) {
        self.message(&failure.text(self.stderr));
    }

    /// Tells a failure on both streams.
    pub(crate) fn failure(&self, environment: Option<&str>, failure: &Failure, exit_code: u8) {
        if failure.is_closed_output() {
            return;
        }
        self.tell(failure);
        if self.json
            && let Err(error) = self.document(environment, &failure.document(exit_code))
            && !error.is_closed_output()
        {
            self.tell(&error);
        }
    }

    /// Text on standard error. If nobody reads it there is nobody left to tell.
    fn message(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Bytes on standard output, at once.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(Failure::Output)
}
