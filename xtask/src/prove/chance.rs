//! What is drawn by lot. The same seed draws the same, whatever the machine does meanwhile.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::victim::Victim;

/// A source of chance.
#[derive(Debug)]
pub(super) struct Chance(StdRng);

impl Chance {
    /// From a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.0.random_ratio(1, n)
    }

    /// A duration up to a limit.
    pub(super) fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.0.random())
    }

    /// One of several. Exactly one number is drawn, however many there are.
    pub(super) fn one_of<'a, T>(&mut self, several: &'a [T]) -> Option<&'a T> {
        let at = self.0.random::<f64>() * several.len() as f64;
        several.get(at as usize)
    }
}

/// Who is killed next, or nobody: each as often as the others, also in a few rounds.
#[derive(Debug)]
pub(super) struct Deck {
    victims: &'static [Victim],
    left: Vec<Option<Victim>>,
}

impl Deck {
    /// One with these victims.
    pub(super) fn new(victims: &'static [Victim]) -> Self {
        let left = Vec::new();
        Self { victims, left }
    }

    /// Draws one.
    pub(super) fn draw(&mut self, chance: &mut Chance) -> Option<Victim> {
        if self.left.is_empty() {
            self.left.push(None);
            self.left.extend(self.victims.iter().copied().map(Some));
            self.left.shuffle(&mut chance.0);
        }
        self.left.pop().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Runtime;

    #[test]
    fn a_deck_has_each_once() {
        let victims = Victim::of(Runtime::Docker);
        let (mut chance, mut deck) = (Chance::new(7), Deck::new(victims));
        let mut drawn: Vec<String> = (0..4)
            .map(|_| format!("{:?}", deck.draw(&mut chance)))
            .collect();
        drawn.sort();
        assert_eq!(
            drawn,
            ["None", "Some(Command)", "Some(Daemon)", "Some(Shim)"]
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_however_many_there_are_to_choose_from() {
        let draw = |several: &[u8]| {
            let mut chance = Chance::new(7);
            assert!(chance.one_of(several).is_some());
            chance.up_to(Duration::from_secs(1))
        };
        assert_eq!(draw(&[1]), draw(&[1, 2, 3]));
    }
}
