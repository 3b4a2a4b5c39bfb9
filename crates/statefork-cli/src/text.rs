//! Values in words: sizes, durations, times, tables.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::DecimalBytes;
use jiff::Timestamp;
use statefork_core::OperationKind;
use statefork_runtime::PortMapping;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::style::Style;

/// A text in which control characters are shown instead of obeyed; lines stay lines.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The first line of a text, for a column.
pub(crate) fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = printable(lines.next().unwrap_or_default());
    match lines.next() {
        Some(_) => format!("{first} …"),
        None => first,
    }
}

/// A number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// A duration, three digits or so of it.
pub(crate) fn duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.2} s", ms / 1000.0),
        ms => {
            let seconds = (ms / 1000.0).round() as u64;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// A time, to the second, in UTC.
pub(crate) fn time(time: Timestamp) -> String {
    // RFC 3339 with a space, which is made several times faster than by a format.
    format!("{time:.0}").replacen('T', " ", 1)
}

/// How long ago something was, in its largest unit.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds if seconds < 3600 => format!("{} min", seconds / 60),
        seconds if seconds < 86_400 => format!("{} h", seconds / 3600),
        seconds => count((seconds / 86_400).unsigned_abs() as usize, "day"),
    }
}

/// An operation in words, one that went on in a container that was prepared ahead told apart.
pub(crate) fn operation(kind: OperationKind, warm: Option<bool>) -> String {
    match warm {
        Some(true) => format!("{kind} (warm)"),
        Some(false) | None => kind.to_string(),
    }
}

/// Ports in words.
pub(crate) fn ports(ports: &[PortMapping]) -> String {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| format!("{} -> {}", port.host_address(), port.container))
        .collect();
    match ports.is_empty() {
        true => "none".to_owned(),
        false => ports.join(", "),
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// How text is laid out on standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Colour.
    pub(crate) style: Style,
    /// Columns of the terminal; `None`: as wide as it gets.
    pub(crate) width: Option<u16>,
}

/// Between two columns.
const GAP: usize = 2;

/// How many columns a text takes. Most are ASCII, and quickly told.
fn width_of(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.width(),
    }
}

/// A table with a heading. Where the terminal is too narrow, the last column is cut off.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    layout: Layout,
) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut widths = header.map(width_of);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(cell));
        }
    }
    let heading = line(&header, &widths, layout.width);
    let mut text = layout.style.heading(&heading);
    for row in &rows {
        let cells = row.each_ref().map(String::as_str);
        text.push('\n');
        text.push_str(&line(&cells, &widths, layout.width));
    }
    text.push('\n');
    text
}

fn line(cells: &[&str], widths: &[usize], columns: Option<u16>) -> String {
    let Some((last, others)) = cells.split_last() else {
        return String::new();
    };
    let mut line = String::new();
    let mut used = 0;
    for (cell, width) in others.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width - width_of(cell) + GAP));
        used += width + GAP;
    }
    match columns {
        // A table of which nothing would be left is better wrapped by the terminal.
        Some(columns) if usize::from(columns) > used + GAP => {
            line.push_str(&cut(last, usize::from(columns) - used));
        }
        _ => line.push_str(last),
    }
    line.truncate(line.trim_end().len());
    line
}

/// As much of a text as fits.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width_of(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or(0)) else {
            break;
        };
        left = rest;
        shown.push(c);
    }
    shown.push('…');
    Cow::Owned(shown)
}

/// Names and values, one a line.
pub(crate) fn fields(fields: &[(&str, String)], layout: Layout) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let name = format!("{name:<width$}");
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        text.push_str(&format!("{}  {first}\n", layout.style.heading(&name)));
        for line in lines {
            text.push_str(&format!("{:width$}  {line}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_what_can_be_read() {
        for (micros, expected) in [
            (0, "0.00 ms"),
            (1_234, "1.23 ms"),
            (812_400, "812 ms"),
            (1_234_567, "1.23 s"),
            (61_000_000, "1 min 1 s"),
            (119_700_000, "2 min 0 s"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r"), "a\\u{1b}[2Jb\\r");
        assert_eq!(first_line("one\ntwo"), "one …");
        assert_eq!(first_line("„ü“ ✓"), "„ü“ ✓");
    }

    fn two_columns(width: Option<u16>) -> String {
        let layout = Layout {
            style: Style::PLAIN,
            width,
        };
        let rows = [["a", "1"], ["雪", "a message that is long"], ["bcd", ""]];
        table(
            ["NAME", "N"],
            rows.map(|row| row.map(str::to_owned)),
            layout,
        )
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        assert_eq!(
            two_columns(None),
            "NAME  N\na     1\n雪    a message that is long\nbcd\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        assert_eq!(
            two_columns(Some(16)),
            "NAME  N\na     1\n雪    a message…\nbcd\n"
        );
        assert_eq!(two_columns(Some(3)), two_columns(None));
    }
}
