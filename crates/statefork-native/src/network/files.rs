//! The files by which a container's programs find names: `/etc/resolv.conf` and `/etc/hosts`.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The line of `resolv.conf` that names a server (resolv.conf(5)).
const NAMESERVER: &str = "nameserver";

/// A container's `/etc/resolv.conf`, made of the host's: without the servers at loopback addresses,
/// which are another machine's in the container. Where no server is left, `upstream` is taken, the
/// file in which the host's own server (systemd-resolved:
/// `/run/systemd/resolve/resolv.conf`) names those that it asks; where that has none either, the
/// host's file as it is.
pub(crate) fn resolv_conf(host: &str, upstream: Option<&str>) -> String {
    let usable = [Some(host), upstream].into_iter().flatten();
    let mut usable = usable.map(without_loopback);
    let found = usable.find(|file| file.lines().any(|line| server(line).is_some()));
    found.unwrap_or_else(|| host.to_owned())
}

/// The name of the table with a storage's rules.
pub(crate) fn table(storage: &Path) -> String {
    let digest = Sha256::digest(storage.as_os_str().as_bytes());
    let beginning: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("statefork_{beginning}")
}

/// A container's `/etc/hosts`; `address` is its own, if it has one besides loopback.
pub(crate) fn hosts(hostname: &str, address: Option<Ipv4Addr>) -> String {
    let own = address.unwrap_or(Ipv4Addr::LOCALHOST);
    format!(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         {own}\t{hostname}\n"
    )
}

fn without_loopback(file: &str) -> String {
    let is_usable = |line: &&str| server(line).is_none_or(|server| !is_local(server));
    let lines = file.lines().filter(is_usable);
    lines.map(|line| format!("{line}\n")).collect()
}

/// The server that a line names.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next().filter(|first| *first == NAMESERVER)?;
    words.next()
}

/// Whether an address means the machine that asks.
fn is_local(server: &str) -> bool {
    // An address may name the link that it is on.
    let address = server
        .split_once('%')
        .map_or(server, |(address, _)| address);
    match address.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback());
            address.is_loopback() || address.is_unspecified() || mapped
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_left_out() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 9.9.9.9\n\
                    nameserver ::1\nsearch example.org\noptions edns0";
        let expected = "# made by hand\nnameserver 9.9.9.9\nsearch example.org\noptions edns0\n";
        assert_eq!(resolv_conf(host, Some("nameserver 1.1.1.1\n")), expected);
    }

    #[test]
    fn where_none_is_left_the_upstream_ones_are_taken_or_all_is_as_it_is() {
        let stub = "nameserver 127.0.0.53\nsearch a\n";
        let upstream = "nameserver 10.0.0.2\nnameserver 127.0.0.1\nsearch b\n";
        assert_eq!(
            resolv_conf(stub, Some(upstream)),
            "nameserver 10.0.0.2\nsearch b\n"
        );
        assert_eq!(resolv_conf(stub, Some("nameserver 127.0.0.1\n")), stub);
        assert_eq!(resolv_conf(stub, None), stub);
        assert_eq!(resolv_conf("", None), "");
    }

    #[test]
    fn a_container_knows_its_own_name() {
        let with = hosts("app", Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert!(with.contains("\n10.1.2.3\tapp\n"), "{with}");
        let without = hosts("app", None);
        assert!(without.contains("\n127.0.0.1\tapp\n"), "{without}");
        assert!(without.starts_with("127.0.0.1\tlocalhost\n"), "{without}");
    }
}
