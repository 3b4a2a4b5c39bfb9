//! Where forks can be reached.

use statefork_runtime::{PortMapping, PortRange};
use statefork_shim::{Shim, ShimError};

use super::ForkRequest;
use crate::environment::Environment;
use crate::error::{CoreError, Result};
use crate::model::{Branch, MAIN};
use crate::store::EnvironmentRecord;

impl Environment {
    /// What each fork gets a port of.
    pub(super) fn ports_to_fork(
        &self,
        record: &EnvironmentRecord,
        current: &str,
        request: &ForkRequest,
    ) -> Result<Vec<PortRange>> {
        if !request.ports.is_empty() {
            return Ok(request.ports.clone());
        }
        let branch = match self.store().branch(record.number, current)? {
            Some(branch) => branch,
            None => self.branch(record, MAIN)?,
        };
        let ports = branch.ports.iter();
        Ok(ports
            .map(|port| PortRange::any(port.ip, port.container))
            .collect())
    }

    /// Has the branch's shim listen on the first free port of each range, and keeps which those are.
    pub(super) async fn take_free_ports(
        &self,
        branch: &Branch,
        ranges: &[PortRange],
    ) -> Result<(Option<Shim>, Vec<PortMapping>)> {
        let mut asked: Vec<_> = ranges.iter().map(PortRange::first).collect();
        loop {
            self.options.cancel.check()?;
            match self.listen(branch, &asked).await {
                Ok(Some((shim, bound))) => {
                    self.store().set_ports(branch.number, &bound)?;
                    return Ok((Some(shim), bound));
                }
                Ok(None) => return Ok((None, Vec::new())),
                Err(CoreError::Shim(ShimError::PortInUse { address })) => {
                    let mut asked = asked.iter_mut().zip(ranges);
                    let taken = asked.find(|(port, _)| port.host_address() == address);
                    match taken.map(|(port, range)| (range.after(*port), port, range)) {
                        Some((Some(next), port, _)) => *port = next,
                        Some((None, _, range)) if !range.is_one() => {
                            return Err(CoreError::NoFreePort { range: *range });
                        }
                        _ => return Err(ShimError::PortInUse { address }.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
