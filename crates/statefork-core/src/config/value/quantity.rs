//! Sizes, times and shares.

use std::time::Duration;

use super::{ValueError, ValueKind};

/// The longest time that can be asked for; sums with it cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// More processors than any machine has.
const MOST_CPUS: f64 = 8192.0;

/// Reads a number of bytes: a number with `b`, `k`, `m`, `g` or `t`, each also as `kb` or `KiB`, in
/// any case; all count in steps of 1024, as container tools do. Without a unit they are bytes.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Size, text, reason));
    const FORM: &str = "a number with a unit is needed, such as 512MiB or 1g";
    let Some((number, unit)) = number_and_unit(text.trim()) else {
        return fail(FORM);
    };
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return fail(FORM),
    };
    let bytes = (number * 1024f64.powi(power)).floor();
    if bytes < 1.0 {
        return fail("more than 0 bytes are needed");
    }
    // Daemons take sizes as signed 64-bit numbers.
    if bytes >= i64::MAX as f64 {
        return fail("too large");
    }
    Ok(bytes as u64)
}

/// Reads a time: one or more numbers with `us`, `ms`, `s`, `m` or `h`, such as `1m30s`; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let fail = |reason| Err(ValueError::new(ValueKind::Duration, text, reason));
    const FORM: &str = "a number with a unit is needed, such as 500ms, 10s or 1m30s";
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return fail(FORM);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_ascii_alphabetic())
            .and_then(|unit| {
                rest[unit..]
                    .find(|c: char| !c.is_ascii_alphabetic())
                    .map(|length| unit + length)
            })
            .unwrap_or(rest.len());
        let Some((number, unit)) = number_and_unit(&rest[..end]) else {
            return fail(FORM);
        };
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return fail(FORM),
        };
        let part = Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX);
        total = total.saturating_add(part);
        rest = &rest[end..];
    }
    if total > LONGEST {
        return fail("longer than a year");
    }
    Ok(total)
}

/// Reads a number of processors, such as 1.5.
pub fn parse_cpus(text: &str) -> Result<f64, ValueError> {
    match number_and_unit(text.trim()) {
        // Daemons refuse less than a hundredth of one.
        Some((number, "")) if (0.01..=MOST_CPUS).contains(&number) => Ok(number),
        _ => Err(ValueError::new(
            ValueKind::Cpus,
            text,
            "a number from 0.01 to 8192 is needed, such as 1.5",
        )),
    }
}

/// Splits `1.5m` into 1.5 and `m`. Only digits and a point: no sign, no exponent, no `inf`.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A time as [`parse_duration`] reads it, in the largest unit that leaves no fraction.
pub(in crate::config) fn show_duration(time: Duration) -> String {
    let micros = time.as_micros();
    for (unit, length) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)] {
        if micros >= length && micros.is_multiple_of(length) {
            return format!("{}{unit}", micros / length);
        }
    }
    if micros == 0 {
        "0".to_owned()
    } else if micros.is_multiple_of(1000) {
        format!("{}ms", micros / 1000)
    } else {
        format!("{micros}us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_in_docker_s_spelling_and_in_ours() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1.5 GiB", 3 << 29),
            ("4096", 4096),
            ("10KB", 10 << 10),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for bad in [
            "", "m", "-1m", "+1m", "1x", "1e3", "inf", "0", "0.1b", "9999999t", "1 m b", "1..5m",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_size("12x").unwrap_err().to_string(),
            "read size \"12x\": a number with a unit is needed, such as 512MiB or 1g"
        );
    }

    #[test]
    fn times_read_and_show_alike() {
        for (text, millis, shown) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("1m", 60_000, "1m"),
            ("1m30s", 90_000, "90s"),
            ("1.5s", 1500, "1500ms"),
            ("2h", 7_200_000, "2h"),
            ("0", 0, "0"),
            ("0s", 0, "0"),
        ] {
            let time = parse_duration(text).unwrap();
            assert_eq!(time, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(time), shown);
            assert_eq!(parse_duration(shown).unwrap(), time);
        }
        for bad in [
            "", "10", "s", "-1s", "1d", "1s 2s x", "9999999h", "1e3s", "1sm",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_a_positive_number() {
        assert_eq!(parse_cpus("1.5").unwrap(), 1.5);
        for bad in ["", "0", "-1", "nan", "inf", "1e1", "9000", "2 cpus"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }
}
