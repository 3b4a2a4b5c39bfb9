//! A port of a branch: an address of the host that leads to a port of its container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `[IP:]HOST:CONTAINER`, as container tools write it; TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address of the host to listen on.
    pub ip: IpAddr,
    /// Port of the host; 0 asks for any free one.
    pub host: u16,
    /// Port of the container, not 0.
    pub container: u16,
}

impl PortMapping {
    /// The address of the host.
    pub fn host_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.host)
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host_address(), self.container)
    }
}

/// Why a text is no port mapping. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read port {text:?}: {reason}")]
pub struct PortParseError {
    text: String,
    reason: PortParseReason,
}

impl PortParseError {
    /// What is wrong with it.
    pub fn reason(&self) -> PortParseReason {
        self.reason
    }
}

/// What is wrong with a port mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortParseReason {
    /// A part that should be a number is none.
    #[error("not a number from 0 to 65535 for the host and 1 to 65535 for the container")]
    Number,
    /// The address cannot be read.
    #[error("not an IP address before the ports (an IPv6 one goes in brackets)")]
    Address,
    /// A range of host ports that is none.
    #[error("not a range FIRST-LAST of host ports from 1 to 65535")]
    Range,
    /// UDP or SCTP was asked for.
    #[error("only TCP ports can be published")]
    Protocol,
}

impl FromStr for PortMapping {
    type Err = PortParseError;

    /// Reads `CONTAINER`, `HOST:CONTAINER` or `IP:HOST:CONTAINER`, each with an optional `/tcp`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| PortParseError {
            text: text.to_owned(),
            reason,
        };
        let ports = match text.rsplit_once('/') {
            Some((ports, "tcp")) => ports,
            Some(_) => return Err(fail(PortParseReason::Protocol)),
            None => text,
        };
        let number = |part: &str| {
            part.parse::<u16>()
                .map_err(|_| fail(PortParseReason::Number))
        };
        let (rest, container) = match ports.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), number(container)?),
            None => (None, number(ports)?),
        };
        if container == 0 {
            return Err(fail(PortParseReason::Number));
        }
        let (ip, host) = match rest {
            None => (None, 0),
            Some(rest) => match rest.rsplit_once(':') {
                None => (None, number(rest)?),
                Some((ip, host)) => (Some(ip), number(host)?),
            },
        };
        let ip = match ip {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(ip) => ip
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .map_err(|_| fail(PortParseReason::Address))?,
        };
        Ok(Self {
            ip,
            host,
            container,
        })
    }
}

/// `[IP:]FIRST-LAST:CONTAINER`: ports of the host of which one leads to a port of a container. What
/// reads as a [`PortMapping`] is the range of that port alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: PortMapping,
    last: u16,
}

impl PortRange {
    /// Any free port of an address of the host.
    pub fn any(ip: IpAddr, container: u16) -> Self {
        Self {
            first: PortMapping {
                ip,
                host: 0,
                container,
            },
            last: 0,
        }
    }

    /// Its first one; host port 0 alone asks for any free one.
    pub fn first(&self) -> PortMapping {
        self.first
    }

    /// The one after `mapping`, which is one of it, if there is one.
    pub fn after(&self, mapping: PortMapping) -> Option<PortMapping> {
        (mapping.host < self.last).then(|| PortMapping {
            host: mapping.host + 1,
            ..mapping
        })
    }

    /// Whether it is one port by number, which only one branch can have.
    pub fn is_one(&self) -> bool {
        self.first.host != 0 && self.first.host == self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first.host == self.last {
            true => self.first.fmt(f),
            false => write!(
                f,
                "{}-{}:{}",
                self.first.host_address(),
                self.last,
                self.first.container
            ),
        }
    }
}

impl FromStr for PortRange {
    type Err = PortParseError;

    /// Reads what a [`PortMapping`] reads, and `[IP:]FIRST-LAST:CONTAINER`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| PortParseError {
            text: text.to_owned(),
            reason,
        };
        let Some((before, after)) = text.split_once('-') else {
            let first: PortMapping = text.parse()?;
            return Ok(Self {
                first,
                last: first.host,
            });
        };
        let no_range = || fail(PortParseReason::Range);
        let (last, container) = after.split_once(':').ok_or_else(no_range)?;
        let first = format!("{before}:{container}").parse::<PortMapping>();
        let first = first.map_err(|error| fail(error.reason))?;
        let last = last.parse().map_err(|_| no_range())?;
        match first.host != 0 && first.host <= last {
            true => Ok(Self { first, last }),
            false => Err(no_range()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<PortRange, PortParseReason> {
        text.parse().map_err(|error: PortParseError| error.reason())
    }

    #[test]
    fn a_range_is_gone_through_to_its_end() {
        let asked = range("0.0.0.0:9000-9002:8000").unwrap();
        assert_eq!(asked.to_string(), "0.0.0.0:9000-9002:8000");
        let ports = std::iter::successors(Some(asked.first()), |port| asked.after(*port));
        assert_eq!(
            ports.map(|port| port.host).collect::<Vec<_>>(),
            [9000, 9001, 9002]
        );
        let one = range("9000:8000").unwrap();
        assert!(one.is_one() && one.after(one.first()).is_none());
        let any = range("8000").unwrap();
        assert!(!any.is_one() && any.after(any.first()).is_none());
        assert_eq!(any, PortRange::any(Ipv4Addr::LOCALHOST.into(), 8000));
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, reason) in [
            ("9002-9000:8000", PortParseReason::Range),
            ("0-9:8000", PortParseReason::Range),
            ("9000-70000:8000", PortParseReason::Range),
            ("9000-9002", PortParseReason::Range),
            ("9000-9002:0", PortParseReason::Number),
            ("9000-9002:53/udp", PortParseReason::Protocol),
            ("host:9000-9002:80", PortParseReason::Address),
        ] {
            assert_eq!(range(text), Err(reason), "{text}");
        }
    }

    fn shown(text: &str) -> Result<String, PortParseReason> {
        text.parse::<PortMapping>()
            .map(|port| port.to_string())
            .map_err(|error| error.reason())
    }

    #[test]
    fn every_form_reads() {
        assert_eq!(shown("8000").unwrap(), "127.0.0.1:0:8000");
        assert_eq!(shown("8080:8000/tcp").unwrap(), "127.0.0.1:8080:8000");
        assert_eq!(shown("0.0.0.0:0:80").unwrap(), "0.0.0.0:0:80");
        assert_eq!(shown("[::1]:81:80").unwrap(), "[::1]:81:80");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("", PortParseReason::Number),
            ("80:", PortParseReason::Number),
            ("80:0", PortParseReason::Number),
            ("70000", PortParseReason::Number),
            ("host:80:80", PortParseReason::Address),
            ("53:53/udp", PortParseReason::Protocol),
        ] {
            assert_eq!(shown(text), Err(reason), "{text}");
        }
    }
}
