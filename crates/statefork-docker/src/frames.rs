//! The output of a command, as the daemon sends it.

use std::io;

use bytes::BytesMut;
use futures_util::{Stream, stream};
use statefork_runtime::{Output, Stream as Which};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once.
const CHUNK: usize = 32 * 1024;

/// Reads output to its end. That of a terminal comes as it is; other output in frames of a header
/// of 8 bytes (1 or 2 for the stream, three zeros, the length as a big-endian u32) and that many
/// bytes (Docker Engine API, "Stream format"). What has arrived of a frame is passed on at once.
pub(crate) fn read<R>(reader: R, terminal: bool) -> impl Stream<Item = io::Result<Output>> + Send
where
    R: AsyncRead + Send + Unpin,
{
    let begun = Reader {
        reader,
        terminal,
        which: Which::Stdout,
        left: 0,
    };
    stream::try_unfold(begun, |mut reader| async move {
        Ok(reader.next().await?.map(|output| (output, reader)))
    })
}

struct Reader<R> {
    reader: R,
    terminal: bool,
    /// The stream of the current frame.
    which: Which,
    /// How much of it is to come.
    left: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn next(&mut self) -> io::Result<Option<Output>> {
        while !self.terminal && self.left == 0 {
            if !self.header().await? {
                return Ok(None);
            }
        }
        let most = if self.terminal {
            CHUNK
        } else {
            self.left.min(CHUNK)
        };
        let mut bytes = BytesMut::zeroed(most);
        let read = self.reader.read(&mut bytes).await?;
        if read == 0 {
            return match self.terminal {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        bytes.truncate(read);
        self.left = self.left.saturating_sub(read);
        Ok(Some(Output {
            stream: self.which,
            bytes: bytes.freeze(),
        }))
    }

    /// Reads a header. False at the end of the output.
    async fn header(&mut self) -> io::Result<bool> {
        let mut header = [0; 8];
        let read = self.reader.read(&mut header).await?;
        if read == 0 {
            return Ok(false);
        }
        self.reader.read_exact(&mut header[read..]).await?;
        let [which, _, _, _, length @ ..] = header;
        self.which = match which {
            2 => Which::Stderr,
            _ => Which::Stdout,
        };
        self.left = u32::from_be_bytes(length) as usize;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    async fn all(bytes: &[u8], terminal: bool) -> io::Result<Vec<(Which, Vec<u8>)>> {
        let output: Vec<Output> = read(bytes, terminal).try_collect().await?;
        Ok(output
            .into_iter()
            .map(|output| (output.stream, output.bytes.to_vec()))
            .collect())
    }

    #[tokio::test]
    async fn frames_are_taken_apart() {
        let bytes = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01!";
        assert_eq!(
            all(bytes, false).await.unwrap(),
            [
                (Which::Stdout, b"hi".to_vec()),
                (Which::Stderr, b"!".to_vec())
            ]
        );
    }

    #[tokio::test]
    async fn a_terminal_may_write_what_looks_like_a_frame() {
        let bytes = b"\x01\0\0\0\xff\0\0\x02";
        assert_eq!(
            all(bytes, true).await.unwrap(),
            [(Which::Stdout, bytes.to_vec())]
        );
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_off_is_an_error() {
        for bytes in [&b"\x01\0\0\0\0\0\0\x02h"[..], b"\x01\0\0"] {
            let error = all(bytes, false).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
