//! Figures of samples: medians with their spread, and ratios of medians with intervals from a seeded
//! bootstrap, so that the same samples always give the same report.

use serde::{Deserialize, Serialize};

/// How often samples are drawn anew.
const DRAWS: usize = 4000;
/// What an interval covers.
const COVERAGE: f64 = 0.95;
/// A ratio whose interval reaches further, from its lower to its upper end, is not to be quoted.
const NOISY: f64 = 1.5;

/// The figures of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// How many.
    pub(crate) n: usize,
    /// The median; of an even number, the mean of the middle two.
    pub(crate) median: f64,
    /// The quartiles, between the two nearest ranks.
    pub(crate) quartiles: (f64, f64),
    /// The least and the most.
    pub(crate) range: (f64, f64),
}

impl Figures {
    /// Of a sample; `None` of an empty one.
    pub(super) fn of(sample: &[f64]) -> Option<Self> {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            n: sorted.len(),
            median: quantile(&sorted, 0.5)?,
            quartiles: (quantile(&sorted, 0.25)?, quantile(&sorted, 0.75)?),
            range: (*sorted.first()?, *sorted.last()?),
        })
    }
}

/// A ratio of two medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// It.
    pub(crate) ratio: f64,
    /// Its 95 % interval.
    pub(crate) interval: (f64, f64),
    /// Whether the interval is too wide for the ratio to be quoted.
    pub(crate) noisy: bool,
}

impl Ratio {
    /// The ratio of what two tools took in the same rounds, `one` to `other`, with the interval in
    /// which the ratio of another such run is expected. Rounds are drawn as a whole, so that a drift
    /// of the machine, which hits both alike, does not count. `None` unless both have the same
    /// number of samples, more than 0 each.
    pub(super) fn to_repeat(one: &[f64], other: &[f64]) -> Option<Self> {
        if one.len() != other.len() {
            return None;
        }
        let ratio = ratio(median(one)?, median(other)?)?;
        let (one, other) = (Ranked::new(one), Ranked::new(other));
        let mut chance = Chance::new();
        let mut draw = || {
            let rounds = chance.draw(one.sorted.len());
            one.median(&rounds) / other.median(&rounds)
        };
        // The difference of two runs, not of one from the truth.
        let factors = (0..DRAWS).map(|_| draw() / draw()).collect();
        Some(Self::around(ratio, factors))
    }

    /// The ratio of two independent samples, `one` to `other`, with the interval in which the true
    /// one is expected. `None` of empty samples, or of a first median of 0; infinite where only the
    /// second is 0.
    pub(super) fn of_independent(one: &[f64], other: &[f64]) -> Option<Self> {
        let (above, below) = (median(one)?, median(other)?);
        if above > 0.0 && below == 0.0 {
            return Some(Self {
                ratio: f64::INFINITY,
                interval: (f64::INFINITY, f64::INFINITY),
                noisy: false,
            });
        }
        let ratio = ratio(above, below)?;
        let (one, other) = (Ranked::new(one), Ranked::new(other));
        let mut chance = Chance::new();
        let mut draw = || {
            let (ones, others) = (
                chance.draw(one.sorted.len()),
                chance.draw(other.sorted.len()),
            );
            one.median(&ones) / other.median(&others) / ratio
        };
        let factors = (0..DRAWS).map(|_| draw()).collect();
        Some(Self::around(ratio, factors))
    }

    fn around(ratio: f64, mut factors: Vec<f64>) -> Self {
        factors.sort_by(f64::total_cmp);
        let end = |share| quantile(&factors, share).map_or(ratio, |factor| ratio * factor);
        let aside = (1.0 - COVERAGE) / 2.0;
        let interval = (end(aside), end(1.0 - aside));
        Self {
            ratio,
            interval,
            noisy: interval.1 > interval.0 * NOISY,
        }
    }

    /// Whether the interval holds a ratio.
    pub(super) fn holds(&self, ratio: f64) -> bool {
        self.interval.0 <= ratio && ratio <= self.interval.1
    }
}

/// `None` unless both medians are more than 0.
fn ratio(one: f64, other: f64) -> Option<f64> {
    (one > 0.0 && other > 0.0).then_some(one / other)
}

/// A sample that medians are drawn from without sorting again.
struct Ranked {
    sorted: Vec<f64>,
    /// The place in it of each element of the sample.
    ranks: Vec<usize>,
}

impl Ranked {
    fn new(sample: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..sample.len()).collect();
        order.sort_by(|one, other| sample[*one].total_cmp(&sample[*other]));
        let mut ranks = vec![0; sample.len()];
        for (rank, element) in order.iter().enumerate() {
            ranks[*element] = rank;
        }
        let sorted = order.into_iter().map(|element| sample[element]).collect();
        Self { sorted, ranks }
    }

    /// The median of the elements that were drawn, as many as there are.
    fn median(&self, drawn: &[usize]) -> f64 {
        let mut counts = vec![0_usize; self.sorted.len()];
        for element in drawn {
            counts[self.ranks[*element]] += 1;
        }
        let at = |rank: usize| {
            let mut passed = 0;
            let found = counts.iter().position(|count| {
                passed += count;
                passed > rank
            });
            self.sorted[found.unwrap_or(self.sorted.len() - 1)]
        };
        let n = drawn.len();
        f64::midpoint(at((n - 1) / 2), at(n / 2))
    }
}

/// SplitMix64, since the generators of `rand` may draw otherwise in a later version, and a report must
/// not.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(0x5eed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// So many of `0..n` as n, each again and again.
    fn draw(&mut self, n: usize) -> Vec<usize> {
        let one = |_| ((u128::from(self.next()) * n as u128) >> 64) as usize;
        (0..n).map(one).collect()
    }
}

/// The median; `None` of an empty sample.
pub(super) fn median(sample: &[f64]) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// A quantile of a sorted sample, linear between the two nearest ranks.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = share * last as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    let (below, above) = (sorted[below], sorted[above]);
    Some(below + (above - below) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let figures = Figures::of(&[4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!(figures.n, 4);
        assert_eq!(figures.median, 3.0);
        assert_eq!(figures.quartiles, (1.75, 5.25));
        assert_eq!(figures.range, (1.0, 9.0));
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn a_drift_that_hits_both_alike_does_not_widen_the_interval() {
        let drift: Vec<f64> = (0..20).map(|at| 100.0 + 10.0 * f64::from(at)).collect();
        let half: Vec<f64> = drift.iter().map(|ms| ms / 2.0).collect();
        let paired = Ratio::to_repeat(&half, &drift).unwrap();
        assert_eq!(paired.ratio, 0.5);
        assert!((paired.interval.1 - paired.interval.0).abs() < 1e-9);
        assert!(!paired.noisy);
        let independent = Ratio::of_independent(&half, &drift).unwrap();
        assert!(independent.interval.0 < 0.45 && independent.interval.1 > 0.55);
    }

    #[test]
    fn the_same_samples_give_the_same_interval() {
        let (one, other) = ([1.0, 2.0, 4.0], [2.0, 2.5, 3.0]);
        let again = || Ratio::to_repeat(&one, &other).unwrap();
        assert_eq!(again(), again());
        assert!(again().noisy, "1 to 4 is no figure to quote");
        assert_eq!(Ratio::to_repeat(&one, &[]), None);
        assert_eq!(Ratio::of_independent(&[0.0], &one), None);
        let new = Ratio::of_independent(&one, &[0.0]).unwrap();
        assert_eq!(new.interval.0, f64::INFINITY);
    }

    #[test]
    fn nineteen_of_twenty_repetitions_lie_in_the_interval() {
        let mut chance = Chance::new();
        let mut run = || {
            let mut sample = |around: f64| -> Vec<f64> {
                let mut one = || around * (1.0 + 0.2 * chance.next() as f64 / u64::MAX as f64);
                (0..10).map(|_| one() + one()).collect()
            };
            Ratio::to_repeat(&sample(100.0), &sample(200.0))
        };
        let mut repeats = || Some(run()?.holds(run()?.ratio));
        let repeated = (0..200).filter(|_| repeats() == Some(true)).count();
        // 190 are expected, with a standard deviation of 3; ten samples are few for a bootstrap, which
        // then covers a little less than it says.
        assert!(repeated >= 184, "{repeated} of 200");
    }

    #[test]
    fn a_drawn_median_is_that_of_what_was_drawn() {
        let sample = [5.0, 1.0, 4.0, 2.0];
        let ranked = Ranked::new(&sample);
        for drawn in [[0, 1, 2, 3], [1, 1, 1, 0], [2, 2, 0, 0], [3, 3, 3, 3]] {
            let elements = drawn.map(|at: usize| sample[at]);
            assert_eq!(Some(ranked.median(&drawn)), median(&elements), "{drawn:?}");
        }
    }
}
