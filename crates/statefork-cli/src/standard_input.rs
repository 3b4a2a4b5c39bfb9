//! Standard input for what runs in a container.
//!
//! A thread reads it, which can be told to stop while it waits: one that went on waiting would take
//! the next line of the shell.

use std::io::{self, PipeReader, PipeWriter};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

const CHUNK: usize = 16 * 1024;
/// How many chunks are read ahead.
const AHEAD: usize = 4;

/// Where the standard input of what runs in a container comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Ours.
    Inherited,
    /// Nowhere: ours is a script.
    Empty,
}

/// Something to read, until this is dropped.
pub(crate) struct StandardInput {
    chunks: Option<mpsc::Receiver<io::Result<Vec<u8>>>>,
    /// The thread ends when this closes.
    _stop: Option<PipeWriter>,
}

impl StandardInput {
    /// Begins to read.
    pub(crate) fn open(input: Input) -> io::Result<Self> {
        if input == Input::Empty {
            return Ok(Self {
                chunks: None,
                _stop: None,
            });
        }
        let (stopped, stop) = io::pipe()?;
        let (sender, chunks) = mpsc::channel(AHEAD);
        thread::Builder::new()
            .name("standard input".to_owned())
            .spawn(move || read_on(&stopped, &sender))?;
        Ok(Self {
            chunks: Some(chunks),
            _stop: Some(stop),
        })
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match &mut self.chunks {
            Some(chunks) => chunks.recv().await.transpose(),
            None => Ok(None),
        }
    }
}

fn read_on(stopped: &PipeReader, sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let chunk = match next_chunk(stopped) {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_last = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || is_last {
            return;
        }
    }
}

/// Waits for some bytes; `None` at their end, or when they are no longer wanted.
fn next_chunk(stopped: &PipeReader) -> io::Result<Option<Vec<u8>>> {
    let stdin = io::stdin();
    loop {
        let mut awaited = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        match poll(&mut awaited, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !awaited[0].revents().is_empty() {
            return Ok(None);
        }
        let mut chunk = vec![0; CHUNK];
        // Not through `Stdin`, whose buffer poll(2) knows nothing of.
        let read = match rustix::io::read(&stdin, &mut chunk) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            read => read?,
        };
        chunk.truncate(read);
        return Ok((read > 0).then_some(chunk));
    }
}
