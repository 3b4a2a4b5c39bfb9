//! `report.html`: one file that asks nobody for anything, for light and dark and for narrow screens.

use std::fmt::Write;

use super::cells::{Cell, Operation};
use super::report::{Measured, Metric, Report};
use super::rows::{self, Table};
use super::samples::Tool;
use super::svg::{self, Line, Marks, Row, escape};

const STYLE: &str = include_str!("report.css");

/// The report as HTML.
pub(super) fn render(report: &Report) -> String {
    let mut page = Page::new();
    page.push(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>StateFork, compared</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>"
    ));
    page.push("<h1>StateFork, compared</h1>");
    page.push(&introduction(report));
    page.table(&rows::summary(report));
    for operation in Operation::ALL {
        if rows::of(report, operation).next().is_some() {
            page.operation(report, operation);
        }
    }
    page.depth(report);
    page.push("<h2>Storage</h2>");
    page.table(&rows::storage(report));
    page.push("<h2>Two clocks</h2>");
    page.push(
        "<p>The benchmark times the call from outside, the operation log from inside. The log ends \
         before its own last line is written.</p>",
    );
    page.table(&rows::clocks(report));
    page.push("<h2>Origin</h2>");
    page.table(&rows::origin(report));
    page.push("</main>\n</body>\n</html>");
    page.text
}

fn introduction(report: &Report) -> String {
    let delay = report
        .origin
        .delay
        .as_ref()
        .map_or_else(String::new, |delay| {
            format!(
                "<p class=\"warning\">Slowed down on purpose: {}.</p>",
                escape(&delay.to_string())
            )
        });
    format!(
        "<p>How long it takes to keep the state of a running application and to come back to it, with \
         StateFork and in the naive way: commit the container, remove it, run it again. Both did the \
         same in turn, on the same daemons. A ratio below 1 means that StateFork takes less time; \
         behind it stands the interval in which another run's ratio is expected 95 times in 100.</p>\
         {delay}"
    )
}

/// The page as it grows.
struct Page {
    text: String,
    pictures: usize,
}

impl Page {
    fn new() -> Self {
        Self {
            text: String::new(),
            pictures: 0,
        }
    }

    fn push(&mut self, html: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{html}");
    }

    fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            return;
        }
        let head: String = table
            .head
            .iter()
            .map(|name| format!("<th scope=\"col\">{}</th>", escape(name)))
            .collect();
        self.push(&format!(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table>\
             <caption><span>{0}</span></caption><thead><tr>{head}</tr></thead><tbody>",
            escape(&table.title)
        ));
        for row in &table.rows {
            let cells: String = row
                .iter()
                .map(|cell| match cell.starts_with(rows::NOISY) {
                    true => format!("<td class=\"noisy\">{}</td>", escape(cell)),
                    false => format!("<td>{}</td>", escape(cell)),
                })
                .collect();
            self.push(&format!("<tr>{cells}</tr>"));
        }
        self.push("</tbody></table></div>");
    }

    fn picture(&mut self, draw: impl FnOnce(&str) -> String, caption: &str) {
        self.pictures += 1;
        let svg = draw(&format!("picture-{}", self.pictures));
        self.push(&format!(
            "<figure>{svg}<figcaption>{}</figcaption></figure>",
            escape(caption)
        ));
    }

    fn operation(&mut self, report: &Report, operation: Operation) {
        self.push(&format!("<h2>{}</h2>", heading(operation)));
        self.push(&format!("<p>{}</p>", explained(operation)));
        let cells = report.cells().into_iter();
        for cell in cells.filter(|cell| cell.operation == operation) {
            let title = format!(
                "{operation}, {}, at depth {}",
                match cell.payload {
                    super::cells::Payload::Nothing => "nothing changed".to_owned(),
                    payload => format!("{payload} changed"),
                },
                cell.depth
            );
            self.push(&format!("<h3>{}</h3>", escape(&title)));
            self.strips(report, cell, &title);
            self.stacks(report, cell, &title);
        }
        self.table(&rows::durations(report, operation));
        self.table(&rows::phases(report, operation));
    }

    fn strips(&mut self, report: &Report, cell: Cell, title: &str) {
        let metric = Metric::main(cell.operation);
        let samples: Vec<(&Measured, Vec<f64>)> = report
            .of(cell)
            .map(|measured| (measured, metric.of(&measured.samples)))
            .collect();
        let row = |(measured, samples): &'_ (&Measured, Vec<f64>)| {
            let figures = measured.figures.get(&metric)?;
            Some((
                class(&measured.tool),
                measured.tool.to_string(),
                *figures,
                samples.clone(),
            ))
        };
        let all: Vec<_> = samples.iter().filter_map(row).collect();
        let rows: Vec<Row<'_>> = all
            .iter()
            .map(|(class, name, figures, samples)| Row {
                name: format!("{name}: {} ms", rows::ms(figures.median)),
                class: class.clone(),
                marks: Marks::Strip {
                    samples,
                    quartiles: figures.quartiles,
                    median: figures.median,
                },
            })
            .collect();
        self.picture(
            |id| svg::rows(id, &format!("{title}: every sample"), &rows),
            &format!(
                "ms until {}; each point is one operation, the box the middle half, the bar the median",
                until(cell.operation)
            ),
        );
    }

    fn stacks(&mut self, report: &Report, cell: Cell, title: &str) {
        let phased: Vec<&Measured> = report
            .of(cell)
            .filter(|measured| !measured.phases.is_empty())
            .collect();
        if phased.is_empty() {
            return;
        }
        // What passes while the container is captured is no further part of the whole.
        let parts: Vec<Vec<(String, f64)>> = phased
            .iter()
            .map(|measured| exclusive(&measured.phases))
            .collect();
        let rows: Vec<Row<'_>> = phased
            .iter()
            .zip(&parts)
            .map(|(measured, parts)| Row {
                name: measured.tool.to_string(),
                class: String::new(),
                marks: Marks::Stack(parts),
            })
            .collect();
        self.picture(
            |id| svg::rows(id, &format!("{title}: phases"), &rows),
            "ms, medians of the phases of the operation log, one after the other",
        );
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in parts.iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let legend: String = names
            .iter()
            .map(|name| {
                let name = escape(name);
                format!("<li><span class=\"swatch phase-{name}\"></span>{name}</li>")
            })
            .collect();
        self.push(&format!("<ul class=\"legend\">{legend}</ul>"));
    }

    fn depth(&mut self, report: &Report) {
        let mut drawn = false;
        for operation in Operation::ALL {
            let lines = by_depth(report, operation);
            if lines.is_empty() {
                continue;
            }
            if !drawn {
                self.push("<h2>Depth</h2>");
                self.push("<p>What a long chain of snapshots costs, at the same change.</p>");
                drawn = true;
            }
            self.picture(
                |id| svg::depth(id, &format!("{operation}: cost against depth"), &lines),
                &format!(
                    "{operation}: median ms until {}, against the depth of the chain",
                    until(operation)
                ),
            );
        }
    }
}

/// Those tools that were measured at several depths with the same payload.
fn by_depth(report: &Report, operation: Operation) -> Vec<Line> {
    let metric = Metric::main(operation);
    let deep: Vec<Cell> = report
        .cells()
        .into_iter()
        .filter(|cell| cell.operation == operation && cell.depth > 1)
        .collect();
    let Some(payload) = deep.first().map(|cell| cell.payload) else {
        return Vec::new();
    };
    let mut lines: Vec<Line> = Vec::new();
    for measured in rows::of(report, operation).filter(|one| one.cell.payload == payload) {
        let Some(figures) = measured.figures.get(&metric) else {
            continue;
        };
        let name = measured.tool.to_string();
        let point = (measured.cell.depth, figures.median);
        match lines.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, points)) => points.push(point),
            None => lines.push((name, class(&measured.tool), vec![point])),
        }
    }
    lines.retain(|(_, _, points)| points.len() > 1);
    lines
}

/// The phases as parts of a whole: where the container is paused inside of the daemon's commit, the
/// pause and the capture are the same time.
fn exclusive(phases: &[(String, f64)]) -> Vec<(String, f64)> {
    let is_captured = phases.iter().any(|(name, _)| name == "capture");
    let parts = phases.iter();
    parts
        .filter(|(name, _)| !(is_captured && name == "pause"))
        .cloned()
        .collect()
}

fn class(tool: &Tool) -> String {
    let naive = if tool.naive { " naive" } else { "" };
    format!("tool-{}{naive}", escape(&tool.runtime))
}

fn heading(operation: Operation) -> &'static str {
    match operation {
        Operation::Snapshot => "Snapshot",
        Operation::Step => "Step",
        Operation::Restore => "Restore, cold",
        Operation::Warm => "Restore, warm",
    }
}

fn until(operation: Operation) -> &'static str {
    match operation {
        Operation::Snapshot => "the snapshot was taken",
        Operation::Step | Operation::Restore | Operation::Warm => "the application answered",
    }
}

fn explained(operation: Operation) -> &'static str {
    match operation {
        Operation::Snapshot => "The state is kept and the application goes on. Naive: commit.",
        Operation::Step => {
            "The state is kept, and the application goes on in a new container made from it. Naive: \
             commit, remove, run."
        }
        Operation::Restore => {
            "Back to a state that was kept. StateFork keeps the old container until the new one can be \
             used. Naive: remove, run."
        }
        Operation::Warm => {
            "The same where StateFork had prepared a container behind, and thaws it. What the preparation \
             takes is not in the time. Naive: remove, run."
        }
    }
}

#[cfg(test)]
mod tests;
