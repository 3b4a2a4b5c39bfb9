//! The content of a file, written with holes where it is zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::sparse::Map;

/// Bytes that are read and looked at together; a multiple of [`BLOCK`].
pub(super) const CHUNK: usize = 256 * 1024;
/// Bytes of a file system's block, or a multiple: what can be a hole.
const BLOCK: usize = 4096;
/// Zeros amid other content that are worth a hole, in bytes: more holes make more extents.
const HOLE: usize = 64 * 1024;

/// Writes what `map` says into `file`, which is empty. `read` is called as [`io::Read::read`] for
/// the parts, one after the other, and gives an error of the caller's where they end too early;
/// `failed` makes one of a failure to write.
pub(super) fn write<E>(
    file: &File,
    map: &Map,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    let mut end = 0;
    for part in &map.parts {
        let (mut at, mut left) = (part.offset, part.length);
        while left > 0 {
            // Up to the next block, so that all later chunks are whole blocks.
            let fitting = buffer.len() as u64 - at % BLOCK as u64;
            let wanted = left.min(fitting) as usize;
            let mut filled = 0;
            while filled < wanted {
                filled += read(&mut buffer[filled..wanted])?;
            }
            end = write_chunk(file, at, &buffer[..wanted], end).map_err(&failed)?;
            at += wanted as u64;
            left -= wanted as u64;
        }
    }
    if end < map.size {
        file.set_len(map.size).map_err(&failed)?;
    }
    Ok(())
}

/// Writes a chunk but for its zeros; where the file ends then, if it ended at `end`.
fn write_chunk(file: &File, at: u64, chunk: &[u8], end: u64) -> io::Result<u64> {
    let is_zero = |block: &[u8]| block.iter().all(|&byte| byte == 0);
    let mut end = end;
    let mut write = |from: usize, to: usize| {
        if from < to {
            file.write_all_at(&chunk[from..to], at + from as u64)?;
            end = at + to as u64;
        }
        io::Result::Ok(())
    };
    // What is to be written next, and the zeros behind it.
    let (mut from, mut to) = (0, 0);
    let mut position = 0;
    while position < chunk.len() {
        let block = &chunk[position..chunk.len().min(position + BLOCK)];
        let next = position + block.len();
        if !is_zero(block) {
            // Zeros at the beginning may go on from the chunk before.
            if position - to >= HOLE || to == 0 {
                write(from, to)?;
                from = position;
            }
            to = next;
        }
        position = next;
    }
    write(from, to)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::import::sparse::Part;

    fn written(content: &[u8], map: &Map) -> (Vec<u8>, u64) {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        let mut rest = content;
        let mut buffer = vec![0; CHUNK];
        let read = |buffer: &mut [u8]| Ok::<_, Infallible>(rest.read(buffer).unwrap());
        write(&file, map, &mut buffer, read, |error| panic!("{error}")).unwrap();
        let metadata = file.metadata().unwrap();
        let mut bytes = vec![0; metadata.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (bytes, metadata.blocks() * 512)
    }

    #[test]
    fn long_zeros_are_holes_and_the_rest_is_as_it_was() {
        let mut content = vec![0; 3 << 20];
        for at in [0, 5000, (1 << 20) - 1, (2 << 20) + 70_001] {
            content[at] = 7;
        }
        let (bytes, stored) = written(&content, &Map::whole(content.len() as u64));
        assert!(bytes == content);
        assert!(stored < 128 * 1024, "{stored}");
        for length in [0, 1, 4095, 4097, 100_000, CHUNK + 1] {
            let zeros = vec![0; length];
            assert!(written(&zeros, &Map::whole(length as u64)).0 == zeros);
            let ones = vec![1; length];
            assert!(written(&ones, &Map::whole(length as u64)).0 == ones);
        }
    }

    #[test]
    fn parts_come_where_they_belong() {
        let parts = vec![
            Part {
                offset: 10,
                length: 5000,
            },
            Part {
                offset: 1 << 20,
                length: 600_000,
            },
        ];
        let map = Map {
            size: 4 << 20,
            parts,
        };
        let content: Vec<u8> = (0..605_000_u32).map(|at| (at % 251) as u8 + 1).collect();
        let (bytes, stored) = written(&content, &map);
        let mut expected = vec![0; 4 << 20];
        expected[10..5010].copy_from_slice(&content[..5000]);
        expected[1 << 20..(1 << 20) + 600_000].copy_from_slice(&content[5000..]);
        assert!(bytes == expected);
        assert!(stored < 700_000, "{stored}");
    }
}
