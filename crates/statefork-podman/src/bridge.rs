//! The hardware address of a network's bridge.
//!
//! A bridge without an address of its own takes the lowest of its ports', so that it changes as
//! containers come and go. What a container sends to the former one is lost until its kernel has
//! doubted the entry in its ARP table, which takes 13 s; an answer to a request that came before
//! the change is delayed for that long, whoever's container it is. With `arp_notify` the kernel
//! tells all of them (Linux, ip-sysctl).

use std::path::Path;

use serde::Deserialize;
use statefork_runtime::Network;

use crate::PodmanRuntime;
use crate::raw::encode;

/// The service's network for containers that name none.
const DEFAULT: &str = "podman";

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    network_interface: String,
}

impl PodmanRuntime {
    /// Has the kernel tell the containers of a network when their bridge's address changes. Where
    /// that cannot be had, as without rights, things stay as Podman left them.
    pub(crate) async fn announce_bridge(&self, network: &Network) {
        let name = match network {
            Network::Bridge => DEFAULT,
            Network::Named(name) => name,
            Network::None | Network::Host => return,
        };
        let path = format!("/networks/{}/json", encode(name));
        let interface = match self.client.get::<Found>(&path).await {
            Ok(found) => found.network_interface,
            Err(fault) => {
                tracing::debug!(network = name, "no bridge: {}", fault.message());
                return;
            }
        };
        let switch = Path::new("/proc/sys/net/ipv4/conf")
            .join(&interface)
            .join("arp_notify");
        if let Err(error) = std::fs::write(&switch, "1") {
            tracing::debug!(path = %switch.display(), "not announced: {error}");
        }
    }
}
