//! Values in words: sizes, durations, times, tables.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::DecimalBytes;
use jiff::Timestamp;
use statefork_runtime::PortMapping;

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
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
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

/// A table with a heading.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, layout: Layout) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    if let Some(width) = layout.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        match number {
            0 => text.push_str(&layout.style.heading(line.trim_end())),
            _ => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
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

    #[test]
    fn a_table_has_no_trailing_spaces() {
        let layout = Layout {
            style: Style::PLAIN,
            width: None,
        };
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec!["bcd".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N"], rows, layout),
            "NAME  N\na     1\nbcd\n"
        );
    }
}
