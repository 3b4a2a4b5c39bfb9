//! What a run of the comparison is to do, as `cargo xtask compare` says it.

use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "delay")]
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use statefork_runtime::{Phase, Runtime};

use super::{Cell, Operation, Payload};
#[cfg(feature = "delay")]
use crate::delayed::DelayedRuntime;

/// The variable that holds the path of the plan, a JSON document.
const VARIABLE: &str = "STATEFORK_COMPARE_PLAN";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Everything that the run makes is named `statefork-compare-RUN` and on, so that it can be
    /// removed should the run be ended.
    pub run: String,
    /// Which round of the run this is, from 0: rounds begin with other tools.
    pub round: usize,
    /// The home; a temporary one unless given.
    pub home: Option<PathBuf>,
    /// The image of target-app; imported unless given.
    pub image: Option<String>,
    /// The runtimes by name; all that answer unless given.
    pub runtimes: Option<Vec<String>>,
    /// What is measured.
    pub cells: Vec<Cell>,
    /// How often each is done before it is measured.
    pub warm_up: usize,
    /// How often each is measured.
    pub samples: usize,
    /// Where the samples go, one JSON document a line; nowhere unless given.
    pub samples_file: Option<PathBuf>,
    /// What is slowed down on purpose.
    pub delay: Option<Delay>,
}

/// A phase of one runtime that takes longer than it need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// The runtime's name.
    pub runtime: String,
    /// The phase.
    pub phase: Phase,
    /// How much longer, in ms.
    pub ms: u64,
}

impl Plan {
    /// The plan that the variable names; without one, each operation on 1 MB at depth 1.
    pub fn load() -> Result<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            let operations = [
                Operation::Snapshot,
                Operation::Step,
                Operation::Restore,
                Operation::Warm,
            ];
            return Ok(Self::small(&operations, 1, 10));
        };
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read the plan {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read the plan {}", path.display()))
    }

    /// One operation once: does it work?
    pub fn smoke() -> Self {
        Self::small(&[Operation::Step], 0, 1)
    }

    fn small(operations: &[Operation], warm_up: usize, samples: usize) -> Self {
        let cell = |&operation| Cell {
            operation,
            payload: Payload::OneMegabyte,
            depth: 1,
        };
        Self {
            run: format!("{:08x}", rand::random::<u32>()),
            round: 0,
            home: None,
            image: None,
            runtimes: None,
            cells: operations.iter().map(cell).collect(),
            warm_up,
            samples,
            samples_file: None,
            delay: None,
        }
    }

    /// The depths of the cells, each once, as they come.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths = Vec::new();
        for cell in &self.cells {
            if !depths.contains(&cell.depth) {
                depths.push(cell.depth);
            }
        }
        depths
    }

    /// The runtime, slowed down if the plan says so.
    #[cfg(feature = "delay")]
    pub(super) fn slowed(&self, runtime: Arc<dyn Runtime>) -> Result<Arc<dyn Runtime>> {
        match &self.delay {
            Some(delay) if delay.runtime == runtime.name() => Ok(Arc::new(DelayedRuntime::new(
                runtime,
                delay.phase,
                Duration::from_millis(delay.ms),
            )?)),
            _ => Ok(runtime),
        }
    }

    /// The runtime; nothing can be slowed down in this build.
    #[cfg(not(feature = "delay"))]
    pub(super) fn slowed(&self, runtime: Arc<dyn Runtime>) -> Result<Arc<dyn Runtime>> {
        anyhow::ensure!(
            self.delay.is_none(),
            "slow a phase down: this benchmark was built without the feature `delay`"
        );
        Ok(runtime)
    }

    /// The name of everything that is made for cells of a depth.
    pub fn name(&self, depth: u32) -> String {
        format!("statefork-compare-{}-d{depth}", self.run)
    }
}
