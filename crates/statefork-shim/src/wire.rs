//! Lines of JSON over a stream, of bounded length.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::protocol::MAX_LINE;

/// Bytes asked of the stream at one time; a request is far smaller.
const CHUNK: usize = 1024;

/// Reads documents from `R`.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    stream: R,
    /// Read and not yet returned; survives a dropped read.
    buffered: Vec<u8>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self {
            stream,
            buffered: Vec::new(),
        }
    }

    /// The next document; `None` when the other side has closed. Dropping the future loses
    /// nothing. A document that is none is `InvalidData`, and the next read goes on behind it; a
    /// line that is too long is `InvalidData` for ever.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                let parsed = serde_json::from_slice(&self.buffered[..end]);
                self.buffered.drain(..=end);
                return Ok(Some(parsed.map_err(invalid)?));
            }
            if self.buffered.len() >= MAX_LINE {
                return Err(invalid(format!("a line is longer than {MAX_LINE} bytes")));
            }
            let mut chunk = [0; CHUNK];
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                return if self.buffered.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            self.buffered.extend_from_slice(&chunk[..read]);
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes one document and its newline.
pub(crate) async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    document: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn documents_come_one_by_one_however_they_are_cut() {
        let (mut ours, theirs) = tokio::io::duplex(7);
        let mut lines = LineReader::new(theirs);
        let writer = tokio::spawn(async move {
            ours.write_all(b"[1,2]\n\"text\"\nnot json\n7\n")
                .await
                .unwrap();
        });
        assert_eq!(lines.read::<Vec<u8>>().await.unwrap(), Some(vec![1, 2]));
        assert_eq!(
            lines.read::<String>().await.unwrap(),
            Some("text".to_owned())
        );
        let error = lines.read::<u8>().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(lines.read::<u8>().await.unwrap(), Some(7));
        assert_eq!(lines.read::<u8>().await.unwrap(), None);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let writer = tokio::spawn(async move {
            // Fails once the reader is gone.
            while ours.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        let mut lines = LineReader::new(theirs);
        let error = lines.read::<String>().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(lines.buffered.len() <= MAX_LINE + CHUNK);
        drop(lines);
        writer.await.unwrap();
    }
}
