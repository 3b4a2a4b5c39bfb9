//! The network of containers, by netlink alone.
//!
//! A container has a pair of virtual Ethernet links: `eth0` in its own network namespace, and one
//! end on the host, with a route of its own. There is no bridge: the host routes between them, and
//! into the outside world where [`enable_outbound`] has it translate addresses.
//!
//! Links vanish with the container's namespace, that is with its last process. The rules of
//! [`enable_outbound`] stay until [`disable_outbound`], the route of [`hold`] until [`release`].
//!
//! Everything here works in the network namespace of the thread that polls the future.

mod files;
mod hold;
mod link;
mod namespace;
mod netlink;
mod nft;
mod outbound;
mod subnet;

#[cfg(test)]
pub(crate) mod sample;

pub(crate) use self::files::{hosts, resolv_conf, table};
pub(crate) use self::hold::{hold, release};
pub(crate) use self::link::{Lease, attach, detach};
pub(crate) use self::outbound::{disable_outbound, enable_outbound};
pub(crate) use self::subnet::{Subnet, free_subnet};
