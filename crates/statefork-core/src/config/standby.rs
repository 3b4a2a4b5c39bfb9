//! Which containers are prepared ahead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// From which snapshots containers are prepared ahead for each branch: those that it is likely to be
/// brought back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidates {
    /// None: for an application whose start has effects outside, or which must not be frozen.
    None,
    /// The branch's head.
    #[default]
    Head,
    /// The last snapshots that were the branch's head, this many.
    Recent(u32),
    /// Those with a tag, the latest first.
    Tags,
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Head => f.write_str("head"),
            Self::Recent(count) => write!(f, "recent:{count}"),
            Self::Tags => f.write_str("tags"),
        }
    }
}

/// The policy of an environment about containers that are prepared ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standby {
    /// From what they are prepared.
    pub which: Candidates,
    /// How many a branch may have; `None`: as many as there are candidates.
    pub count: Option<u32>,
}

impl Standby {
    /// None is prepared.
    pub const NONE: Self = Self {
        which: Candidates::None,
        count: None,
    };
}
