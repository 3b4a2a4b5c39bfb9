//! The addresses that no container has at the moment.
//!
//! What is sent to one, by a shim whose container has just ended say, would go where the machine
//! sends everything that it does not know, and somebody there may answer. A route for the whole range
//! keeps it here: it is told at once that there is nobody. The containers' own routes come before it.

use std::io;
use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteMessage, RouteType};

use super::link::request;
use super::namespace::on_thread;
use super::netlink::{Netlink, os_error};
use super::subnet::Subnet;

/// The place among the routes for the same range: behind all others. It also tells ours from theirs.
const LAST: u32 = u32::MAX;

/// Makes the route. There already: success. Another route for the same range, of whomever, stays and
/// comes before it. Errors: as the system has them.
pub(crate) async fn hold(subnet: &Subnet) -> io::Result<()> {
    let made = RouteNetlinkMessage::NewRoute(route(subnet));
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let made = request("keep the containers' addresses here", made, flags);
    on_thread(move || match Netlink::route()?.change(&[made]) {
        Err(error) if os_error(&error) == Some(libc::EEXIST) => Ok(()),
        made => made,
    })
    .await
}

/// Removes it, and no other one. Absent is success. Errors: as the system has them.
pub(crate) async fn release(subnet: &Subnet) -> io::Result<()> {
    let removed = RouteNetlinkMessage::DelRoute(route(subnet));
    let removed = request("let go of the containers' addresses", removed, 0);
    on_thread(move || match Netlink::route()?.change(&[removed]) {
        Err(error) if os_error(&error) == Some(libc::ESRCH) => Ok(()),
        removed => removed,
    })
    .await
}

fn route(subnet: &Subnet) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(subnet.address, subnet.prefix)
        .kind(RouteType::Unreachable)
        .priority(LAST)
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::network::link::{Lease, attach};
    use crate::network::sample::{Sandbox, on_a_host, wait_for};

    #[test]
    fn what_no_container_has_leads_nowhere() {
        on_a_host(|| {
            let subnet = Subnet {
                address: Ipv4Addr::new(10, 9, 0, 0),
                prefix: 20,
            };
            let (world, container) = (Sandbox::new(), Sandbox::new());
            let link = |link: &str, address, gateway| Lease {
                link: link.into(),
                address,
                gateway,
            };
            let out = link(
                "world",
                Ipv4Addr::new(192, 0, 2, 2),
                Ipv4Addr::new(192, 0, 2, 1),
            );
            wait_for(attach(world.tid, &out)).unwrap();
            let address = Ipv4Addr::new(10, 9, 0, 2);
            wait_for(attach(
                container.tid,
                &link("sf2", address, subnet.gateway()),
            ))
            .unwrap();
            // Like a default route.
            let index = Netlink::route().unwrap().index("world").unwrap();
            let everywhere = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(Ipv4Addr::new(10, 0, 0, 0), 8)
                .output_interface(index)
                .build();
            let everywhere = request(
                "make a route",
                RouteNetlinkMessage::NewRoute(everywhere),
                libc::NLM_F_CREATE,
            );
            Netlink::route().unwrap().change(&[everywhere]).unwrap();
            let connect = |last| {
                let to = (Ipv4Addr::new(10, 9, 0, last), 9).into();
                std::net::TcpStream::connect_timeout(&to, Duration::from_millis(300))
                    .unwrap_err()
                    .kind()
            };
            assert_eq!(connect(3), io::ErrorKind::TimedOut);
            for _ in 0..2 {
                wait_for(hold(&subnet)).unwrap();
                assert_eq!(connect(3), io::ErrorKind::HostUnreachable);
                // It is there, and has no such port.
                assert_eq!(connect(2), io::ErrorKind::ConnectionRefused);
            }
            for _ in 0..2 {
                wait_for(release(&subnet)).unwrap();
                assert_eq!(connect(3), io::ErrorKind::TimedOut);
            }
        });
    }

    #[test]
    fn a_route_of_somebody_else_for_the_same_range_is_left_alone() {
        on_a_host(|| {
            let subnet = Subnet {
                address: Ipv4Addr::new(10, 9, 0, 0),
                prefix: 20,
            };
            let theirs = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(subnet.address, subnet.prefix)
                .kind(RouteType::Prohibit)
                .build();
            let theirs = request(
                "make a route",
                RouteNetlinkMessage::NewRoute(theirs),
                libc::NLM_F_CREATE,
            );
            let connect = || {
                let to = (Ipv4Addr::new(10, 9, 0, 3), 9).into();
                let limit = Duration::from_millis(300);
                let error = std::net::TcpStream::connect_timeout(&to, limit).unwrap_err();
                error.raw_os_error()
            };
            wait_for(hold(&subnet)).unwrap();
            assert_eq!(connect(), Some(libc::EHOSTUNREACH));
            Netlink::route().unwrap().change(&[theirs]).unwrap();
            // What the kernel says where it may not send there.
            assert_eq!(connect(), Some(libc::EACCES));
            wait_for(release(&subnet)).unwrap();
            assert_eq!(connect(), Some(libc::EACCES));
            for _ in 0..2 {
                wait_for(hold(&subnet)).unwrap();
                assert_eq!(connect(), Some(libc::EACCES));
            }
            for _ in 0..2 {
                wait_for(release(&subnet)).unwrap();
                assert_eq!(connect(), Some(libc::EACCES));
            }
        });
    }
}
