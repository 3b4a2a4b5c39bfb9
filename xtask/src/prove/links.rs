//! Links of containers that dockerd has lost.
//!
//! A dockerd (20.10) that is killed while it starts a container leaves that container's network
//! namespace behind, with its link on the bridge, and gives its address to a later one. The namespace
//! answers in that one's place, and refuses every connection, until its link is removed or the daemon
//! is started without any container. No client of the daemon can tell or mend that.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::{command, run};

/// The links of docker's default bridge.
const ON_BRIDGE: &str = "/sys/class/net/docker0/brif";

/// Removes all links from the bridge but that of the container whose first process is `pid`. How many.
pub(super) fn remove_lost(pid: u64) -> Result<usize> {
    let own = format!("/proc/{pid}/root/sys/class/net/eth0/iflink");
    let own = number(Path::new(&own))?;
    let mut removed = 0;
    for entry in fs::read_dir(ON_BRIDGE).with_context(|| format!("read {ON_BRIDGE}"))? {
        let name = entry?.file_name();
        let index = Path::new("/sys/class/net").join(&name).join("ifindex");
        let index = match fs::exists(&index)? {
            true => number(&index)?,
            // It has gone by itself.
            false => continue,
        };
        if index != own {
            let mut ip = command("ip");
            run(ip.args(["link", "delete"]).arg(&name))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let number = text.trim().parse();
    number.with_context(|| format!("read {}: it holds {text:?}", path.display()))
}
