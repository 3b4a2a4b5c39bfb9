//! The way out and the way back, between three network namespaces: container, host, world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::network::link::{Lease, attach};
use crate::network::sample::{Sandbox, connect, on_a_host, passes, wait_for};

const TABLE: &str = "statefork_test";
const SUBNET: Subnet = Subnet {
    address: Ipv4Addr::new(10, 9, 0, 0),
    prefix: 20,
};
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A namespace with a link to this one.
fn linked(link: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Sandbox {
    let sandbox = Sandbox::new();
    let lease = Lease {
        link: link.into(),
        address,
        gateway,
    };
    wait_for(attach(sandbox.tid, &lease)).unwrap();
    sandbox
}

fn container(number: u8) -> (Sandbox, Ipv4Addr) {
    let address = Ipv4Addr::new(10, 9, 1, number);
    (
        linked(&format!("sf{number}"), address, SUBNET.gateway()),
        address,
    )
}

fn listener(of: &Sandbox, address: Ipv4Addr) -> TcpListener {
    of.run(|| TcpListener::bind((address, 0)).unwrap())
}

fn rules(table: &str) -> Vec<Rule> {
    nft::rules(&mut nft::open().unwrap(), table).unwrap()
}

/// What dockerd does to the chain of iptables.
fn drop_what_is_forwarded() {
    let chain = Chain {
        name: THEIR_CHAIN,
        kind: "filter",
        hook: libc::NF_INET_FORWARD,
        priority: libc::NF_IP_PRI_FILTER,
        policy: Verdict::Drop,
    };
    let elsewhere = Subnet {
        address: Ipv4Addr::new(172, 17, 0, 0),
        prefix: 16,
    };
    let steps = Steps::new()
        .within(End::Source, &elsewhere)
        .verdict(Verdict::Accept);
    let batch = Batch::new()
        .add_table(THEIR_TABLE)
        .add_chain(THEIR_TABLE, &chain)
        .append(THEIR_TABLE, THEIR_CHAIN, &steps, "of somebody else");
    batch.commit(&mut nft::open().unwrap()).unwrap();
}

fn fails_soon(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_millis(300))
}

#[test]
fn containers_reach_the_world_and_each_other_and_nobody_reaches_them() {
    on_a_host(|| {
        let world = linked("world", WORLD, HOST);
        let (first, _) = container(2);
        let (second, second_address) = container(3);
        let server = listener(&world, WORLD);
        let neighbour = listener(&second, second_address);
        wait_for(enable_outbound(TABLE, &SUBNET)).unwrap();
        for _ in 0..2 {
            // The world sees the host's address.
            let seen = passes(&server, |to| first.run(|| connect(to))).unwrap();
            assert_eq!(seen, IpAddr::V4(HOST));
            let seen = passes(&neighbour, |to| first.run(|| connect(to))).unwrap();
            assert_eq!(seen, IpAddr::V4(Ipv4Addr::new(10, 9, 1, 2)));
            let uninvited = passes(&neighbour, |to| world.run(|| fails_soon(to)));
            assert_eq!(uninvited.unwrap_err().kind(), io::ErrorKind::TimedOut);
            // From now on as beside dockerd.
            drop_what_is_forwarded();
            if rules(THEIR_TABLE).len() == 1 {
                let stopped = passes(&server, |to| first.run(|| fails_soon(to)));
                assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
            wait_for(enable_outbound(TABLE, &SUBNET)).unwrap();
        }
        wait_for(disable_outbound(TABLE)).unwrap();
        let stopped = passes(&server, |to| first.run(|| fails_soon(to)));
        assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn rules_are_made_once_and_removed_without_a_trace() {
    on_a_host(|| {
        let other_table = "statefork_test2";
        let other_subnet = Subnet {
            address: Ipv4Addr::new(10, 8, 0, 0),
            prefix: 20,
        };
        wait_for(disable_outbound(TABLE)).unwrap();
        wait_for(enable_outbound(TABLE, &SUBNET)).unwrap();
        let own = rules(TABLE);
        assert_eq!(own.len(), OWN_RULES);
        assert_eq!(
            own[0].comment.as_deref(),
            Some("statefork_test 10.9.0.0/20")
        );
        assert!(rules(THEIR_TABLE).is_empty());
        let forwarding = fs::read_to_string(FORWARDING).unwrap();
        assert_eq!(forwarding, "1\n");

        drop_what_is_forwarded();
        wait_for(enable_outbound(TABLE, &SUBNET)).unwrap();
        wait_for(enable_outbound(other_table, &other_subnet)).unwrap();
        let theirs = rules(THEIR_TABLE);
        let comments = || {
            let comment = |rule: Rule| rule.comment.unwrap_or_default();
            rules(THEIR_TABLE)
                .into_iter()
                .map(comment)
                .collect::<Vec<_>>()
        };
        let (first, second) = ("statefork_test 10.9.0.0/20", "statefork_test2 10.8.0.0/20");
        assert_eq!(
            comments(),
            [second, second, first, first, "of somebody else"]
        );
        // Nothing is made anew.
        wait_for(enable_outbound(TABLE, &SUBNET)).unwrap();
        assert_eq!((rules(TABLE), rules(THEIR_TABLE)), (own, theirs));
        // Another subnet takes the place of the first.
        wait_for(enable_outbound(TABLE, &other_subnet)).unwrap();
        let changed = "statefork_test 10.8.0.0/20";
        assert_eq!(
            comments(),
            [changed, changed, second, second, "of somebody else"]
        );
        assert_eq!(rules(TABLE).len(), OWN_RULES);

        wait_for(disable_outbound(TABLE)).unwrap();
        assert_eq!(comments(), [second, second, "of somebody else"]);
        assert!(rules(TABLE).is_empty());
        assert_eq!(rules(other_table).len(), OWN_RULES);
        wait_for(disable_outbound(other_table)).unwrap();
        wait_for(disable_outbound(other_table)).unwrap();
        assert_eq!(comments(), ["of somebody else"]);
        let mut netlink = nft::open().unwrap();
        assert!(!nft::has_chain(&mut netlink, TABLE, POSTROUTING).unwrap());
    });
}
