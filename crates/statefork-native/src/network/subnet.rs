//! The addresses of containers: a range of private ones that the machine does not use otherwise.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::request;
use super::namespace::on_thread;
use super::netlink::Netlink;

/// The length of the prefix of what [`free_subnet`] gives: 4093 containers.
const PREFIX: u8 = 20;
/// Where it looks, in this order: the private ranges (RFC 1918) that are large enough to choose
/// from.
const RANGES: [Subnet; 2] = [
    Subnet {
        address: Ipv4Addr::new(10, 0, 0, 0),
        prefix: 8,
    },
    Subnet {
        address: Ipv4Addr::new(172, 16, 0, 0),
        prefix: 12,
    },
];

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    /// The first address.
    pub(crate) address: Ipv4Addr,
    /// How many bits all addresses share, at most 32.
    pub(crate) prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NoSubnet;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoSubnet> {
        let (address, prefix) = text.split_once('/').ok_or(NoSubnet)?;
        let address = address.parse().map_err(|_| NoSubnet)?;
        let prefix = prefix.parse().map_err(|_| NoSubnet)?;
        match prefix {
            0..=32 => Ok(Self { address, prefix }),
            _ => Err(NoSubnet),
        }
    }
}

/// A text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a range of addresses")]
pub(crate) struct NoSubnet;

impl Subnet {
    /// The range with that prefix in which an address lies.
    pub(super) fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let subnet = Self { address, prefix };
        let address = Ipv4Addr::from(u32::from(address) & subnet.mask());
        Self { address, prefix }
    }

    /// The address that the host has in it: the first one that is not the range's own.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).saturating_add(1))
    }

    /// The addresses that containers may have: all but the first two and the last.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let first = u32::from(self.address);
        let last = first | !self.mask();
        (first.saturating_add(2)..last).map(Ipv4Addr::from)
    }

    /// The bits that all addresses share.
    pub(super) fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0)
    }

    /// Whether they have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let shared = self.mask() & other.mask();
        u32::from(self.address) & shared == u32::from(other.address) & shared
    }
}

/// A range with a prefix of 20 bits in 10.0.0.0/8 or else in 172.16.0.0/12, with which no address
/// and no route of this machine has an address in common, but for routes to everywhere, and none of
/// `taken`. It is another one each time, so that two who choose at once hardly choose the same;
/// nothing reserves it.
///
/// Errors: `AddrNotAvailable` where all are in use; as the system has them.
pub(crate) async fn free_subnet(taken: &[Subnet]) -> io::Result<Subnet> {
    let mut used = on_thread(used).await?;
    used.extend_from_slice(taken);
    choose(&used, rand::random()).ok_or_else(|| {
        let reason = "all private addresses are in use on this machine";
        io::Error::new(io::ErrorKind::AddrNotAvailable, reason)
    })
}

/// The first free range from the `start`th on, counted in a circle.
fn choose(used: &[Subnet], start: u32) -> Option<Subnet> {
    RANGES.into_iter().find_map(|range| {
        let count = 1_u32 << (PREFIX - range.prefix);
        let nth = |at: u32| {
            let offset = (start.wrapping_add(at) % count) << (32 - u32::from(PREFIX));
            let address = Ipv4Addr::from(u32::from(range.address) + offset);
            let prefix = PREFIX;
            Subnet { address, prefix }
        };
        let is_free = |subnet: &Subnet| !used.iter().any(|used| used.overlaps(subnet));
        (0..count).map(nth).find(is_free)
    })
}

/// What addresses and routes of this machine cover.
fn used() -> io::Result<Vec<Subnet>> {
    let mut netlink = Netlink::route()?;
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    let mut used = Vec::new();
    for asked in [
        request("list the routes", RouteNetlinkMessage::GetRoute(route), 0),
        request(
            "list the addresses",
            RouteNetlinkMessage::GetAddress(address),
            0,
        ),
    ] {
        for message in netlink.list(&asked)? {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&message.bytes);
            let message =
                message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let (_, payload) = message.into_parts();
            if let rtnetlink::packet_core::NetlinkPayload::InnerMessage(message) = payload {
                used.extend(covered(&message));
            }
        }
    }
    Ok(used)
}

/// What a route or an address covers; nothing for a route to everywhere.
fn covered(message: &RouteNetlinkMessage) -> Option<Subnet> {
    let (address, prefix) = match message {
        RouteNetlinkMessage::NewRoute(route) => {
            let to = |attribute: &RouteAttribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(*to),
                _ => None,
            };
            let to = route.attributes.iter().find_map(to)?;
            (to, route.header.destination_prefix_length)
        }
        RouteNetlinkMessage::NewAddress(address) => {
            let own = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Address(IpAddr::V4(own)) => Some(*own),
                _ => None,
            };
            let own = address.attributes.iter().find_map(own)?;
            (own, address.header.prefix_len)
        }
        _ => return None,
    };
    (prefix > 0).then(|| Subnet::around(address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').unwrap();
        Subnet {
            address: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        }
    }

    #[test]
    fn ranges_overlap_where_they_share_an_address() {
        for (a, b, expected) in [
            ("10.0.0.0/8", "10.3.16.0/20", true),
            ("10.3.16.0/20", "10.3.31.255/32", true),
            ("10.3.16.0/20", "10.3.32.0/20", false),
            ("0.0.0.0/0", "10.0.0.0/20", true),
            ("172.16.0.0/12", "10.0.0.0/8", false),
        ] {
            assert_eq!(subnet(a).overlaps(&subnet(b)), expected, "{a} {b}");
            assert_eq!(subnet(b).overlaps(&subnet(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_range_has_a_gateway_and_addresses() {
        let range = subnet("10.3.16.0/20");
        assert_eq!(range.gateway(), Ipv4Addr::new(10, 3, 16, 1));
        let all: Vec<_> = range.addresses().collect();
        assert_eq!(all.len(), 4093);
        assert_eq!(all[0], Ipv4Addr::new(10, 3, 16, 2));
        assert_eq!(all[4092], Ipv4Addr::new(10, 3, 31, 254));
        assert_eq!(Subnet::around(all[4092], 20), range);
        assert_eq!(range.to_string(), "10.3.16.0/20");
    }

    #[test]
    fn what_is_in_use_is_not_chosen() {
        let used = [
            subnet("10.0.0.0/9"),
            subnet("10.128.0.5/32"),
            subnet("10.128.16.0/24"),
        ];
        assert_eq!(choose(&used, 0), Some(subnet("10.128.32.0/20")));
        assert_eq!(choose(&used, 4095), Some(subnet("10.255.240.0/20")));
        assert_eq!(
            choose(&[subnet("10.0.0.0/8")], 256),
            Some(subnet("172.16.0.0/20"))
        );
        let all = [subnet("10.0.0.0/8"), subnet("172.16.0.0/12")];
        assert_eq!(choose(&all, 7), None);
    }
}
