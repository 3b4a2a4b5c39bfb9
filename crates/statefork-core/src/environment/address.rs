//! A branch's address: its shim, the ports that listen there, and where they lead.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use statefork_runtime::{Container, ContainerSpec, ContainerState, PortMapping};
use statefork_shim::Shim;

use super::{Environment, RECOVER, THAW};
use crate::error::{CoreError, Result};
use crate::model::{Branch, LiveContainer};
use crate::readiness::address;

impl Environment {
    /// The branch's shim, listening on its ports unless the runtime still publishes them; `None`
    /// where branches have none.
    pub(super) async fn shim(&self, branch: &Branch) -> Result<Option<Shim>> {
        let ports = match branch.is_attached() {
            true => &[],
            false => branch.ports.as_slice(),
        };
        let listening = self.listen(branch, ports).await?;
        Ok(listening.map(|(shim, _)| shim))
    }

    /// Serves the branch's ports again if its shim died and its container lives.
    pub(super) async fn revive_shim(&self, branch: &str) -> Result<()> {
        let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
            return Ok(());
        };
        let Some(branch) = self.store().branch(record.number, branch)? else {
            return Ok(());
        };
        let Some(live) = branch.container.as_ref().filter(|live| !live.attached) else {
            return Ok(());
        };
        let dir = self.home.shim_dir(branch.number);
        let has_use = !branch.ports.is_empty() || branch.expires_at.is_some();
        if !has_use || Shim::connect(&dir).await?.is_some() {
            return Ok(());
        }
        match self.runtime.inspect(&live.id).await? {
            Some(container) if container.state == ContainerState::Running => {
                let mut shim = self.shim(&branch).await?;
                self.retarget(&container, &branch, &mut shim).await
            }
            _ => Ok(()),
        }
    }

    /// The branch's shim, listening on exactly these ports; with the ports as they were bound.
    pub(super) async fn listen(
        &self,
        branch: &Branch,
        ports: &[PortMapping],
    ) -> Result<Option<(Shim, Vec<PortMapping>)>> {
        let Some(programs) = &self.options.programs else {
            return match ports {
                [] => Ok(None),
                _ => Err(CoreError::InvalidSettings {
                    what: "published ports".to_owned(),
                    reason: "there is no helper program that could serve them".to_owned(),
                }),
            };
        };
        let dir = self.home.shim_dir(branch.number);
        let mut shim = Shim::ensure(&programs.helper, &dir).await?;
        let bound = shim.listen(ports).await?;
        if let Some(end) = branch.expires_at {
            self.tell_end(&mut shim, &branch.name, end).await?;
        }
        Ok(Some((shim, bound)))
    }

    /// Has the shim look after a container while it is frozen or stopped, should this process
    /// die or take too long.
    pub(super) async fn guard(
        &self,
        shim: &mut Option<Shim>,
        branch: &str,
        frozen: Option<&LiveContainer>,
    ) -> Result<()> {
        let (Some(shim), Some(programs), Some(live)) = (shim, &self.options.programs, frozen)
        else {
            return Ok(());
        };
        let recover = self.worker(programs, branch, &[RECOVER]);
        let thaw = self.worker(programs, branch, &[THAW, live.id.as_str()]);
        shim.guard(&recover, &thaw, self.options.freeze_timeout)
            .await?;
        Ok(())
    }

    /// Has the branch's shim, if one runs, look after what this process could not undo: it sees the
    /// connection end.
    pub(super) async fn leave_to_shim(&self, branch: &Branch, live: &LiveContainer) -> Result<()> {
        let mut shim = Shim::connect(&self.home.shim_dir(branch.number)).await?;
        self.guard(&mut shim, &branch.name, Some(live)).await
    }

    /// Lets the branch's connections go to a container that runs.
    pub(super) async fn retarget(
        &self,
        container: &Container,
        branch: &Branch,
        shim: &mut Option<Shim>,
    ) -> Result<()> {
        let Some(shim) = shim else { return Ok(()) };
        if branch.is_attached() {
            return Ok(shim.release().await?);
        }
        let spec = match &branch.container {
            Some(live) => live.spec.clone(),
            None => ContainerSpec::default(),
        };
        shim.target(&targets(branch, container, &spec)?).await?;
        Ok(())
    }
}

/// Ends the shim's watch over a freeze.
pub(super) async fn unguard(shim: &mut Option<Shim>) -> Result<()> {
    match shim {
        Some(shim) => Ok(shim.unguard().await?),
        None => Ok(()),
    }
}

/// Lets connections go to where they went before.
pub(super) async fn release(shim: &mut Option<Shim>) -> Result<()> {
    match shim {
        Some(shim) => Ok(shim.release().await?),
        None => Ok(()),
    }
}

/// Where each of the branch's ports leads.
pub(super) fn targets(
    branch: &Branch,
    container: &Container,
    spec: &ContainerSpec,
) -> Result<BTreeMap<u16, SocketAddr>> {
    let ports = branch.ports.iter().map(|port| port.container);
    ports
        .map(|port| match address(container, &spec.network, port) {
            Some(address) => Ok((port, address)),
            None => Err(CoreError::InvalidSettings {
                what: format!("port {port} of container {}", container.name),
                reason: "the container has no address".to_owned(),
            }),
        })
        .collect()
}
