//! What is measured: an operation, with so much changed, so deep in the graph.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The state is kept; the application goes on.
    Snapshot,
    /// The state is kept, and the application goes on in a new container made from it.
    Step,
    /// Back to a state that was kept; what changed since is lost. No container is prepared for it.
    Restore,
    /// The same where a container has been prepared.
    Warm,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Step => "step",
            Self::Restore => "restore",
            Self::Warm => "warm",
        })
    }
}

/// What has changed in the container's files before the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing.
    #[serde(rename = "nothing")]
    Nothing,
    /// A file of 1 000 000 bytes.
    #[serde(rename = "1mb")]
    OneMegabyte,
    /// 1000 files of 1000 bytes each.
    #[serde(rename = "1000x1kb")]
    ThousandFiles,
    /// A file of 100 000 000 bytes.
    #[serde(rename = "100mb")]
    HundredMegabytes,
}

impl Payload {
    /// How many files, and the size of each in bytes.
    pub(super) fn files(self) -> (usize, usize) {
        match self {
            Self::Nothing => (0, 0),
            Self::OneMegabyte => (1, 1_000_000),
            Self::ThousandFiles => (1000, 1000),
            Self::HundredMegabytes => (1, 100_000_000),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::OneMegabyte => "1mb",
            Self::ThousandFiles => "1000x1kb",
            Self::HundredMegabytes => "100mb",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What is done.
    pub operation: Operation,
    /// What has changed before.
    pub payload: Payload,
    /// How many snapshots, counted from `base` and with the one at hand, lie one upon the other:
    /// 1 stands on `base` itself.
    pub depth: u32,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            payload,
            depth,
        } = self;
        write!(f, "{operation} {payload} depth {depth}")
    }
}
