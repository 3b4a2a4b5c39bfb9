//! All tools side by side, each with an application of its own, and the rounds in which they do the
//! same in turn.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::naive::Naive;
use super::ours::Ours;
use super::payload::Archive;
use super::{Cell, Plan, Timed, Tool};
use crate::runtimes::Available;

/// How long a daemon is given for what it does after it has answered.
const SETTLE: Duration = Duration::from_millis(100);

/// The tools, at one depth.
pub struct Stage {
    tools: Vec<Box<dyn Tool>>,
}

impl Stage {
    /// Brings up an environment of ours and a naive container on each runtime, both from the same
    /// image. After an error nothing is left of them.
    pub async fn up(
        plan: &Plan,
        home: &Path,
        image: &str,
        runtimes: &[Available],
        depth: u32,
    ) -> Result<Self> {
        let mut stage = Self { tools: Vec::new() };
        for available in runtimes {
            let added = stage.add(plan, home, image, available, depth).await;
            if let Err(error) = added {
                let name = available.runtime.name();
                let error = error.context(format!("bring the tools up on {name}"));
                return Err(match stage.down().await {
                    Ok(()) => error,
                    Err(left) => error.context(format!("{left:#}")),
                });
            }
        }
        Ok(stage)
    }

    async fn add(
        &mut self,
        plan: &Plan,
        home: &Path,
        image: &str,
        available: &Available,
        depth: u32,
    ) -> Result<()> {
        let name = plan.name(depth);
        let runtime = plan.slowed(available.runtime.clone())?;
        let ours = Ours::up(runtime, home, &name, image, depth).await?;
        let start = match depth {
            1 => image.to_owned(),
            // The name of a snapshot's image, as docs/formats.md has it.
            _ => format!("statefork.local/{name}:{}", ours.start()),
        };
        self.tools.push(Box::new(ours));
        if let Some(naive) = Naive::up(available, &format!("{name}-naive"), &start).await? {
            self.tools.push(Box::new(naive));
        }
        Ok(())
    }

    /// The tools, in the order in which [`measure`](Self::measure) returns their durations.
    pub fn tools(&self) -> &[Box<dyn Tool>] {
        &self.tools
    }

    /// Has every tool do a cell, in rounds in which each does it once. Another begins each time, so
    /// that a drift of the machine hits all alike, and none always follows the same other one.
    /// Returns the rounds; the plan's first are for warming up.
    pub async fn measure(&mut self, plan: &Plan, cell: Cell) -> Result<Vec<Vec<Timed>>> {
        let payload = Archive::of(cell.payload)?;
        for tool in &mut self.tools {
            tool.begin(cell.operation, &payload).await?;
        }
        let mut rounds = Vec::new();
        for number in 0..plan.warm_up + plan.samples {
            let mut timed: Vec<Option<Timed>> = vec![None; self.tools.len()];
            for at in order(self.tools.len(), plan.round + number) {
                let tool = &mut self.tools[at];
                let naive = if tool.is_naive() { ", naive" } else { "" };
                let what = format!("{cell} on {}{naive}", tool.runtime());
                let done = async {
                    tool.prepare(&payload).await?;
                    tokio::time::sleep(SETTLE).await;
                    let timed = tool.run(cell.operation).await?;
                    tool.tidy(cell.operation).await?;
                    anyhow::Ok(timed)
                };
                timed[at] = Some(done.await.context(what)?);
            }
            rounds.push(timed.into_iter().flatten().collect());
        }
        for tool in &mut self.tools {
            tool.end().await?;
        }
        Ok(rounds)
    }

    /// Removes everything: what stands on others first. Goes on after a failure, and returns the
    /// first.
    pub async fn down(mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(mut tool) = self.tools.pop() {
            first = first.and(tool.down().await);
        }
        first
    }
}

/// The order of so many tools in a round: each in turn begins, and every other time they go
/// backwards.
fn order(tools: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tools).collect();
    if tools > 0 {
        order.rotate_left(round / 2 % tools);
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn each_begins_and_ends_as_often_as_the_others() {
        let rounds: Vec<_> = (0..8).map(|round| order(4, round)).collect();
        assert_eq!(rounds[0], [0, 1, 2, 3]);
        assert_eq!(rounds[1], [3, 2, 1, 0]);
        assert_eq!(rounds[2], [1, 2, 3, 0]);
        for tool in 0..4 {
            let first = rounds.iter().filter(|round| round[0] == tool).count();
            let last = rounds.iter().filter(|round| round[3] == tool).count();
            assert_eq!((first, last), (2, 2), "{rounds:?}");
        }
        assert!(order(0, 3).is_empty());
    }
}
