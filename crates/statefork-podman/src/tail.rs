//! The last lines of an output.
//!
//! Podman's own `tail` (4.3) loses a line's beginning where a process wrote the line in pieces: it
//! stores the pieces apart, and puts them together only when it is asked for everything.

use std::collections::VecDeque;

use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use statefork_runtime::{Output, OutputStream, Result, Stream};

/// Lines that are complete, and what each stream has of its next one.
struct Lines {
    limit: usize,
    complete: VecDeque<Output>,
    stdout: BytesMut,
    stderr: BytesMut,
}

/// Reads an output to its end, and gives its last lines.
pub(crate) async fn last_lines(mut output: OutputStream, limit: u32) -> Result<OutputStream> {
    let mut lines = Lines {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        complete: VecDeque::new(),
        stdout: BytesMut::new(),
        stderr: BytesMut::new(),
    };
    while let Some(piece) = output.next().await {
        lines.add(&piece?);
    }
    Ok(stream::iter(lines.finish().into_iter().map(Ok)).boxed())
}

impl Lines {
    fn add(&mut self, piece: &Output) {
        for part in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            let begun = match piece.stream {
                Stream::Stdout => &mut self.stdout,
                Stream::Stderr => &mut self.stderr,
            };
            begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let bytes = begun.split().freeze();
                self.keep(Output {
                    stream: piece.stream,
                    bytes,
                });
            }
        }
    }

    fn keep(&mut self, line: Output) {
        self.complete.push_back(line);
        if self.complete.len() > self.limit {
            self.complete.pop_front();
        }
    }

    /// What has no end yet counts as a line too.
    fn finish(mut self) -> VecDeque<Output> {
        for (stream, begun) in [
            (Stream::Stdout, self.stdout.split().freeze()),
            (Stream::Stderr, self.stderr.split().freeze()),
        ] {
            if !begun.is_empty() {
                self.keep(Output {
                    stream,
                    bytes: begun,
                });
            }
        }
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_they_were_written() {
        let pieces = [
            (Stream::Stdout, "one\ntw"),
            (Stream::Stderr, "oops"),
            (Stream::Stdout, "o\nthree"),
            (Stream::Stderr, "\n"),
            (Stream::Stdout, "\nrest"),
        ];
        let output = stream::iter(pieces.map(|(stream, text)| {
            Ok(Output {
                stream,
                bytes: Bytes::from_static(text.as_bytes()),
            })
        }));
        let last = last_lines(output.boxed(), 4).await.unwrap();
        let last: Vec<_> = last
            .map(|line| String::from_utf8(line.unwrap().bytes.to_vec()).unwrap())
            .collect()
            .await;
        assert_eq!(last, ["two\n", "oops\n", "three\n", "rest"]);
    }
}
