//! What a comparison measures, and how often.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// The state is kept; the application goes on.
    Snapshot,
    /// A snapshot, then on in a new container made from it.
    Step,
    /// Back to a state that was kept, in a container that is launched.
    Restore,
    /// The same in a container that was prepared.
    Warm,
}

impl Operation {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Snapshot, Self::Step, Self::Restore, Self::Warm];

    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Step => "step",
            Self::Restore => "restore",
            Self::Warm => "warm",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What has changed in the container's files before the operation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub(crate) enum Payload {
    /// Nothing.
    #[value(name = "nothing")]
    #[serde(rename = "nothing")]
    Nothing,
    /// One file of 1 MB.
    #[value(name = "1mb")]
    #[serde(rename = "1mb")]
    OneMegabyte,
    /// 1000 files of 1 kB each.
    #[value(name = "1000x1kb")]
    #[serde(rename = "1000x1kb")]
    ThousandFiles,
    /// One file of 100 MB.
    #[value(name = "100mb")]
    #[serde(rename = "100mb")]
    HundredMegabytes,
}

impl Payload {
    /// All of them.
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::OneMegabyte,
        Self::ThousandFiles,
        Self::HundredMegabytes,
    ];
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "nothing",
            Self::OneMegabyte => "1 MB",
            Self::ThousandFiles => "1000 × 1 kB",
            Self::HundredMegabytes => "100 MB",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// How many snapshots, `base` apart, lie one upon the other.
    pub(crate) depth: u32,
    /// What has changed before.
    pub(crate) payload: Payload,
    /// What is done.
    pub(crate) operation: Operation,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            payload,
            depth,
        } = self;
        write!(f, "{operation}, {payload}, depth {depth}")
    }
}

/// The depth of the long chain.
const DEEP: u32 = 50;

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// What, the flat before the deep.
    pub(super) cells: Vec<Cell>,
    /// How often the benchmark is started, each time with other tools first.
    pub(super) rounds: usize,
    /// How often each tool does each cell in a round before it is measured.
    pub(super) warm_up: usize,
    /// How often then. Criterion's least.
    pub(super) samples: usize,
}

impl Extent {
    /// Of a quick or a full comparison, less what was not asked for.
    pub(super) fn new(quick: bool, payloads: &[Payload], operations: &[Operation]) -> Self {
        let all = match quick {
            true => &[Payload::OneMegabyte][..],
            false => &Payload::ALL,
        };
        let payloads = if payloads.is_empty() { all } else { payloads };
        let (operations, chosen) = match operations {
            [] => (&Operation::ALL[..], false),
            operations => (operations, true),
        };
        // What has been prepared is thawed, whatever lies in its files.
        let has_a_point = |operation: Operation, payload: Payload, depth: u32| {
            chosen || operation != Operation::Warm || (payload, depth) == (Payload::OneMegabyte, 1)
        };
        let mut cells = Vec::new();
        for (depth, payload) in payloads
            .iter()
            .map(|payload| (1, *payload))
            .chain((!quick).then_some((DEEP, Payload::OneMegabyte)))
        {
            if payloads.contains(&payload) {
                let operations = operations.iter().copied();
                let operations =
                    operations.filter(|&operation| has_a_point(operation, payload, depth));
                cells.extend(operations.map(|operation| Cell {
                    operation,
                    payload,
                    depth,
                }));
            }
        }
        Self {
            cells,
            rounds: if quick { 1 } else { 2 },
            warm_up: 1,
            samples: 10,
        }
    }

    /// The depths, each once.
    pub(super) fn depths(&self) -> Vec<u32> {
        let mut depths: Vec<u32> = self.cells.iter().map(|cell| cell.depth).collect();
        depths.dedup();
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_one_payload_and_full_is_all_of_them() {
        let quick = Extent::new(true, &[], &[]);
        assert_eq!(quick.cells.len(), 4);
        assert_eq!(quick.depths(), [1]);
        let full = Extent::new(false, &[], &[]);
        assert_eq!(full.cells.len(), 3 * 4 + 1 + 3, "one of them warm");
        assert_eq!(full.depths(), [1, 50]);
        assert_eq!(full.rounds * full.samples, 20);
        let some = Extent::new(false, &[Payload::Nothing], &[Operation::Restore]);
        assert_eq!(some.cells.len(), 1, "the long chain is measured on 1 MB");
    }
}
