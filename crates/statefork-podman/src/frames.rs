//! Output as the service sends it: frames that name their stream, or the bare bytes of a terminal.
//!
//! A frame is a header of 8 bytes (the stream's number, three zeros, the length in big endian) and
//! so many bytes, as in Docker's attach.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream as Outputs, stream};
use statefork_runtime::{Output, Result, RuntimeError, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};

const HEADER: usize = 8;
const TERMINAL_CHUNK: usize = 16 * 1024;

/// The frames of `reader` until its end. An error ends the stream; `op` says what was done.
pub(crate) fn framed<R>(reader: R, op: &'static str) -> impl Outputs<Item = Result<Output>>
where
    R: AsyncRead + Unpin + Send,
{
    stream::unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        match next_frame(&mut reader).await {
            Ok(Some(output)) => Some((Ok(output), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(broken(op, error)), None)),
        }
    })
}

/// The bytes of a terminal, all of them standard output.
pub(crate) fn terminal<R>(reader: R, op: &'static str) -> impl Outputs<Item = Result<Output>>
where
    R: AsyncRead + Unpin + Send,
{
    stream::unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        let mut bytes = BytesMut::with_capacity(TERMINAL_CHUNK);
        match reader.read_buf(&mut bytes).await {
            Ok(0) => None,
            Ok(_) => {
                let output = Output {
                    stream: Stream::Stdout,
                    bytes: bytes.freeze(),
                };
                Some((Ok(output), Some(reader)))
            }
            Err(error) => Some((Err(broken(op, error)), None)),
        }
    })
}

async fn next_frame<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<Output>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match reader.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    let [number, _, _, _, length @ ..] = header;
    let stream = match number {
        1 => Stream::Stdout,
        2 | 3 => Stream::Stderr,
        number => {
            let text = format!("a frame of unknown stream {number}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    };
    // Grows as it is filled, so that a wrong length is no huge allocation.
    let length = u64::from(u32::from_be_bytes(length));
    let mut bytes = Vec::new();
    if reader.take(length).read_to_end(&mut bytes).await? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Output {
        stream,
        bytes: Bytes::from(bytes),
    }))
}

fn broken(op: &'static str, error: io::Error) -> RuntimeError {
    RuntimeError::Daemon {
        op,
        status: None,
        message: "the stream broke".into(),
        source: Some(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    async fn read(bytes: &[u8]) -> Vec<Result<Output>> {
        framed(bytes, "read").collect().await
    }

    #[tokio::test]
    async fn frames_keep_their_stream() {
        let outputs = read(b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01c").await;
        let outputs: Vec<_> = outputs.into_iter().map(Result::unwrap).collect();
        assert_eq!(outputs.len(), 2);
        assert_eq!(
            (outputs[0].stream, &*outputs[0].bytes),
            (Stream::Stdout, &b"ab"[..])
        );
        assert_eq!(
            (outputs[1].stream, &*outputs[1].bytes),
            (Stream::Stderr, &b"c"[..])
        );
    }

    #[tokio::test]
    async fn a_cut_or_unknown_frame_is_an_error_and_ends_the_stream() {
        for bytes in [
            &b"\x01\0\0\0\0\0\0\x02a"[..],
            b"\x01\0\0",
            b"\x07\0\0\0\0\0\0\0",
        ] {
            let outputs = read(bytes).await;
            assert_eq!(outputs.len(), 1);
            assert!(outputs[0].is_err());
        }
    }
}
