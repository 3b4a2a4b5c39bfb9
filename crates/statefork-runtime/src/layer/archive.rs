//! Layers out of a saved image, and into an archive that is to be loaded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::folder::{self, Unreadable};
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

/// Layers in a file, lowest first.
#[derive(Debug)]
pub struct Layers<F> {
    file: F,
    parts: Vec<Part>,
}

/// A layer in a file.
#[derive(Clone, Debug)]
struct Part {
    /// Of its bytes (`sha256:…`).
    digest: String,
    /// Where it is.
    range: Range<u64>,
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
    let reader = spawn_blocking(move || take(Pieces::new(pieces), &order, file));
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
    let (file, ranges) = joined.flatten().map_err(LayerError::Io)?;
    let parts = wanted.iter().map(|digest| match ranges.get(digest) {
        Some(range) => Ok(Part {
            digest: digest.clone(),
            range: range.clone(),
        }),
        None => Err(LayerError::Missing(digest.clone())),
    });
    let parts = parts.collect::<Result<_, _>>()?;
    Ok(Layers { file, parts })
}

/// The digest tells which file of the archive is which layer, whatever the archive's format calls
/// it, and that it arrived whole. What is none of those that are wanted is overwritten by the next.
fn take<F: Read + Write + Seek>(
    source: Pieces,
    wanted: &[String],
    mut file: F,
) -> io::Result<(F, BTreeMap<String, Range<u64>>)> {
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
        if wanted.contains(&digest) && !ranges.contains_key(&digest) {
            ranges.insert(digest, end..end + size);
            end += size;
        } else {
            file.seek(SeekFrom::Start(end))?;
        }
    }
    // To the end, so that whoever writes it does not take us for gone.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok((file, ranges))
}

/// Takes layers from folders in which an overlay file system keeps them for the process `keeper`,
/// lowest first, and puts them into `file`, which is empty. `None` for folders that are not here or
/// not readable, or that say something which a layer cannot (redirected folders, files without
/// their content).
///
/// The caller must look afterwards whether the layers are still there: a folder that is being
/// removed may have been read in part.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// That of a file or a folder.
pub async fn read_folders<F>(
    keeper: i32,
    folders: Vec<PathBuf>,
    file: F,
) -> io::Result<Option<Layers<F>>>
where
    F: Read + Write + Seek + Send + 'static,
{
    let read = spawn_blocking(move || match folder::sees_files_of(keeper) {
        true => read_folders_now(&folders, file),
        false => Ok(None),
    });
    read.await.map_err(io::Error::other)?
}

fn read_folders_now<F>(folders: &[PathBuf], mut file: F) -> io::Result<Option<Layers<F>>>
where
    F: Read + Write + Seek,
{
    let mut parts = Vec::new();
    let mut start = 0;
    for folder in folders {
        let mut hashing = Hashing::new(BufWriter::with_capacity(PIECE_BYTES, &mut file));
        match folder::write(folder, &mut hashing) {
            Ok(()) => {}
            Err(Unreadable::Otherwise) => return Ok(None),
            Err(Unreadable::Io(error)) => return Err(error),
        }
        let digest = hashing.finish()?;
        let end = file.stream_position()?;
        let range = start..end;
        parts.push(Part { digest, range });
        start = end;
    }
    Ok(Some(Layers { file, parts }))
}

impl<F> Layers<F> {
    /// No layers; `file` is empty.
    pub fn none(file: F) -> Self {
        let parts = Vec::new();
        Self { file, parts }
    }

    /// Those above the lowest `kept` ones.
    pub fn above(mut self, kept: usize) -> Self {
        self.parts.drain(..kept.min(self.parts.len()));
        self
    }

    /// Of each its digest (`sha256:…`), and its bytes as a tar stream.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let parts = self.parts.iter();
        parts.map(|part| (part.digest.as_str(), part.range.end - part.range.start))
    }
}

impl<F: Read + Seek + Send + 'static> Layers<F> {
    /// Merges those above the lowest `kept` ones into one, which is written to `file`, which is
    /// empty. No layer if they change nothing.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// That of a file; `InvalidData` if a layer is no tar stream, or cannot be merged.
    pub async fn merge<G>(self, kept: usize, file: G) -> io::Result<Layers<G>>
    where
        G: Read + Write + Seek + Send + 'static,
    {
        let merged = spawn_blocking(move || self.merge_now(kept, file)).await;
        merged.map_err(io::Error::other)?
    }

    fn merge_now<G>(mut self, kept: usize, mut file: G) -> io::Result<Layers<G>>
    where
        G: Read + Write + Seek,
    {
        let (mut below, mut above) = (Index::default(), Index::default());
        for (number, part) in self.parts.iter().enumerate() {
            let index = if number < kept {
                &mut below
            } else {
                &mut above
            };
            index.add(&mut self.file, &part.range)?;
        }
        above.forget_deletions_of_nothing(&below);
        if above.nodes.is_empty() {
            return Ok(Layers::none(file));
        }
        let mut out = Hashing::new(BufWriter::with_capacity(PIECE_BYTES, &mut file));
        write(&above, &mut self.file, &mut out)?;
        let digest = out.finish()?;
        let range = 0..file.stream_position()?;
        let parts = vec![Part { digest, range }];
        Ok(Layers { file, parts })
    }

    /// A tar stream of `files` (paths of at most 100 bytes, with their contents) and the layers,
    /// each under the path that `path` makes of its number here, from 0, and its digest; one that
    /// has the path of an earlier one is that one.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// A path that is too long; what happens to the file is in the stream.
    pub fn into_archive(
        self,
        files: &[(String, Vec<u8>)],
        path: impl Fn(usize, &str) -> String,
    ) -> io::Result<ByteStream> {
        let mut pieces = VecDeque::new();
        let mut own = Vec::new();
        for (path, content) in files {
            own.extend(header(path, content.len() as u64)?);
            own.extend(content);
            own.resize(padded(0, own.len() as u64) as usize, 0);
        }
        let mut paths = BTreeSet::new();
        for (number, part) in self.parts.into_iter().enumerate() {
            let path = path(number, &part.digest);
            let size = part.range.end - part.range.start;
            if paths.contains(&path) {
                continue;
            }
            own.extend(header(&path, size)?);
            paths.insert(path);
            pieces.push_back(Piece::Bytes(Cursor::new(std::mem::take(&mut own))));
            pieces.push_back(Piece::Range(part.range));
            own.resize((padded(0, size) - size) as usize, 0);
        }
        own.resize(own.len() + 2 * BLOCK as usize, 0);
        pieces.push_back(Piece::Bytes(Cursor::new(own)));
        let file = self.file;
        Ok(stream_of(Archive { file, pieces }))
    }
}

/// A piece of an archive that is written.
enum Piece {
    /// Headers, documents and filling.
    Bytes(Cursor<Vec<u8>>),
    /// What is at this place of the file.
    Range(Range<u64>),
}

/// An archive that is written, as a reader for a thread.
struct Archive<F> {
    file: F,
    pieces: VecDeque<Piece>,
}

impl<F: Read + Seek> Read for Archive<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.front_mut() {
            let read = match piece {
                Piece::Bytes(bytes) => bytes.read(buffer)?,
                Piece::Range(range) if range.is_empty() => 0,
                Piece::Range(range) => {
                    self.file.seek(SeekFrom::Start(range.start))?;
                    let left = self.file.by_ref().take(range.end - range.start);
                    let read = { left }.read(buffer)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    range.start += read as u64;
                    read
                }
            };
            if read > 0 {
                return Ok(read);
            }
            self.pieces.pop_front();
        }
        Ok(0)
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
