//! Figures of the operation log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Operation, OperationKind, Outcome, SnapshotKind};

/// The figures of one operation, or of one phase of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatRow {
    /// The runtime.
    pub runtime: String,
    /// The operation.
    pub operation: OperationKind,
    /// The kind of snapshot it dealt with.
    pub kind: Option<SnapshotKind>,
    /// Whether the application went on in a container that was prepared ahead; `None` where it went on
    /// in none.
    pub warm: Option<bool>,
    /// The phase; `None` for the whole, `usable` for the time until the application could be used.
    pub phase: Option<&'static str>,
    /// How many that were done.
    pub count: usize,
    /// How many failed; counted for the whole only.
    pub failed: usize,
    /// The figures of those that were done; `None` if none was.
    pub figures: Option<Figures>,
}

/// Figures of a sample of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Arithmetic mean.
    pub mean: Duration,
    /// Median; of an even number, the mean of the middle two.
    pub median: Duration,
    /// 95th percentile, by the nearest rank.
    pub p95: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Figures {
    /// The figures of a sample; `None` for an empty one.
    pub fn of(mut sample: Vec<Duration>) -> Option<Self> {
        sample.sort_unstable();
        let n = sample.len();
        let (min, max) = (*sample.first()?, *sample.last()?);
        let sum: Duration = sample.iter().sum();
        let rank = (n * 95).div_ceil(100);
        Some(Self {
            mean: sum / u32::try_from(n).unwrap_or(u32::MAX),
            median: (sample[(n - 1) / 2] + sample[n / 2]) / 2,
            p95: sample[rank - 1],
            min,
            max,
        })
    }
}

#[derive(Default)]
struct Group {
    failed: usize,
    whole: Vec<Duration>,
    /// By position, so that the rows keep the order in which phases happen.
    phases: Vec<(&'static str, Vec<Duration>)>,
}

impl Group {
    fn add(&mut self, phase: &'static str, took: Duration) {
        match self.phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, sample)) => sample.push(took),
            None => self.phases.push((phase, vec![took])),
        }
    }
}

/// What is never mixed in a row.
type Key<'a> = (&'a str, OperationKind, Option<SnapshotKind>, Option<bool>);

/// The figures of a log, by operation, kind and whether it was warm, the whole before its phases.
pub(crate) fn statistics(log: &[Operation]) -> Vec<StatRow> {
    let mut groups: BTreeMap<Key<'_>, Group> = BTreeMap::new();
    for operation in log {
        let key = (
            operation.runtime.as_str(),
            operation.kind,
            operation.snapshot_kind,
            operation.warm,
        );
        let group = groups.entry(key).or_default();
        match (operation.outcome, operation.duration) {
            (Outcome::Done, Some(duration)) => {
                group.whole.push(duration);
                for (phase, took) in &operation.phases {
                    group.add(phase.as_str(), *took);
                }
                if let Some(usable) = operation.usable {
                    group.add("usable", usable);
                }
            }
            (Outcome::Failed, _) => group.failed += 1,
            _ => {}
        }
    }
    let mut rows = Vec::new();
    for ((runtime, operation, kind, warm), group) in groups {
        let row = |phase, failed, sample: Vec<Duration>| StatRow {
            runtime: runtime.to_owned(),
            operation,
            kind,
            warm,
            phase,
            count: sample.len(),
            failed,
            figures: Figures::of(sample),
        };
        rows.push(row(None, group.failed, group.whole));
        for (phase, sample) in group.phases {
            rows.push(row(Some(phase), 0, sample));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let ms = |values: &[u64]| values.iter().copied().map(Duration::from_millis).collect();
        let figures = Figures::of(ms(&[4, 1, 2, 9])).unwrap();
        assert_eq!(figures.mean, Duration::from_millis(4));
        assert_eq!(figures.median, Duration::from_millis(3));
        assert_eq!(figures.p95, Duration::from_millis(9));
        assert_eq!(figures.min, Duration::from_millis(1));
        assert_eq!(figures.max, Duration::from_millis(9));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(
            Figures::of(ms(&hundred)).unwrap().p95,
            Duration::from_millis(95)
        );
        assert_eq!(Figures::of(Vec::new()), None);
    }
}
