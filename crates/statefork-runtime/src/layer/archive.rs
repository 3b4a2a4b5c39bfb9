//! Layers out of a saved image, and into an archive that is to be loaded.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::index::Index;
use super::member::{BLOCK, padded};
use super::write::write;
use crate::ByteStream;

/// Pieces on their way between a stream and the thread that reads or writes its bytes.
const PIECES: usize = 8;
/// Bytes of a piece, and of a buffer.
const PIECE_BYTES: usize = 128 * 1024;

/// Why layers could not be had.
#[derive(Debug)]
pub enum LayerError<E> {
    /// The archive's source failed.
    Source(E),
    /// The archive does not hold the layer with this digest.
    Missing(String),
    /// The file failed, or (`InvalidData`) the archive is none.
    Io(io::Error),
}

/// Layers in a file.
#[derive(Debug)]
pub struct Layers<F> {
    file: F,
    /// Where each is, by the digest of its bytes.
    ranges: BTreeMap<String, Range<u64>>,
    /// Their digests, lowest first; one may be there twice.
    order: Vec<String>,
}

/// Takes all layers of an image, `wanted` (`sha256:…` of the tar stream: OCI image-spec 1.1,
/// "Layer DiffID"), lowest first, out of `archive`, wherever in it they are, and puts them into
/// `file`, which is empty. The rest of the archive is read and dropped.
///
/// Must be called within a tokio runtime. When the future is dropped, reading ends.
///
/// # Errors
///
/// The source's; `Missing` for a layer that is not in the archive, or not as a plain tar stream;
/// `Io`.
pub async fn read<F, E>(
    archive: impl Stream<Item = Result<Bytes, E>>,
    wanted: &[String],
    file: F,
) -> Result<Layers<F>, LayerError<E>>
where
    F: Read + Write + Seek + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(PIECES);
    let order = wanted.to_vec();
    let reader = spawn_blocking(move || take(Pieces::new(pieces), order, file));
    let mut archive = std::pin::pin!(archive);
    while let Some(piece) = archive.next().await {
        let piece = piece.map_err(LayerError::Source)?;
        // A reader that has gone away says why.
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    let joined = reader.await.map_err(io::Error::other);
    let layers = joined.flatten().map_err(LayerError::Io)?;
    let missing = wanted.iter().find(|id| !layers.ranges.contains_key(*id));
    match missing {
        Some(id) => Err(LayerError::Missing(id.clone())),
        None => Ok(layers),
    }
}

/// The digest tells which file of the archive is which layer, whatever the archive's format calls
/// it, and that it arrived whole. What is none of those that are wanted is overwritten by the next.
fn take<F: Read + Write + Seek>(
    source: Pieces,
    order: Vec<String>,
    mut file: F,
) -> io::Result<Layers<F>> {
    let mut ranges = BTreeMap::new();
    let mut end = 0;
    let mut archive = tar::Archive::new(source);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut hashing = Hashing::new(BufWriter::with_capacity(PIECE_BYTES, &mut file));
        let size = io::copy(&mut entry, &mut hashing)?;
        let digest = hashing.finish()?;
        if order.contains(&digest) && !ranges.contains_key(&digest) {
            ranges.insert(digest, end..end + size);
            end += size;
        } else {
            file.seek(SeekFrom::Start(end))?;
        }
    }
    // To the end, so that whoever writes it does not take us for gone.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(Layers {
        file,
        ranges,
        order,
    })
}

impl<F: Read + Seek + Send + 'static> Layers<F> {
    /// Merges those above the lowest `kept` ones into one, which is written to `file`, which is
    /// empty. `None` if they change nothing.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// That of a file; `InvalidData` if a layer is no tar stream, or cannot be merged.
    pub async fn merge<G>(self, kept: usize, file: G) -> io::Result<Option<Layer<G>>>
    where
        G: Read + Write + Seek + Send + 'static,
    {
        let merged = spawn_blocking(move || self.merge_now(kept, file)).await;
        merged.map_err(io::Error::other)?
    }

    fn merge_now<G>(mut self, kept: usize, mut file: G) -> io::Result<Option<Layer<G>>>
    where
        G: Read + Write + Seek,
    {
        let (mut below, mut above) = (Index::default(), Index::default());
        for (number, id) in self.order.iter().enumerate() {
            let index = if number < kept {
                &mut below
            } else {
                &mut above
            };
            if let Some(range) = self.ranges.get(id) {
                index.add(&mut self.file, range)?;
            }
        }
        above.forget_deletions_of_nothing(&below);
        if above.nodes.is_empty() {
            return Ok(None);
        }
        let mut out = Hashing::new(BufWriter::with_capacity(PIECE_BYTES, &mut file));
        write(&above, &mut self.file, &mut out)?;
        let digest = out.finish()?;
        let size = file.stream_position()?;
        Ok(Some(Layer { file, digest, size }))
    }
}

/// A merged layer, in a file.
#[derive(Debug)]
pub struct Layer<F> {
    file: F,
    digest: String,
    size: u64,
}

impl<F: Read + Seek + Send + 'static> Layer<F> {
    /// Its digest (`sha256:…`).
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its bytes, as a tar stream.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// A tar stream of `files` (paths of at most 100 bytes, with their contents) and the layer,
    /// under the path `name`.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// That of the file, for what happens before the first byte; what happens later is in the
    /// stream.
    pub fn into_archive(
        mut self,
        files: &[(String, Vec<u8>)],
        name: &str,
    ) -> io::Result<ByteStream> {
        self.file.rewind()?;
        let mut before = Vec::new();
        for (path, content) in files {
            before.extend(header(path, content.len() as u64)?);
            before.extend(content);
            before.resize(padded(0, before.len() as u64) as usize, 0);
        }
        before.extend(header(name, self.size)?);
        let after = vec![0; (padded(0, self.size) - self.size + 2 * BLOCK) as usize];
        let archive = Cursor::new(before)
            .chain(self.file.take(self.size))
            .chain(Cursor::new(after));
        Ok(stream_of(archive))
    }
}

fn header(path: &str, size: u64) -> io::Result<[u8; BLOCK as usize]> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// What a thread reads, as a stream. The thread ends with the reader or the stream.
fn stream_of(mut reader: impl Read + Send + 'static) -> ByteStream {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    Ok(Bytes::from(piece))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            // Nobody listens any more.
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    stream::poll_fn(move |context| pieces.poll_recv(context)).boxed()
}

/// Pieces of a stream as a reader for a thread.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    begun: Bytes,
}

impl Pieces {
    fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        let begun = Bytes::new();
        Self { pieces, begun }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.begun.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.begun = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.begun.len());
        buffer[..length].copy_from_slice(&self.begun.split_to(length));
        Ok(length)
    }
}

/// Passes bytes on and takes their digest.
struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Self {
        let hash = Sha256::new();
        Self { to, hash }
    }

    /// The digest, once all bytes are written.
    fn finish(mut self) -> io::Result<String> {
        self.to.flush()?;
        let hex = self.hash.finalize();
        let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
