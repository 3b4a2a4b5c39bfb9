//! Requests to the kernel by netlink (netlink(7)), of which several go in one message.

use std::fmt;
use std::io;
use std::time::Duration;

use rtnetlink::sys::{Socket, protocols};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers at once; this only bounds what would be a mistake of ours.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often a list is asked for that changes while it is read.
const ATTEMPTS: u32 = 10;
/// Bytes of a header: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Messages and attributes begin at multiples of this.
pub(super) const ALIGNMENT: usize = 4;

/// A request that changes something, or asks for a list.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// What it does, a fragment that reads after "failed to".
    pub(super) what: &'static str,
    /// Its type.
    pub(super) kind: u16,
    /// What is set besides `NLM_F_REQUEST`.
    pub(super) flags: u16,
    /// All behind the header.
    pub(super) body: Vec<u8>,
}

/// A message of an answer.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its type.
    pub(super) kind: u16,
    /// With the header.
    pub(super) bytes: Vec<u8>,
}

impl Message {
    /// All behind the header.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }
}

/// Which request failed; the source says why.
#[derive(Debug)]
struct Failed {
    what: &'static str,
    source: io::Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The error of the system that is in an error of [`Netlink::change`] or [`Netlink::list`].
pub(super) fn os_error(error: &io::Error) -> Option<i32> {
    let failed = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Failed>());
    failed.map_or(error.raw_os_error(), |failed| failed.source.raw_os_error())
}

/// A connection to a part of the kernel, in the network namespace in which it was opened.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// To what sets links, addresses and routes up.
    pub(super) fn route() -> io::Result<Self> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    /// To the packet filter.
    pub(super) fn filter() -> io::Result<Self> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_LIMIT))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The number of a link, by its name. Errors: as the system has them, for example `ENODEV`.
    pub(super) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Makes changes, in order, and waits until the kernel has confirmed those with `NLM_F_ACK`.
    /// After the first that fails, those behind it may or may not have been made.
    pub(super) fn change(&mut self, requests: &[Request]) -> io::Result<()> {
        let acknowledged = |request: &&Request| request.flags & flag(libc::NLM_F_ACK) != 0;
        let mut waiting = requests.iter().filter(acknowledged).count();
        let first = self.send(requests)?;
        while waiting > 0 {
            for message in self.receive()? {
                let at = message.sequence().wrapping_sub(first) as usize;
                // Of an earlier request.
                let Some(request) = requests.get(at) else {
                    continue;
                };
                if let Some(answer) = message.answer() {
                    answer.map_err(|source| failed(request.what, source))?;
                    waiting = waiting.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Asks for one thing.
    pub(super) fn get(&mut self, request: &Request) -> io::Result<Message> {
        let first = self.send(std::slice::from_ref(request))?;
        loop {
            for message in self.receive()? {
                if message.sequence() != first {
                    continue;
                }
                match message.answer() {
                    Some(answer) => answer.map_err(|source| failed(request.what, source))?,
                    None => return Ok(message),
                }
            }
        }
    }

    /// Asks for a list.
    pub(super) fn list(&mut self, request: &Request) -> io::Result<Vec<Message>> {
        for _ in 0..ATTEMPTS {
            let list = self.list_once(request);
            match list.map_err(|source| failed(request.what, source))? {
                Some(list) => return Ok(list),
                None => continue,
            }
        }
        Err(failed(request.what, io::ErrorKind::ResourceBusy.into()))
    }

    /// `None` if the list changed while it was read.
    fn list_once(&mut self, request: &Request) -> io::Result<Option<Vec<Message>>> {
        let request = Request {
            flags: request.flags | flag(libc::NLM_F_DUMP),
            ..request.clone()
        };
        let first = self.send(std::slice::from_ref(&request))?;
        let (mut list, mut is_whole) = (Vec::new(), true);
        loop {
            for message in self.receive()? {
                if message.sequence() != first {
                    continue;
                }
                is_whole &= message.flags() & flag(libc::NLM_F_DUMP_INTR) == 0;
                match message.answer() {
                    Some(answer) => answer?,
                    None if message.kind == libc::NLMSG_DONE as u16 => {
                        return Ok(is_whole.then_some(list));
                    }
                    None => list.push(message),
                }
            }
        }
    }

    /// Sends requests as one message; the sequence number of the first.
    fn send(&mut self, requests: &[Request]) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = (HEADER + request.body.len()) as u32;
            bytes.extend(length.to_ne_bytes());
            bytes.extend(request.kind.to_ne_bytes());
            bytes.extend((request.flags | flag(libc::NLM_F_REQUEST)).to_ne_bytes());
            bytes.extend(self.sequence.to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            bytes.extend(&request.body);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        }
        self.socket.send(&bytes, 0)?;
        Ok(first)
    }

    fn receive(&mut self) -> io::Result<Vec<Message>> {
        let (bytes, _) = match self.socket.recv_from_full() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            received => received?,
        };
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while rest.len() >= HEADER {
            let length = number(rest, 0) as usize;
            if length < HEADER || length > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            messages.push(Message {
                kind: u16::from_ne_bytes([rest[4], rest[5]]),
                bytes: rest[..length].to_vec(),
            });
            rest = &rest[length.next_multiple_of(ALIGNMENT).min(rest.len())..];
        }
        Ok(messages)
    }
}

impl Message {
    fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]])
    }

    fn sequence(&self) -> u32 {
        number(&self.bytes, 8)
    }

    /// What became of a request, if that is what the message says.
    fn answer(&self) -> Option<io::Result<()>> {
        if self.kind != libc::NLMSG_ERROR as u16 || self.bytes.len() < HEADER + 4 {
            return None;
        }
        Some(match number(&self.bytes, HEADER) as i32 {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        })
    }
}

fn failed(what: &'static str, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), Failed { what, source })
}

/// A flag of a header, whose type differs from that of the constants.
pub(super) fn flag(flag: i32) -> u16 {
    flag as u16
}

/// The number in the machine's order of bytes at `at`, where there are four bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    let [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    u32::from_ne_bytes([a, b, c, d])
}
