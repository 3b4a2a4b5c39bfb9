//! What a database must hold and what it may hold, as far as its client can know.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// How many transactions an error names.
const NAMED: usize = 10;

/// Transactions by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Those that must be there.
    pub(super) must: BTreeSet<u64>,
    /// Those that may be there too; none of `must`.
    pub(super) may: BTreeSet<u64>,
}

impl Bounds {
    /// Fails if a transaction is missing, or one is there that may not be.
    pub(super) fn check(&self, found: &BTreeSet<u64>) -> Result<()> {
        let lost: Vec<&u64> = self.must.difference(found).collect();
        if !lost.is_empty() {
            bail!("{} transactions are lost: {}", lost.len(), name(&lost));
        }
        let unexpected: Vec<&u64> = found
            .iter()
            .filter(|n| !self.must.contains(n) && !self.may.contains(n))
            .collect();
        if !unexpected.is_empty() {
            bail!(
                "{} transactions are there that began later: {}",
                unexpected.len(),
                name(&unexpected)
            );
        }
        Ok(())
    }
}

fn name(numbers: &[&u64]) -> String {
    let mut names: Vec<String> = numbers.iter().take(NAMED).map(|n| n.to_string()).collect();
    if numbers.len() > NAMED {
        names.push("…".to_owned());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_there_is_and_nothing_else_but_what_may() {
        let bounds = Bounds {
            must: BTreeSet::from([1, 2]),
            may: BTreeSet::from([3]),
        };
        bounds.check(&BTreeSet::from([1, 2])).unwrap();
        bounds.check(&BTreeSet::from([1, 2, 3])).unwrap();
        let lost = bounds.check(&BTreeSet::from([1, 3])).unwrap_err();
        assert_eq!(lost.to_string(), "1 transactions are lost: 2");
        let later = bounds.check(&BTreeSet::from([1, 2, 4])).unwrap_err();
        assert!(later.to_string().ends_with("began later: 4"), "{later}");
    }
}
