//! Streams that may be compressed, told by their first bytes: names and media types lie.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::error::ImportError;

/// Longer than any of the marks below.
const HEAD_BYTES: usize = 6;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// RFC 8878, section 3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What cannot be read, with what it is called.
const OTHERS: [(&[u8], &str); 4] = [
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first bytes; an error for one that is known and cannot be read.
    pub(super) fn of(head: &[u8]) -> Result<Self, ImportError> {
        if let Some((_, name)) = OTHERS.iter().find(|(mark, _)| head.starts_with(mark)) {
            let reason = format!("it is compressed with {name}; gzip and zstd can be read");
            return Err(ImportError::malformed("the archive", reason));
        }
        Ok(match head {
            head if head.starts_with(GZIP) => Self::Gzip,
            head if head.starts_with(ZSTD) => Self::Zstd,
            _ => Self::Plain,
        })
    }
}

/// The first bytes of a stream, fewer where it is shorter than that.
pub(super) fn head(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    source.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A stream whose first bytes were looked at.
type Whole<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A decompressed stream. What is no valid compression is `InvalidData` or `UnexpectedEof`.
pub(super) enum Decoder<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Whole<R>>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `source`.
    pub(super) fn new(mut source: R) -> Result<Self, ImportError> {
        let reading = |error| ImportError::reading("the archive", error);
        let head = head(&mut source).map_err(reading)?;
        let compression = Compression::of(&head)?;
        let whole = Cursor::new(head).chain(source);
        Ok(match compression {
            Compression::Plain => Self::Plain(whole),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(whole))),
            Compression::Zstd => Self::Zstd(Box::new(zstd::Decoder::new(whole).map_err(reading)?)),
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
            Self::Zstd(source) => source.read(buffer).map_err(|error| {
                // The library's own errors have no kind.
                let is_its_own = error.raw_os_error().is_none() && error.get_ref().is_some();
                match error.kind() {
                    io::ErrorKind::Other if is_its_own => {
                        io::Error::new(io::ErrorKind::InvalidData, error)
                    }
                    _ => error,
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, ImportError> {
        let mut all = Vec::new();
        let read = Decoder::new(bytes)?.read_to_end(&mut all);
        read.map_err(|error| ImportError::reading("the archive", error))?;
        Ok(all)
    }

    #[test]
    fn every_compression_is_told_by_its_bytes() {
        let zstd = zstd::encode_all(&b"abc"[..], 1).unwrap();
        let two_members = [gzip(b"a"), gzip(b"bc")].concat();
        for bytes in [&b"abc"[..], &gzip(b"abc"), &zstd, &two_members] {
            assert_eq!(decoded(bytes).unwrap(), b"abc");
        }
        assert_eq!(decoded(b"").unwrap(), b"");
        assert_eq!(decoded(b"a").unwrap(), b"a");
    }

    #[test]
    fn damage_is_told_from_failure() {
        let zstd = zstd::encode_all(&[7; 1000][..], 1).unwrap();
        let mut bad = zstd.clone();
        bad[6] ^= 0xff;
        let whole = gzip(&[7; 1000]);
        for bytes in [
            &whole[..15],
            &zstd[..8],
            &bad,
            b"BZh91AY",
            b"\x1f\x8bxxxxxxxxxx",
        ] {
            let error = decoded(bytes).unwrap_err();
            assert!(matches!(error, ImportError::Malformed { .. }), "{error:?}");
        }
    }
}
