//! `report.md`: the report's tables.

use std::fmt::Write;

use super::cells::Operation;
use super::report::Report;
use super::rows::{self, Table};

/// The report as Markdown.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::from("# StateFork, compared\n\n");
    text.push_str(
        "How to read this: docs/measurements.md. A ratio below 1 means that StateFork takes less \
         time than the naive way; behind it stands the interval in which another run's ratio is \
         expected 95 times in 100.\n",
    );
    let operations: Vec<Operation> = Operation::ALL
        .into_iter()
        .filter(|operation| rows::of(report, *operation).next().is_some())
        .collect();
    let mut tables = vec![rows::summary(report)];
    tables.extend(operations.iter().map(|one| rows::durations(report, *one)));
    tables.extend(operations.iter().map(|one| rows::phases(report, *one)));
    tables.extend([
        rows::clocks(report),
        rows::storage(report),
        rows::origin(report),
    ]);
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        push(&mut text, table);
    }
    text
}

fn push(text: &mut String, table: &Table) {
    let rule = table.head.iter().map(|_| "---").collect::<Vec<_>>();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n## {}\n", table.title);
    let _ = writeln!(text, "| {} |", table.head.join(" | "));
    let _ = writeln!(text, "|{}|", rule.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::made_up;
    use super::*;

    #[test]
    fn tables_have_a_head_and_their_figures() {
        let text = render(&made_up(1.0, &[1]));
        assert!(text.contains("| operation | changed | depth | on | StateFork | naive | ratio |"));
        assert!(
            text.contains("| restore | 1 MB | 1 | docker | 95.0 (n 10) | 190 | × 0.50"),
            "{text}"
        );
        assert!(text.contains("| skipped | <other>: failed to reach \"it\" & more |"));
    }
}
