//! Links of containers, in network namespaces of their own.

use std::net::{IpAddr, TcpListener};

use super::*;
use crate::network::sample::{Sandbox, connect, eventually, on_a_host, passes, wait_for};
use crate::network::subnet::{Subnet, free_subnet};

fn lease(number: u8) -> Lease {
    Lease {
        link: format!("sf{number:012x}"),
        address: Ipv4Addr::new(10, 9, 0, number),
        gateway: Ipv4Addr::new(10, 9, 0, 1),
    }
}

fn has_link(name: &str) -> bool {
    Netlink::route().unwrap().index(name).is_ok()
}

/// Whether host and container reach each other.
fn check(container: &Sandbox, lease: &Lease) {
    let inside = container.run(|| TcpListener::bind((lease.address, 0)).unwrap());
    assert_eq!(passes(&inside, connect).unwrap(), IpAddr::V4(lease.gateway));
    let outside = TcpListener::bind((lease.gateway, 0)).unwrap();
    let from_inside = |to| container.run(|| connect(to));
    assert_eq!(
        passes(&outside, from_inside).unwrap(),
        IpAddr::V4(lease.address)
    );
}

#[test]
fn host_and_container_reach_each_other() {
    on_a_host(|| {
        let container = Sandbox::new();
        let lease = lease(2);
        wait_for(attach(container.tid, &lease)).unwrap();
        check(&container, &lease);
        // Loopback too.
        let local = container.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
        passes(&local, |to| container.run(|| connect(to))).unwrap();
        // A second one of that name is refused, and the first one stays.
        let other = Sandbox::new();
        let error = wait_for(attach(other.tid, &lease)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        check(&container, &lease);
        wait_for(detach(&lease.link)).unwrap();
        assert!(!has_link(&lease.link));
        wait_for(detach(&lease.link)).unwrap();
    });
}

#[test]
fn containers_do_not_disturb_each_other() {
    on_a_host(|| {
        let containers: Vec<_> = (2..6)
            .map(|number| (Sandbox::new(), lease(number)))
            .collect();
        for (container, lease) in &containers {
            wait_for(attach(container.tid, lease)).unwrap();
        }
        for (container, lease) in &containers {
            check(container, lease);
        }
        // One that ends takes its link along, and not the gateway's address.
        let mut containers = containers.into_iter();
        let (mut gone, its) = containers.next().unwrap();
        gone.end();
        assert!(eventually(|| !has_link(&its.link)));
        let (removed, its) = containers.next().unwrap();
        wait_for(detach(&its.link)).unwrap();
        for (container, lease) in containers {
            check(&container, &lease);
        }
        // An address goes over to the next container.
        let next = Lease {
            link: "sfnext".into(),
            ..its
        };
        let container = Sandbox::new();
        wait_for(attach(container.tid, &next)).unwrap();
        check(&container, &next);
        let after = Lease {
            link: "sfafter".into(),
            ..next
        };
        let container = Sandbox::new();
        wait_for(attach(container.tid, &after)).unwrap();
        check(&container, &after);
        drop(removed);
    });
}

#[test]
fn the_first_packet_is_not_lost_however_many_come_up_at_once() {
    // One that is lost is sent again after a second.
    const LOST: Duration = Duration::from_millis(900);
    let connecting = |number| {
        let (container, lease) = (Sandbox::new(), lease(number));
        let inside = container.run(|| TcpListener::bind(("0.0.0.0", 0)).unwrap());
        let port = inside.local_addr().unwrap().port();
        wait_for(attach(container.tid, &lease)).unwrap();
        let begun = Instant::now();
        connect((lease.address, port).into()).unwrap();
        begun.elapsed()
    };
    on_a_host(move || {
        for round in 0..16 {
            let took = std::thread::scope(|scope| {
                let numbers = (0..8).map(|number| 2 + 8 * round + number);
                let threads: Vec<_> = numbers
                    .map(|number| scope.spawn(move || connecting(number)))
                    .collect();
                let took = threads.into_iter().map(|thread| thread.join().unwrap());
                took.collect::<Vec<_>>()
            });
            assert!(took.iter().all(|took| *took < LOST), "{took:?}");
        }
    });
}

#[test]
fn what_cannot_be_attached_leaves_no_link() {
    on_a_host(|| {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let error = wait_for(attach(own.try_into().unwrap(), &lease(2))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = wait_for(attach(u32::MAX, &lease(2))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // The container has an `eth0`.
        let container = Sandbox::new();
        wait_for(attach(container.tid, &lease(2))).unwrap();
        let error = wait_for(attach(container.tid, &lease(3))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        // The host's end cannot have such an address.
        let bad = Lease {
            gateway: Ipv4Addr::new(255, 255, 255, 255),
            ..lease(4)
        };
        let other = Sandbox::new();
        wait_for(attach(other.tid, &bad)).unwrap_err();
        assert!(!has_link(&lease(3).link) && !has_link(&lease(4).link));
    });
}

#[test]
fn a_free_subnet_is_not_one_of_a_link() {
    on_a_host(|| {
        let container = Sandbox::new();
        wait_for(attach(container.tid, &lease(2))).unwrap();
        let taken = (0..9).chain(10..=255).map(|second| Subnet {
            address: Ipv4Addr::new(10, second, 0, 0),
            prefix: 16,
        });
        let taken: Vec<_> = taken.collect();
        for _ in 0..20 {
            let free = wait_for(free_subnet(&taken)).unwrap();
            assert_eq!(free.address.octets()[..2], [10, 9]);
            let own = Subnet::around(lease(2).address, 32);
            assert!(!free.overlaps(&own), "{free}");
        }
    });
}
