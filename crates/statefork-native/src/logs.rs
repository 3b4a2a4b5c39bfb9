//! What a container's first process wrote: two files to which it appends.
//!
//! The order between the two streams is not known; within each it is kept, and what was written to
//! last comes last.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use statefork_runtime::{ContainerId, LogRequest, Output, OutputStream, Result, Stream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::container;
use crate::plan::file;
use crate::storage::{blocking, system_at};

/// Between two looks for more.
const BETWEEN: Duration = Duration::from_millis(20);
/// How much is read at once.
const PIECE: usize = 64 * 1024;
const OP: &str = "read the container's output";

/// The output of the container in `folder`.
pub(crate) async fn read(
    container: ContainerId,
    folder: PathBuf,
    request: LogRequest,
) -> Result<OutputStream> {
    let mut parts = Vec::new();
    for (stream, name) in [
        (Stream::Stdout, file::STDOUT),
        (Stream::Stderr, file::STDERR),
    ] {
        let path = folder.join(name);
        let file = match File::open(&path).await {
            Ok(file) => file,
            // It was never started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(system_at(OP, &path, error)),
        };
        let written = file
            .metadata()
            .await
            .and_then(|metadata| metadata.modified());
        let written = written.map_err(|error| system_at(OP, &path, error))?;
        parts.push((written, Part { stream, file, path }));
    }
    parts.sort_by_key(|(written, _)| *written);
    let mut parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
    if let Some(mut lines) = request.tail {
        for part in parts.iter_mut().rev() {
            lines -= part.skip_to_tail(lines).await?;
        }
    }
    let reading = Reading {
        container,
        folder,
        parts,
        follow: request.follow,
        has_ended: false,
        ready: VecDeque::new(),
    };
    Ok(stream::try_unfold(reading, Reading::next).boxed())
}

struct Part {
    stream: Stream,
    file: File,
    path: PathBuf,
}

impl Part {
    /// Goes to the last `lines` lines; how many there are, at most as many.
    async fn skip_to_tail(&mut self, lines: u32) -> Result<u32> {
        let failed = |error| system_at(OP, &self.path, error);
        let size = self.file.metadata().await.map_err(failed)?.len();
        let mut start = size;
        // That of the last line, if there is one.
        let mut found = u32::from(size > 0 && lines > 0);
        let mut buffer = vec![0; PIECE];
        // Backwards, until as many line feeds have passed as lines are wanted.
        'pieces: while start > 0 && lines > 0 {
            let length = usize::try_from(start).map_or(PIECE, |start| start.min(PIECE));
            let from = start - length as u64;
            self.file
                .seek(io::SeekFrom::Start(from))
                .await
                .map_err(failed)?;
            self.file
                .read_exact(&mut buffer[..length])
                .await
                .map_err(failed)?;
            for at in (0..length).rev() {
                let position = from + at as u64;
                if buffer[at] == b'\n' && position + 1 < size {
                    if found == lines {
                        start = position + 1;
                        break 'pieces;
                    }
                    found += 1;
                }
            }
            start = from;
        }
        self.file
            .seek(io::SeekFrom::Start(start))
            .await
            .map_err(failed)?;
        Ok(found)
    }

    async fn piece(&mut self) -> Result<Option<Output>> {
        let mut buffer = vec![0; PIECE];
        let read = self.file.read(&mut buffer).await;
        let read = read.map_err(|error| system_at(OP, &self.path, error))?;
        buffer.truncate(read);
        Ok((read > 0).then(|| Output {
            stream: self.stream,
            bytes: Bytes::from(buffer),
        }))
    }
}

struct Reading {
    container: ContainerId,
    folder: PathBuf,
    parts: Vec<Part>,
    follow: bool,
    /// Whether the container had ended before the last look for more.
    has_ended: bool,
    ready: VecDeque<Output>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Output, Self)>> {
        loop {
            if let Some(output) = self.ready.pop_front() {
                return Ok(Some((output, self)));
            }
            for part in &mut self.parts {
                self.ready.extend(part.piece().await?);
            }
            if !self.ready.is_empty() {
                continue;
            }
            if !self.follow || self.has_ended {
                return Ok(None);
            }
            tokio::time::sleep(BETWEEN).await;
            let (container, folder) = (self.container.clone(), self.folder.clone());
            let life = blocking(OP, move || container::life(&container, &folder)).await?;
            // What it wrote last is read once more after this.
            self.has_ended = life.init.is_none();
        }
    }
}
