//! Durations and their figures: one thing by itself, and two timed in turn, so that a drift of the
//! machine hits both alike.

use std::fmt;
use std::time::Duration;

/// Durations of one thing.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds one.
    pub fn push(&mut self, duration: Duration) {
        self.0.push(ms(duration));
    }

    /// The median in ms; 0 of none.
    pub fn median_ms(&self) -> f64 {
        median(self.0.clone())
    }

    /// A percentile in ms, by the nearest rank; 0 of none.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut figures = self.0.clone();
        figures.sort_by(f64::total_cmp);
        let rank = (figures.len() * percent).div_ceil(100);
        figures.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Duration> for Series {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        Self(durations.into_iter().map(ms).collect())
    }
}

/// A line of figures in ms: n, then median (min to max).
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n={} | {}", self.0.len(), column(&self.0))
    }
}

/// Durations of two things, pair by pair.
#[derive(Clone, Debug, Default)]
pub struct Pairs(Vec<(Duration, Duration)>);

impl Pairs {
    /// Adds a pair.
    pub fn push(&mut self, one: Duration, other: Duration) {
        self.0.push((one, other));
    }

    /// The median of the differences, one minus other, in ms; 0 of no pairs.
    pub fn median_difference_ms(&self) -> f64 {
        median(
            self.0
                .iter()
                .map(|&(one, other)| ms(one) - ms(other))
                .collect(),
        )
    }
}

/// A line of figures in ms: n, then median (min to max) of each and of the difference.
impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = |figure: &dyn Fn(&(Duration, Duration)) -> f64| {
            column(&self.0.iter().map(figure).collect::<Vec<_>>())
        };
        write!(
            f,
            "n={} | {} | {} | {}",
            self.0.len(),
            column(&|pair| ms(pair.0)),
            column(&|pair| ms(pair.1)),
            column(&|pair| ms(pair.0) - ms(pair.1)),
        )
    }
}

fn column(figures: &[f64]) -> String {
    if figures.is_empty() {
        return "none".to_owned();
    }
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({least:.2} to {most:.2})", median(figures.to_vec()))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        n => (figures[(n - 1) / 2] + figures[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_taken_pair_by_pair() {
        let mut pairs = Pairs::default();
        for (one, other) in [(10, 9), (30, 28), (20, 15)] {
            pairs.push(Duration::from_millis(one), Duration::from_millis(other));
        }
        assert_eq!(pairs.median_difference_ms(), 2.0);
        assert_eq!(
            pairs.to_string(),
            "n=3 | 20.00 (10.00 to 30.00) | 15.00 (9.00 to 28.00) | 2.00 (1.00 to 5.00)"
        );
    }
}
