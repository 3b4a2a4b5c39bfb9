//! What the client of the database saw, in memory and in a file, by one monotonic clock.
//!
//! From outside one cannot know in which instant of a command the capture took place. So what was
//! acknowledged before the command began must be in the snapshot, what began after it had ended must
//! not, and what lies between may or may not.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::bounds::Bounds;

/// The journal of one run.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    start: Instant,
    /// The number of the next transaction; none is used twice.
    next: u64,
    /// Transactions from this number on began with the database that answers now.
    settled: u64,
    /// What the database that answers now must and may hold.
    live: Bounds,
    /// How many were acknowledged.
    pub(super) acknowledged: u64,
}

/// An instant, and what was known in it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    live: Bounds,
    next: u64,
}

impl Journal {
    /// An empty one.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            file,
            start: Instant::now(),
            next: 1,
            settled: 1,
            live: Bounds::default(),
            acknowledged: 0,
        })
    }

    /// A transaction is about to be sent.
    pub(super) fn begin(&mut self) -> Result<u64> {
        let n = self.next;
        self.next += 1;
        self.live.may.insert(n);
        self.note(format_args!("begin {n}"))?;
        Ok(n)
    }

    /// The database said that it is committed.
    pub(super) fn acknowledge(&mut self, n: u64) -> Result<()> {
        self.acknowledged += 1;
        // One that an earlier container may have acknowledged proves nothing of this one.
        if n >= self.settled && self.live.may.remove(&n) {
            self.live.must.insert(n);
        }
        self.note(format_args!("acknowledged {n}"))
    }

    /// Writes down anything else that happens.
    pub(super) fn note(&mut self, what: impl Display) -> Result<()> {
        let at = self.start.elapsed().as_secs_f64() * 1e3;
        writeln!(self.file, "{at:.3} {what}").context("write the journal")
    }

    /// Now, before a command that saves or goes back.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            live: self.live.clone(),
            next: self.next,
        }
    }

    /// What a capture holds that was taken between the mark and now.
    pub(super) fn captured(&self, since: &Mark) -> Bounds {
        let must = since.live.must.clone();
        let may = since.live.may.iter();
        let may = may.chain(&self.live.must).chain(&self.live.may);
        Bounds {
            may: may.filter(|n| !must.contains(n)).copied().collect(),
            must,
        }
    }

    /// Some time between the mark and now the database was replaced by one that held this.
    pub(super) fn replaced(&mut self, held: &Bounds, since: &Mark) {
        self.live = held.clone();
        // There is one transaction at a time: at most the last of those before was on its way.
        let on_its_way = since.next - 1;
        let first = match since.live.may.contains(&on_its_way) {
            true => on_its_way,
            false => since.next,
        };
        let must = &self.live.must;
        self.live
            .may
            .extend((first..self.next).filter(|n| !must.contains(n)));
        self.settled = self.next;
    }

    /// What the database that answers now was found to hold, while nothing is on its way.
    ///
    /// # Errors
    ///
    /// When it lacks what it must hold, or holds what it may not.
    pub(super) fn found(&mut self, rows: BTreeSet<u64>) -> Result<()> {
        self.note(format_args!("found {} rows", rows.len()))?;
        self.live.check(&rows)?;
        self.live = Bounds {
            must: rows,
            may: BTreeSet::new(),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let mut journal = Journal::create(Path::new("/dev/null")).unwrap();
        for n in 1..=3 {
            assert_eq!(journal.begin().unwrap(), n);
        }
        journal.acknowledge(1).unwrap();
        journal
    }

    #[test]
    fn a_capture_must_hold_what_was_acknowledged_before_and_may_hold_what_began_meanwhile() {
        let mut journal = journal();
        let mark = journal.mark();
        journal.acknowledge(3).unwrap();
        journal.begin().unwrap();
        let captured = journal.captured(&mark);
        journal.begin().unwrap();
        assert_eq!(captured.must, BTreeSet::from([1]));
        assert_eq!(captured.may, BTreeSet::from([2, 3, 4]));
    }

    #[test]
    fn only_what_began_with_the_new_database_is_certain_to_be_in_it() {
        let mut journal = journal();
        let before = journal.captured(&journal.mark());
        journal.acknowledge(2).unwrap();
        let mark = journal.mark();
        journal.begin().unwrap();
        journal.replaced(&before, &mark);
        journal.acknowledge(4).unwrap();
        assert_eq!(journal.begin().unwrap(), 5);
        journal.acknowledge(5).unwrap();
        assert_eq!(journal.live.must, BTreeSet::from([1, 5]));
        assert_eq!(journal.live.may, BTreeSet::from([2, 3, 4]));
        assert!(journal.found(BTreeSet::from([1, 2])).is_err(), "5 is lost");
        journal.found(BTreeSet::from([1, 2, 5])).unwrap();
        assert!(journal.live.may.is_empty());
    }
}
