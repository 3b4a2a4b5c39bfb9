//! Files of which an archive holds only the parts that are not zeros (GNU tar manual, "Storing
//! Sparse Files": the old GNU format, and pax 0.0, 0.1 and 1.0).

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::error::ImportError;
use super::field::{Record, number};
use super::member::BLOCK;

/// Parts that a file may have; a map of them is held in memory.
const PARTS_LIMIT: usize = 1 << 20;
/// Digits of the longest number.
const DIGITS: usize = 20;

/// A part of a file that the archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins in the file, in bytes.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) length: u64,
}

/// What of a file is in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// Bytes of the file.
    pub(super) size: u64,
    /// In order, none over another, none empty.
    pub(super) parts: Vec<Part>,
}

fn malformed<T>(reason: &str) -> Result<T, ImportError> {
    let reason = format!("a sparse file: {reason}");
    Err(ImportError::malformed("the archive", reason))
}

/// What an error in a header's field means.
fn field(error: std::io::Error) -> ImportError {
    ImportError::malformed("the archive", error.to_string())
}

impl Map {
    /// A file that is there as a whole.
    pub(super) fn whole(size: u64) -> Self {
        let whole = (size > 0).then_some(Part {
            offset: 0,
            length: size,
        });
        let parts = whole.into_iter().collect();
        Self { size, parts }
    }

    /// Checks a map that describes `stored` bytes of an archive.
    fn checked(size: u64, mut parts: Vec<Part>, stored: u64) -> Result<Self, ImportError> {
        let (mut end, mut sum) = (0, 0_u64);
        for part in &parts {
            let after = part.offset.checked_add(part.length);
            match after.filter(|after| part.offset >= end && *after <= size) {
                Some(after) => end = after,
                None => return malformed("its parts overlap, or lie beyond its end"),
            }
            // No overflow: the parts do not overlap.
            sum += part.length;
        }
        if sum != stored {
            return malformed("its parts are not as long as its content");
        }
        parts.retain(|part| part.length > 0);
        Ok(Self { size, parts })
    }

    /// The map of the old GNU format: in the header, and in blocks behind it that are read here.
    pub(super) fn gnu(
        header: &Header,
        stored: u64,
        source: &mut impl Read,
    ) -> Result<Self, ImportError> {
        let reading = |error| ImportError::reading("the archive", error);
        let Some(gnu) = header.as_gnu() else {
            return malformed("its header is not of GNU's format");
        };
        let size = gnu.real_size().map_err(field)?;
        let mut parts = Vec::new();
        add(&mut parts, &gnu.sparse)?;
        let mut goes_on = gnu.is_extended();
        while goes_on {
            let mut block = GnuExtSparseHeader::new();
            source.read_exact(block.as_mut_bytes()).map_err(reading)?;
            add(&mut parts, block.sparse())?;
            goes_on = block.is_extended();
        }
        Self::checked(size, parts, stored)
    }

    /// The map that pax records describe, of a member with `stored` bytes, with how many of them
    /// the map itself takes, which are read here; `None` if there is none.
    pub(super) fn pax(
        records: &[Record],
        stored: u64,
        source: &mut impl Read,
    ) -> Result<Option<(Self, u64)>, ImportError> {
        let values = |key: &str| {
            let key = key.as_bytes().to_vec();
            let matching = records.iter().filter(move |record| record.key == key);
            matching.map(|record| &record.value[..])
        };
        let last = |key: &str| values(key).next_back().map(number).transpose();
        if let Some(major) = last("GNU.sparse.major")? {
            if major != 1 || last("GNU.sparse.minor")? != Some(0) {
                return malformed("it is of a format that is not known");
            }
            let Some(size) = last("GNU.sparse.realsize")? else {
                return malformed("it has no size");
            };
            let (parts, taken) = map_before_content(stored, source)?;
            return Ok(Some((Self::checked(size, parts, stored - taken)?, taken)));
        }
        let Some(size) = last("GNU.sparse.size")? else {
            return Ok(None);
        };
        let numbers = match values("GNU.sparse.map").next_back() {
            Some(b"") => Vec::new(),
            Some(map) => map
                .split(|&byte| byte == b',')
                .map(number)
                .collect::<Result<_, _>>()?,
            None => {
                let pair = |record: &&Record| {
                    record.key == b"GNU.sparse.offset" || record.key == b"GNU.sparse.numbytes"
                };
                let pairs = records.iter().filter(pair);
                pairs
                    .map(|record| number(&record.value))
                    .collect::<Result<Vec<_>, _>>()?
            }
        };
        let parts = pairs(&numbers)?;
        Ok(Some((Self::checked(size, parts, stored)?, 0)))
    }
}

/// Adds the parts of a block of the old format.
fn add(parts: &mut Vec<Part>, block: &[GnuSparseHeader]) -> Result<(), ImportError> {
    for part in block.iter().filter(|part| !part.is_empty()) {
        parts.push(Part {
            offset: part.offset().map_err(field)?,
            length: part.length().map_err(field)?,
        });
    }
    if parts.len() > PARTS_LIMIT {
        return malformed("it has too many parts");
    }
    Ok(())
}

/// The map of pax 1.0, which fills whole blocks before the content: how many parts there are, then
/// offset and length of each, decimal, a line each.
fn map_before_content(
    stored: u64,
    source: &mut impl Read,
) -> Result<(Vec<Part>, u64), ImportError> {
    let mut block = [0; BLOCK as usize];
    let (mut taken, mut at) = (0, block.len());
    let mut next = || {
        let mut digits = Vec::new();
        loop {
            if at == block.len() {
                if taken + BLOCK > stored {
                    return malformed("its map is cut off");
                }
                let read = source.read_exact(&mut block);
                read.map_err(|error| ImportError::reading("the archive", error))?;
                taken += BLOCK;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return number(&digits),
                _ if digits.len() == DIGITS => return malformed("a number is too long"),
                _ => digits.push(byte),
            }
        }
    };
    let count = next()?;
    if count > PARTS_LIMIT as u64 {
        return malformed("it has too many parts");
    }
    let mut numbers = Vec::new();
    for _ in 0..count * 2 {
        numbers.push(next()?);
    }
    Ok((pairs(&numbers)?, taken))
}

fn pairs(numbers: &[u64]) -> Result<Vec<Part>, ImportError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > PARTS_LIMIT {
        return malformed("its map is no list of pairs, or too long");
    }
    let part = |&[offset, length]: &[u64; 2]| Part { offset, length };
    Ok(pairs.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<Record> {
        let record = |(key, value): &(&str, &str)| Record {
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        pairs.iter().map(record).collect()
    }

    fn parts(map: &Map) -> Vec<(u64, u64)> {
        let pair = |part: &Part| (part.offset, part.length);
        map.parts.iter().map(pair).collect()
    }

    #[test]
    fn the_older_pax_formats_list_parts_in_records() {
        let listed = records(&[
            ("GNU.sparse.size", "9000"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "0"),
            ("GNU.sparse.numbytes", "10"),
            ("GNU.sparse.offset", "4096"),
            ("GNU.sparse.numbytes", "20"),
        ]);
        let in_one = records(&[
            ("GNU.sparse.size", "9000"),
            ("GNU.sparse.map", "0,10,4096,20"),
        ]);
        for records in [listed, in_one] {
            let (map, taken) = Map::pax(&records, 30, &mut &b""[..]).unwrap().unwrap();
            assert_eq!((map.size, taken), (9000, 0));
            assert_eq!(parts(&map), [(0, 10), (4096, 20)]);
            assert!(Map::pax(&records, 31, &mut &b""[..]).is_err());
        }
        assert_eq!(Map::pax(&[], 30, &mut &b""[..]).unwrap(), None);
    }

    #[test]
    fn the_newest_pax_format_has_its_map_before_the_content() {
        let records = records(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "5000"),
        ]);
        let read = |map: &str, stored| {
            let mut block = map.as_bytes().to_vec();
            block.resize(512, 0);
            Map::pax(&records, stored, &mut &block[..])
        };
        let (map, taken) = read("2\n0\n10\n4990\n10\n", 532).unwrap().unwrap();
        assert_eq!((map.size, taken), (5000, 512));
        assert_eq!(parts(&map), [(0, 10), (4990, 10)]);
        for bad in [
            "2\n0\n10\n4995\n10\n",
            "2\n10\n10\n5\n10\n",
            "1\n18446744073709551615\n20\n",
            "99999999999\n",
            "x\n",
            "+1\n0\n20\n",
            "2\n0\n10\n",
        ] {
            assert!(read(bad, 532).is_err(), "{bad}");
        }
    }
}
