//! Links of containers that dockerd has lost.
//!
//! A dockerd (20.10) that was killed knows less of the containers that it finds again: when one of them is
//! removed later, its network namespace stays behind with its link on the bridge, and its address
//! is given to the next container. The namespace answers in that one's place, and refuses every
//! connection, until its link is removed or the daemon is started without any container. No client
//! of the daemon can tell or mend that.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{command, run};

/// A link, as `ip -json` tells it. The file system of the kernel's own (`/sys`) tells of those of another
/// network namespace here.
#[derive(Deserialize)]
struct Link {
    ifindex: u64,
    ifname: String,
}

/// Removes all links from docker's bridge but that of the container whose first process is `pid`. How many.
pub(super) fn remove_lost(pid: u64) -> Result<usize> {
    // The container's own view of it.
    let own = format!("/proc/{pid}/root/sys/class/net/eth0/iflink");
    let own = fs::read_to_string(&own).with_context(|| format!("read {own}"))?;
    let own: u64 = own.trim().parse().context("read the number of a link")?;
    let mut removed = 0;
    for link in on_bridge()?.iter().filter(|link| link.ifindex != own) {
        match run(command("ip").args(["link", "delete", &link.ifname])) {
            Ok(_) => removed += 1,
            // It went with its container, which was removed behind a restore.
            Err(_) if !on_bridge()?.iter().any(|one| one.ifindex == link.ifindex) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// The links on docker's bridge.
fn on_bridge() -> Result<Vec<Link>> {
    let told = run(command("ip").args(["-json", "link", "show", "master", "docker0"]))?;
    serde_json::from_str(&told).context("read what `ip` tells")
}
