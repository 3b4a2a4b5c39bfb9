//! `logs`: what the application wrote.

use std::io::Write;

use clap::Args;
use futures_util::StreamExt;
use serde::Serialize;
use statefork_runtime::{LogRequest, Output, OutputStream, Stream};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::output;

/// Show what the application wrote
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork logs -f --tail 20")]
pub(crate) struct Logs {
    /// Go on until the application ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
}

#[derive(Serialize)]
struct LogsDocument {
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    stream: &'static str,
    text: String,
}

impl Logs {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        let opened = call.read()?;
        let request = LogRequest {
            follow: self.follow,
            tail: self.tail,
        };
        let read = async {
            let stream = opened.environment.logs(request).await?;
            match call.session.output.json {
                false => print(stream).await,
                true => {
                    let document = LogsDocument {
                        lines: lines(&collect(stream).await?),
                    };
                    call.answer(|| &document, |_| String::new())
                }
            }
        };
        call.interrupt.or(read).await
    }
}

/// Copies a stream to standard output and standard error.
pub(crate) async fn print(mut stream: OutputStream) -> Result<()> {
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        match piece.stream {
            Stream::Stdout => output::write(&piece.bytes)?,
            Stream::Stderr => std::io::stderr()
                .write_all(&piece.bytes)
                .map_err(|source| Failure::Io {
                    op: "write to standard error",
                    source,
                })?,
        }
    }
    Ok(())
}

/// Reads a stream to its end.
pub(crate) async fn collect(mut stream: OutputStream) -> Result<Vec<Output>> {
    let mut pieces = Vec::new();
    while let Some(piece) = stream.next().await {
        pieces.push(piece?);
    }
    Ok(pieces)
}

/// The lines of two streams, in the order in which they began.
fn lines(pieces: &[Output]) -> Vec<Line> {
    let mut done: Vec<(usize, Stream, Vec<u8>)> = Vec::new();
    let mut open: [Option<(usize, Vec<u8>)>; 2] = [None, None];
    let mut begun = 0;
    for piece in pieces {
        let open = &mut open[usize::from(piece.stream == Stream::Stderr)];
        for part in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            let (number, mut line) = open.take().unwrap_or_else(|| {
                begun += 1;
                (begun, Vec::new())
            });
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    line.extend_from_slice(end);
                    done.push((number, piece.stream, line));
                }
                None => {
                    line.extend_from_slice(part);
                    *open = Some((number, line));
                }
            }
        }
    }
    for (open, stream) in open.into_iter().zip([Stream::Stdout, Stream::Stderr]) {
        done.extend(open.map(|(number, line)| (number, stream, line)));
    }
    done.sort_by_key(|(number, ..)| *number);
    done.into_iter()
        .map(|(_, stream, line)| Line {
            stream: match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            },
            text: String::from_utf8_lossy(&line).into_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines() {
        let piece = |stream, text: &'static str| Output {
            stream,
            bytes: text.as_bytes().into(),
        };
        let pieces = [
            piece(Stream::Stdout, "a\nb"),
            piece(Stream::Stderr, "warn\n"),
            piece(Stream::Stdout, "c\n\nlast"),
        ];
        let shown: Vec<_> = lines(&pieces)
            .into_iter()
            .map(|line| (line.stream, line.text))
            .collect();
        assert_eq!(
            shown,
            [
                ("stdout", "a".to_owned()),
                ("stdout", "bc".to_owned()),
                ("stderr", "warn".to_owned()),
                ("stdout", String::new()),
                ("stdout", "last".to_owned()),
            ]
        );
    }
}
