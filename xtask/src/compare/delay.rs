//! A deliberate delay, to see whether a comparison finds it.

use std::str::FromStr;

use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};

/// A phase of one runtime that is to take longer than it need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// The runtime's name.
    pub(super) runtime: String,
    /// The phase's name.
    phase: String,
    /// How much longer, in ms.
    ms: u64,
}

impl FromStr for Delay {
    type Err = Error;

    /// Reads `RUNTIME:PHASE:MS`.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some(runtime), Some(phase), Some(ms), None) = (part(), part(), part(), part()) else {
            anyhow::bail!("not of the form RUNTIME:PHASE:MS");
        };
        Ok(Self {
            runtime: runtime.to_owned(),
            phase: phase.to_owned(),
            ms: ms.parse().context("the milliseconds are no number")?,
        })
    }
}

impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runtime, phase, ms } = self;
        write!(f, "{ms} ms in phase {phase} on {runtime}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_has_three_parts() {
        let delay: Delay = "docker:create:50".parse().unwrap();
        assert_eq!(delay.to_string(), "50 ms in phase create on docker");
        for wrong in ["docker:create", "docker:create:x", "docker::5", "a:b:1:2"] {
            assert!(wrong.parse::<Delay>().is_err(), "{wrong}");
        }
    }
}
