//! The pictures of the report: small SVG documents, written by hand, since three kinds of marks on one
//! axis are less code than a plotting library's set-up, and can be styled for light and dark.

use std::fmt::Write;

use super::rows::ms;

/// The width of each picture, in its own units; it is scaled to the page.
const WIDTH: f64 = 400.0;
/// Where the axis begins and ends.
const LEFT: f64 = 8.0;
const RIGHT: f64 = WIDTH - 12.0;
/// The height of a row: a line of text and its marks.
const ROW: f64 = 36.0;
/// The height of the axis with its numbers.
const AXIS: f64 = 24.0;

/// A row of marks.
pub(super) struct Row<'a> {
    /// What it is.
    pub(super) name: String,
    /// The class that gives it its colour.
    pub(super) class: String,
    /// What is drawn.
    pub(super) marks: Marks<'a>,
}

/// What is drawn in a row. All are durations in ms.
pub(super) enum Marks<'a> {
    /// A point for each sample, the middle half, and the median.
    Strip {
        samples: &'a [f64],
        quartiles: (f64, f64),
        median: f64,
    },
    /// Parts one after the other, each with its name and class.
    Stack(&'a [(String, f64)]),
}

impl Marks<'_> {
    fn most(&self) -> f64 {
        match self {
            Self::Strip { samples, .. } => samples.iter().copied().fold(0.0, f64::max),
            Self::Stack(parts) => parts.iter().map(|(_, ms)| ms).sum(),
        }
    }
}

/// Rows over one axis that begins at 0 ms.
pub(super) fn rows(id: &str, title: &str, rows: &[Row<'_>]) -> String {
    let most = rows.iter().map(|row| row.marks.most()).fold(1.0, f64::max);
    let step = step(most);
    let end = (most / step).ceil() * step;
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / end;
    let height = ROW * rows.len() as f64 + AXIS;
    let mut svg = open(id, title, height);
    let mut tick = 0.0;
    while tick <= end + step / 2.0 {
        let (at, bottom) = (x(tick), height - AXIS);
        let anchor = match tick {
            0.0 => "start",
            tick if tick + step > end + step / 2.0 => "end",
            _ => "middle",
        };
        push(
            &mut svg,
            &format!(
                r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="0" y2="{bottom:.1}"/><text class="tick" x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{tick:.0}</text>"#,
                height - 8.0
            ),
        );
        tick += step;
    }
    for (number, row) in rows.iter().enumerate() {
        let top = ROW * number as f64;
        push(
            &mut svg,
            &format!(
                r#"<text x="{LEFT}" y="{:.1}">{}</text>"#,
                top + 13.0,
                escape(&row.name)
            ),
        );
        draw(&mut svg, row, top + 24.0, &x);
    }
    svg.push_str("</svg>");
    svg
}

fn draw(svg: &mut String, row: &Row<'_>, middle: f64, x: &dyn Fn(f64) -> f64) {
    match &row.marks {
        Marks::Strip {
            samples,
            quartiles,
            median,
        } => {
            let (low, high) = (x(quartiles.0), x(quartiles.1));
            push(
                svg,
                &format!(
                    r#"<rect class="half {}" x="{low:.1}" y="{:.1}" width="{:.1}" height="12"/>"#,
                    row.class,
                    middle - 6.0,
                    (high - low).max(0.5)
                ),
            );
            for (number, sample) in samples.iter().enumerate() {
                // Apart from each other by turns, so that equal ones are seen as several.
                let y = middle + (number % 5) as f64 * 2.0 - 4.0;
                push(
                    svg,
                    &format!(
                        r#"<circle class="{}" cx="{:.1}" cy="{y:.1}" r="2.2"/>"#,
                        row.class,
                        x(*sample)
                    ),
                );
            }
            push(
                svg,
                &format!(
                    r#"<line class="median" x1="{0:.1}" x2="{0:.1}" y1="{1:.1}" y2="{2:.1}"/>"#,
                    x(*median),
                    middle - 8.0,
                    middle + 8.0
                ),
            );
        }
        Marks::Stack(parts) => {
            let mut from = 0.0;
            for (name, took) in *parts {
                push(
                    svg,
                    &format!(
                        r#"<rect class="phase-{}" x="{:.1}" y="{:.1}" width="{:.1}" height="13"><title>{} {} ms</title></rect>"#,
                        escape(name),
                        x(from),
                        middle - 6.0,
                        (x(from + took) - x(from)).max(0.1),
                        escape(name),
                        ms(*took)
                    ),
                );
                from += took;
            }
        }
    }
}

/// A line of a picture over depth: its name, its class, and its points of depth and ms.
pub(super) type Line = (String, String, Vec<(u32, f64)>);

/// Cost against depth.
pub(super) fn depth(id: &str, title: &str, lines: &[Line]) -> String {
    const HEIGHT: f64 = 190.0;
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = HEIGHT - 34.0;
    const FROM: f64 = 48.0;
    const TO: f64 = WIDTH - 118.0;
    let points = || lines.iter().flat_map(|(_, _, points)| points);
    let most = points().map(|(_, ms)| *ms).fold(1.0, f64::max);
    let deepest = f64::from(points().map(|(depth, _)| *depth).max().unwrap_or(1));
    let step = step(most);
    let end = (most / step).ceil() * step;
    let x = |depth: u32| FROM + (TO - FROM) * (f64::from(depth) - 1.0) / (deepest - 1.0).max(1.0);
    let y = |ms: f64| BOTTOM - (BOTTOM - TOP) * ms / end;
    let mut svg = open(id, title, HEIGHT);
    let mut tick = 0.0;
    while tick <= end + step / 2.0 {
        let at = y(tick);
        push(
            &mut svg,
            &format!(
                r#"<line class="grid" x1="{FROM}" x2="{TO}" y1="{at:.1}" y2="{at:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{tick:.0}</text>"#,
                FROM - 6.0,
                at + 4.0
            ),
        );
        tick += step;
    }
    let mut depths: Vec<u32> = points().map(|(depth, _)| *depth).collect();
    depths.sort_unstable();
    depths.dedup();
    for depth in depths {
        push(
            &mut svg,
            &format!(
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="middle">{depth}</text>"#,
                x(depth),
                BOTTOM + 16.0
            ),
        );
    }
    push(
        &mut svg,
        &format!(
            r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="middle">depth</text>"#,
            f64::midpoint(FROM, TO),
            BOTTOM + 30.0
        ),
    );
    let mut labels: Vec<f64> = Vec::new();
    let mut lines: Vec<&Line> = lines.iter().collect();
    let last = |line: &Line| line.2.last().map_or(0.0, |(_, ms)| *ms);
    lines.sort_by(|one, other| last(other).total_cmp(&last(one)));
    for (name, class, points) in lines {
        let path: Vec<String> = points
            .iter()
            .map(|(depth, ms)| format!("{:.1},{:.1}", x(*depth), y(*ms)))
            .collect();
        push(
            &mut svg,
            &format!(r#"<polyline class="{class}" points="{}"/>"#, path.join(" ")),
        );
        for (depth, ms) in points {
            push(
                &mut svg,
                &format!(
                    r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="3"/>"#,
                    x(*depth),
                    y(*ms)
                ),
            );
        }
        if let Some((_, ms)) = points.last() {
            // Below the former label at least.
            let at = labels
                .last()
                .map_or(y(*ms), |former| y(*ms).max(former + 14.0));
            labels.push(at);
            push(
                &mut svg,
                &format!(
                    r#"<text x="{:.1}" y="{:.1}">{}</text>"#,
                    TO + 10.0,
                    at + 4.0,
                    escape(name)
                ),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

fn open(id: &str, title: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-labelledby="{id}"><title id="{id}">{}</title>"#,
        escape(title)
    )
}

fn push(svg: &mut String, mark: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{mark}");
}

/// A round distance of marks, 1 ms at the least, so that there are not many more than 6 of them.
fn step(most: f64) -> f64 {
    const FEWEST: f64 = 2.5;
    let power = 10_f64.powf((most / FEWEST).log10().floor());
    let times = [5.0, 2.0, 1.0];
    let fits = times.iter().find(|times| **times * power * FEWEST <= most);
    (fits.unwrap_or(&1.0) * power).max(1.0)
}

/// A text as HTML and SVG hold it, also in an attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_an_axis_are_round_and_few() {
        for most in [1.0, 7.0, 31.0, 99.0, 480.0, 1234.0, 90_000.0] {
            let step = step(most);
            let marks = most / step;
            assert!((1.0..=6.25).contains(&marks), "{most}: {step}");
        }
        assert_eq!(step(480.0), 100.0);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
