//! The fields of headers in tar streams: numbers, times, and the records of pax extended headers.

use super::error::ImportError;

/// A record of a pax extended header.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Reads a number of a header: octal digits among blanks and zeros, none of which is 0, or, where
/// the uppermost bit is set, two's complement without it (GNU tar manual, "Basic Tar Format").
pub(super) fn numeric(field: &[u8]) -> Result<i64, ImportError> {
    let damaged = || malformed("a number in a header is damaged");
    if let Some(&first @ 0x80..) = field.first() {
        let top = i64::from(first & 0x3f) - i64::from(first & 0x40);
        let shifted = |number: i64, &byte: &u8| Some(number.checked_mul(256)? | i64::from(byte));
        let number = field[1..].iter().try_fold(top, shifted);
        return number.ok_or_else(damaged);
    }
    let is_filling = |byte: &u8| matches!(byte, 0 | b' ');
    let digits = field.iter().skip_while(|byte| is_filling(byte));
    let mut number: i64 = 0;
    for &digit in digits.take_while(|byte| !is_filling(byte)) {
        let next = matches!(digit, b'0'..=b'7')
            .then_some(())
            .and_then(|()| number.checked_mul(8))
            .and_then(|number| number.checked_add(i64::from(digit - b'0')));
        number = next.ok_or_else(damaged)?;
    }
    Ok(number)
}

/// A [`numeric`] that is not below 0.
pub(super) fn natural(field: &[u8]) -> Result<u64, ImportError> {
    u64::try_from(numeric(field)?).map_err(|_| malformed("a number in a header is below 0"))
}

/// Reads a decimal number.
pub(super) fn number(text: &[u8]) -> Result<u64, ImportError> {
    // `parse` would take a sign.
    let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit));
    let parsed = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    parsed.ok_or_else(|| {
        let reason = format!("{:?} is no number", String::from_utf8_lossy(text));
        ImportError::malformed("the archive", reason)
    })
}

/// The sum of a header's bytes, those of the sum itself as blanks.
pub(super) fn checksum(block: &[u8]) -> u32 {
    let own = 148..156;
    let byte = |(at, &byte): (usize, &u8)| match own.contains(&at) {
        true => u32::from(b' '),
        false => u32::from(byte),
    };
    block.iter().enumerate().map(byte).sum()
}

/// Reads records (`LENGTH KEY=VALUE\n`). A value may hold any bytes, line ends included.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Record>, ImportError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = || {
            let blank = bytes.iter().position(|&byte| byte == b' ')?;
            let length = number(&bytes[..blank]).ok()?;
            let length = usize::try_from(length).ok()?;
            let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let key = record[..equals].to_vec();
            let value = record[equals + 1..].to_vec();
            Some((length, Record { key, value }))
        };
        let (length, record) = record().ok_or_else(|| malformed("a pax record is damaged"))?;
        records.push(record);
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Reads a time in decimal seconds since 1970, with a fraction and a sign.
pub(super) fn time(text: &[u8]) -> Result<(i64, u32), ImportError> {
    let (is_before, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let point = digits.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = number(whole)?;
    let seconds = i64::try_from(seconds).map_err(|_| malformed("a time is out of range"))?;
    let mut nanos = [b'0'; 9];
    for (digit, &given) in nanos.iter_mut().zip(fraction) {
        *digit = given;
    }
    // Nine digits are less than 2³².
    let nanos = number(&nanos)? as u32;
    Ok(match (is_before, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn malformed(reason: &str) -> ImportError {
    ImportError::malformed("the archive", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b""[..], 0),
            (b"\0\0\0", 0),
            (b" 755 \0", 0o755),
            (b"0000644\0", 0o644),
            (b"\x80\0\x01\0", 256),
            (b"\xff\xff\xff\xfe", -2),
        ] {
            assert_eq!(numeric(field).unwrap(), expected, "{field:?}");
        }
        for field in [&b"8"[..], b"-1", b"7777777777777777777777777", &[0xa0; 12]] {
            assert!(numeric(field).is_err(), "{field:?}");
        }
    }

    #[test]
    fn times_have_signs_and_fractions() {
        for (text, expected) in [
            ("1", (1, 0)),
            ("1.5", (1, 500_000_000)),
            ("1.1234567899", (1, 123_456_789)),
            ("-1", (-1, 0)),
            ("-0.000000001", (-1, 999_999_999)),
        ] {
            assert_eq!(time(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["", "x", "1.x", "--1", "99999999999999999999"] {
            assert!(time(text.as_bytes()).is_err(), "{text}");
        }
    }
}
