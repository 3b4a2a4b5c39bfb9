//! The pair of links between the host and a container.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use rtnetlink::packet_core::NetlinkSerializable;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{
    AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::namespace::{Namespace, on_thread};
use super::netlink::{Netlink, Request, flag, number, os_error};

/// The container's end.
const INSIDE: &str = "eth0";
/// The number of the loopback link: the first of every namespace.
const LOOPBACK: u32 = 1;
/// Bits of an address.
const WHOLE: u8 = 32;
/// How long the host's end may take to come up, and between two looks at it.
const UP_LIMIT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

/// What a container's link is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The name of the host's end, at most 15 bytes, of this container alone.
    pub(crate) link: String,
    /// The container's address.
    pub(crate) address: Ipv4Addr,
    /// The host's address, as the container sees it; the same for all containers of a subnet.
    pub(crate) gateway: Ipv4Addr,
}

/// Gives the network namespace of the process `init` its link: `eth0` with [`Lease::address`] and a
/// way to everywhere over [`Lease::gateway`], and loopback. On the host, the other end has the
/// gateway's address and the route to the container's. An earlier route to that address is replaced:
/// the link of a container that has just ended may still be there.
///
/// After an error there is no link; `init` may have loopback up. If `init` ends, the links vanish by
/// themselves. Errors: as the system has them; `NotFound` where there is no such process,
/// `InvalidInput` for one in this network namespace, `AlreadyExists` where the host has a link of
/// that name.
pub(crate) async fn attach(init: u32, lease: &Lease) -> io::Result<()> {
    let lease = lease.clone();
    on_thread(move || attach_blocking(init, &lease)).await
}

/// Removes the host's end of a link and with it the other one. Absent is success.
pub(crate) async fn detach(link: &str) -> io::Result<()> {
    let link = link.to_owned();
    on_thread(move || remove(&mut Netlink::route()?, &link)).await
}

fn attach_blocking(init: u32, lease: &Lease) -> io::Result<()> {
    let namespace = Namespace::of(init)?;
    if namespace.is(&Namespace::own()?)? {
        let reason = format!("process {init} is in the host's network namespace");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut host = Netlink::route()?;
    host.change(&[pair(lease, &namespace)])?;
    let done = set_host_up(&mut host, lease).and_then(|index| {
        namespace.run(|| set_container_up(lease))?;
        wait_until_up(&mut host, index)
    });
    if done.is_err()
        && let Err(error) = remove(&mut host, &lease.link)
    {
        // It goes with the namespace anyhow.
        tracing::warn!(link = lease.link, %error, "a link was not removed");
    }
    done
}

/// The number of the host's end.
fn set_host_up(host: &mut Netlink, lease: &Lease) -> io::Result<u32> {
    let index = host.index(&lease.link)?;
    let to_container = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(lease.address, WHOLE)
        .output_interface(index)
        .scope(RouteScope::Link)
        .pref_source(lease.gateway)
        .build();
    host.change(&[
        address(lease.gateway, index),
        route(to_container, libc::NLM_F_REPLACE),
    ])?;
    Ok(index)
}

/// Waits until the host's end passes packets on. It came up before the other one, and the kernel goes
/// on with it in a worker of its own (net/core/link_watch.c), or, since Linux 6.8, when somebody asks for
/// the link. What is sent before is dropped, and a connection tries again after a whole second.
///
/// One that does not come up in time will later.
fn wait_until_up(host: &mut Netlink, index: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).build();
    let link = Request {
        flags: 0,
        ..request("look at a link", RouteNetlinkMessage::GetLink(message), 0)
    };
    let begun = Instant::now();
    while begun.elapsed() < UP_LIMIT {
        let answer = host.get(&link)?;
        // In `struct ifinfomsg` (rtnetlink(7)).
        let flags = answer.body().get(8..).filter(|rest| rest.len() >= 4);
        if flags.is_some_and(|flags| number(flags, 0) & libc::IFF_RUNNING as u32 != 0) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// In the container's namespace.
fn set_container_up(lease: &Lease) -> io::Result<()> {
    let mut inside = Netlink::route()?;
    let index = inside.index(INSIDE)?;
    let to_host = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(lease.gateway, WHOLE)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build();
    let to_everywhere = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(lease.gateway)
        .output_interface(index)
        .onlink()
        .build();
    inside.change(&[
        up(LOOPBACK),
        up(index),
        address(lease.address, index),
        route(to_host, libc::NLM_F_EXCL),
        route(to_everywhere, libc::NLM_F_EXCL),
    ])
}

fn remove(host: &mut Netlink, link: &str) -> io::Result<()> {
    let message = LinkUnspec::new_with_name(link).build();
    let request = request("remove a link", RouteNetlinkMessage::DelLink(message), 0);
    match host.change(&[request]) {
        Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(()),
        removed => removed,
    }
}

/// The host's end is up at once; the other one could not be before they are a pair.
fn pair(lease: &Lease, namespace: &Namespace) -> Request {
    let inside = LinkUnspec::new_with_name(INSIDE)
        .setns_by_fd(namespace.as_fd().as_raw_fd())
        .build();
    let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(lease.link.clone())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .up()
        .build();
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(
        "make a pair of links",
        RouteNetlinkMessage::NewLink(message),
        flags,
    )
}

fn up(index: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).up().build();
    request("set a link up", RouteNetlinkMessage::SetLink(message), 0)
}

fn address(address: Ipv4Addr, index: u32) -> Request {
    let message = AddressMessageBuilder::<Ipv4Addr>::new()
        .index(index)
        .address(address, WHOLE)
        .build();
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(
        "give a link its address",
        RouteNetlinkMessage::NewAddress(message),
        flags,
    )
}

fn route(message: RouteMessage, if_there_is_one: i32) -> Request {
    let flags = libc::NLM_F_CREATE | if_there_is_one;
    request(
        "make a route",
        RouteNetlinkMessage::NewRoute(message),
        flags,
    )
}

/// A request that is confirmed.
pub(super) fn request(what: &'static str, message: RouteNetlinkMessage, flags: i32) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    Request {
        what,
        kind: message.message_type(),
        flags: flag(flags | libc::NLM_F_ACK),
        body,
    }
}

#[cfg(test)]
mod tests;
