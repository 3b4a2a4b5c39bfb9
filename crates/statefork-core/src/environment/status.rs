//! `status`: what is there now, by asking the runtime.

use statefork_runtime::{Change, Container, ContainerState};
use statefork_shim::Shim;

use super::own_files::OwnFiles;
use super::{Environment, Unfinished};
use crate::error::Result;
use crate::model::{Branch, ImageSource, Snapshot};

/// What the branch's container is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveState {
    /// There is none.
    Down,
    /// It is there.
    Present {
        /// As the runtime knows it.
        container: Box<Container>,
        /// What differs from the snapshot that it was launched from.
        changes: Vec<Change>,
        /// Whether the branch's ports are served; `None` if it has none.
        forwarding: Option<bool>,
    },
    /// It was removed behind our back.
    Lost,
}

/// An environment as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where its image came from.
    pub image: ImageSource,
    /// The branch.
    pub branch: Branch,
    /// The branch's head.
    pub head: Snapshot,
    /// How many snapshots there are, `base` included.
    pub snapshots: usize,
    /// The branch's container.
    pub live: LiveState,
    /// What was not finished.
    pub unfinished: Vec<Unfinished>,
}

impl Environment {
    /// Looks. `None` if the environment does not exist.
    pub async fn status(&self) -> Result<Option<Status>> {
        let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
            return Ok(None);
        };
        let branch = self.branch(&record, &self.branch_name()?)?;
        let live = self
            .look(&branch)
            .await
            .map_err(|error| error.in_operation("look at the container"))?;
        Ok(Some(Status {
            image: record.settings.image,
            head: self.store().snapshot(record.number, &branch.head)?,
            snapshots: self.store().graph(record.number)?.len(),
            live,
            branch,
            unfinished: self.unfinished()?,
        }))
    }

    async fn look(&self, branch: &Branch) -> Result<LiveState> {
        let Some(live) = &branch.container else {
            return Ok(LiveState::Down);
        };
        let Some(container) = self.runtime.inspect(&live.id).await? else {
            return Ok(LiveState::Lost);
        };
        let changes = match container.state {
            ContainerState::Created => Vec::new(),
            _ => {
                let changes = self.runtime.changes(&container.id).await?;
                OwnFiles::of(&container, &live.spec).left_out(changes)
            }
        };
        let forwarding = match branch.ports.is_empty() {
            true => None,
            false => Some(
                Shim::connect(&self.home.shim_dir(branch.number))
                    .await?
                    .is_some(),
            ),
        };
        Ok(LiveState::Present {
            container: Box::new(container),
            changes,
            forwarding,
        })
    }
}
