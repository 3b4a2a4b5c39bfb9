//! Two comparisons: what takes longer now, and which ratios to the naive way repeat.

use std::fmt;

use super::cells::Cell;
use super::report::{Measured, Metric, Report};
use super::samples::Tool;
use super::statistics::{Ratio, median};

/// What differs by less is not told: no phase is timed more closely than the machine's scheduler
/// works.
const LEAST_MS: f64 = 1.0;

/// One duration in both comparisons.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    cell: Cell,
    tool: Tool,
    /// A phase's or a metric's name.
    part: String,
    /// The medians then and now.
    ms: (f64, f64),
    ratio: Ratio,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Slower,
    Faster,
    Same,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cell,
            tool,
            part,
            ms,
            ratio,
            ..
        } = self;
        write!(
            f,
            "{} on {tool}, {part} ({}, depth {}): {:.1} ms, was {:.1}, × {:.2} ({:.2} to {:.2})",
            cell.operation,
            cell.payload,
            cell.depth,
            ms.1,
            ms.0,
            ratio.ratio,
            ratio.interval.0,
            ratio.interval.1
        )
    }
}

/// Whether a ratio to the naive way was found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Each lies in the other's interval.
    Repeats,
    /// One does not.
    Differs,
    /// One is too noisy to be quoted.
    Unjudged,
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeats => "repeats",
            Self::Differs => "does not repeat",
            Self::Unjudged => "not to be judged: too noisy",
        })
    }
}

/// A ratio to the naive way in both comparisons.
#[derive(Clone, Debug)]
pub(super) struct Repeated {
    cell: Cell,
    tool: Tool,
    metric: Metric,
    then: Ratio,
    now: Ratio,
    /// Whether it was found again.
    pub(super) repeat: Repeat,
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |ratio: &Ratio| {
            let Ratio {
                ratio, interval, ..
            } = ratio;
            format!("{ratio:.2} ({:.2} to {:.2})", interval.0, interval.1)
        };
        write!(
            f,
            "{} on {}, {}: {}, was {}: {}",
            self.cell,
            self.tool,
            self.metric.as_str(),
            shown(&self.now),
            shown(&self.then),
            self.repeat
        )
    }
}

/// Everything that two comparisons have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Against {
    differences: Vec<Difference>,
    /// The ratios to the naive way.
    pub(super) repeated: Vec<Repeated>,
    /// What only one of the two has.
    unmatched: Vec<String>,
}

impl Against {
    /// Compares `now` with `then`. A difference counts where the interval of the ratio lies beyond
    /// the threshold, a share of 1.
    pub(super) fn new(then: &Report, now: &Report, threshold: f64) -> Self {
        let mut against = Self::default();
        for measured in &now.measured {
            match then.find(measured.cell, &measured.tool) {
                Some(former) => against.add(former, measured, threshold),
                None => against
                    .unmatched
                    .push(format!("{} on {}", measured.cell, measured.tool)),
            }
        }
        against
    }

    fn add(&mut self, then: &Measured, now: &Measured, threshold: f64) {
        let mut parts: Vec<(String, Vec<f64>, Vec<f64>)> = Metric::ALL
            .iter()
            .map(|metric| {
                let part = format!("until {}", metric.as_str());
                (part, metric.of(&then.samples), metric.of(&now.samples))
            })
            .collect();
        for name in Measured::phase_names(&now.samples) {
            let (before, after) = (then.phase(&name), now.phase(&name));
            parts.push((format!("phase {name}"), before, after));
        }
        for (part, before, after) in parts {
            let (Some(was), Some(is)) = (median(&before), median(&after)) else {
                continue;
            };
            let Some(ratio) = Ratio::of_independent(&after, &before) else {
                continue;
            };
            let verdict = match ratio.interval {
                _ if (is - was).abs() < LEAST_MS => Verdict::Same,
                (low, _) if low > 1.0 + threshold => Verdict::Slower,
                (_, high) if high < 1.0 / (1.0 + threshold) => Verdict::Faster,
                _ => Verdict::Same,
            };
            self.differences.push(Difference {
                cell: now.cell,
                tool: now.tool.clone(),
                part,
                ms: (was, is),
                ratio,
                verdict,
            });
        }
        for (metric, ratio) in &now.to_naive {
            let Some(former) = then.to_naive.get(metric) else {
                continue;
            };
            let repeat = match former.holds(ratio.ratio) && ratio.holds(former.ratio) {
                _ if former.noisy || ratio.noisy => Repeat::Unjudged,
                true => Repeat::Repeats,
                false => Repeat::Differs,
            };
            self.repeated.push(Repeated {
                cell: now.cell,
                tool: now.tool.clone(),
                metric: *metric,
                then: *former,
                now: *ratio,
                repeat,
            });
        }
    }

    /// What takes longer now. The naive way is none of ours: it shows what the machine itself has
    /// become.
    pub(super) fn slower(&self) -> impl Iterator<Item = &Difference> {
        self.with(Verdict::Slower, false)
    }

    fn with(&self, verdict: Verdict, naive: bool) -> impl Iterator<Item = &Difference> {
        self.differences
            .iter()
            .filter(move |one| one.verdict == verdict && one.tool.naive == naive)
    }
}

/// The whole in words, for a terminal.
impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, verdict, naive) in [
            ("slower", Verdict::Slower, false),
            ("faster", Verdict::Faster, false),
            (
                "the naive way is slower: the machine is another",
                Verdict::Slower,
                true,
            ),
            (
                "the naive way is faster: the machine is another",
                Verdict::Faster,
                true,
            ),
        ] {
            for difference in self.with(verdict, naive) {
                writeln!(f, "  {title}: {difference}")?;
            }
        }
        writeln!(
            f,
            "  {} durations compared, {} slower",
            self.differences.len(),
            self.slower().count()
        )?;
        for repeated in &self.repeated {
            writeln!(f, "  ratio to naive: {repeated}")?;
        }
        for unmatched in &self.unmatched {
            writeln!(f, "  only now: {unmatched}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::made_up;
    use super::*;

    #[test]
    fn what_takes_longer_is_named_by_operation_runtime_and_phase() {
        let (then, now) = (made_up(1.0, &[1]), made_up(1.3, &[1, 50]));
        let against = Against::new(&then, &now, 0.1);
        let slower: Vec<String> = against.slower().map(ToString::to_string).collect();
        assert!(
            slower
                .iter()
                .any(|line| line.starts_with("restore on podman, phase capture (1 MB, depth 1)")),
            "{slower:#?}"
        );
        assert!(!slower.iter().any(|line| line.contains("pause")));
        assert!(!slower.iter().any(|line| line.contains("naive")));
        assert!(
            against
                .to_string()
                .contains("only now: snapshot, 1 MB, depth 50")
        );
        assert_eq!(Against::new(&then, &now, 0.5).slower().count(), 0);
        let back = Against::new(&now, &then, 0.1);
        assert_eq!(back.slower().count(), 0);
        assert!(
            back.to_string().contains("faster: restore on docker"),
            "{back}"
        );
    }

    #[test]
    fn a_ratio_repeats_unless_it_does_not() {
        let then = made_up(1.0, &[1]);
        let same = Against::new(&then, &made_up(1.01, &[1]), 0.1);
        assert!(!same.repeated.is_empty());
        let other = Against::new(&then, &made_up(1.5, &[1]), 0.1);
        assert!(
            other
                .repeated
                .iter()
                .all(|one| one.repeat == Repeat::Differs)
        );
    }
}
