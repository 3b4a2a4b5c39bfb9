//! The bytes that change in a container before an operation.

use anyhow::Result;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use statefork_runtime::ByteStream;
use tar::{Builder, EntryType, Header};

use super::Payload;

/// Where the payload goes: the folder in which target-app keeps its files.
pub(super) const FOLDER: &str = "/data-app";
/// How a tar archive ends: two blocks of zeros.
const TRAILER: usize = 1024;
/// How much of an archive is sent at once, in bytes.
const PIECE: usize = 256 * 1024;

/// A payload, ready to be written as often as needed.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The files, without the end of the archive; `None` where nothing is to change.
    files: Option<Bytes>,
}

impl Archive {
    /// Files of random bytes, so that nothing can be saved by compressing them.
    pub fn of(payload: Payload) -> Result<Self> {
        let (count, size) = payload.files();
        if count == 0 {
            return Ok(Self { files: None });
        }
        let mut builder = Builder::new(Vec::with_capacity(count * (size + 1024) + 2 * TRAILER));
        let mut content = vec![0_u8; size];
        let mut folder = Header::new_ustar();
        folder.set_entry_type(EntryType::Directory);
        folder.set_mode(0o755);
        folder.set_size(0);
        builder.append_data(&mut folder, "payload/", std::io::empty())?;
        for number in 0..count {
            rand::fill(content.as_mut_slice());
            append(&mut builder, &format!("payload/{number}"), &content)?;
        }
        let mut files = builder.into_inner()?;
        files.truncate(files.len() - TRAILER);
        Ok(Self {
            files: Some(files.into()),
        })
    }

    /// The archive as it is written now; `None` where nothing is to change. One file is another
    /// each time, since a daemon stores a layer that it has already for nothing.
    pub fn stream(&self) -> Result<Option<ByteStream>> {
        let Some(files) = &self.files else {
            return Ok(None);
        };
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, "payload/stamp", &rand::random::<[u8; 16]>())?;
        let end = Bytes::from(builder.into_inner()?);
        let pieces = (0..files.len())
            .step_by(PIECE)
            .map(|at| files.slice(at..files.len().min(at + PIECE)))
            .chain([end])
            .map(Ok)
            .collect::<Vec<_>>();
        Ok(Some(stream::iter(pieces).boxed()))
    }
}

fn append(builder: &mut Builder<Vec<u8>>, path: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, path, content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(archive: &Archive) -> Vec<(String, Vec<u8>)> {
        let mut stream = archive.stream().unwrap().expect("something changes");
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    #[tokio::test]
    async fn a_payload_is_whole_and_never_twice_the_same() {
        let archive = Archive::of(Payload::ThousandFiles).unwrap();
        let (one, other) = (written(&archive).await, written(&archive).await);
        assert_eq!(one.len(), 1 + 1000 + 1);
        assert!(
            one[1..=1000]
                .iter()
                .all(|(_, content)| content.len() == 1000)
        );
        assert_eq!(one[..=1000], other[..=1000]);
        assert_eq!(one[1001].0, "payload/stamp");
        assert_ne!(one[1001].1, other[1001].1);
        let nothing = Archive::of(Payload::Nothing).unwrap();
        assert!(nothing.stream().unwrap().is_none());
    }
}
