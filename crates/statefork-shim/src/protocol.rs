//! What a command and a shim say to each other.
//!
//! Over the socket `sock` in the shim's directory, each side writes JSON documents, one per line,
//! UTF-8, at most [`MAX_LINE`] bytes with the newline. One socket connection is one *control
//! connection*; a shim serves several at once.
//!
//! # Handshake
//!
//! The command sends a [`Hello`], the shim answers with its own. These two documents and the
//! request `shutdown` with its reply `done` keep their form in every version of the protocol, so
//! that any command can end any shim. Equal versions go on; otherwise the shim accepts nothing but
//! `shutdown`, and a command that meets an older shim ends it and starts a new one.
//!
//! ```json
//! {"hello":4,"pid":4711,"build":"0.1.0"}
//! ```
//!
//! # Requests
//!
//! A command sends a [`Request`] within an [`Envelope`] with a number of its choice, and the shim
//! answers each in turn with a [`Reply`] under the same number.
//!
//! ```json
//! {"id":1,"request":"listen","ports":[{"ip":"127.0.0.1","host":0,"container":8000}]}
//! {"id":1,"reply":"bound","ports":[{"ip":"127.0.0.1","host":40123,"container":8000}]}
//! {"id":2,"request":"target","targets":[{"container":8000,"address":"172.17.0.2:8000"}]}
//! {"id":2,"reply":"done"}
//! ```
//!
//! Unknown keys are ignored by both sides; a new key is compatible, anything else raises
//! [`VERSION`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use statefork_runtime::PortMapping;

/// Version of this protocol.
pub const VERSION: u32 = 4;

/// Longest line in bytes, newline included.
pub const MAX_LINE: usize = 64 * 1024;

/// Most connections that wait for a target at one time; further ones wait in the backlog of the
/// listening socket.
pub const MAX_HELD: usize = 1024;

/// The first line of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version that the side speaks.
    pub hello: u32,
    /// Its process id.
    pub pid: u32,
    /// Version of its program, for people.
    pub build: String,
}

impl Hello {
    /// What this process says.
    pub fn ours() -> Self {
        Self {
            hello: VERSION,
            pid: std::process::id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A request or a reply with the number that ties them together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The number.
    pub id: u64,
    /// What is said.
    #[serde(flatten)]
    pub message: T,
}

/// Where connections for a container port go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Port of the container, as the mappings name it.
    pub container: u16,
    /// An address that this host reaches.
    pub address: SocketAddr,
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Listen on exactly these ports. Reply: `bound`, in the order of the request, each host port
    /// 0 replaced by the real one.
    ///
    /// A port that is bound already at the same address stays bound without a gap, also one that
    /// was asked for as 0 before and is again; those not named are closed, which leaves the
    /// connections that came through them alone. All or nothing: after an error the ports are
    /// those that were bound before.
    Listen {
        /// The ports.
        ports: Vec<PortMapping>,
    },
    /// Lead each container port to its address; ends a hold. Reply: `done`.
    ///
    /// Held and new connections go there. Existing ones that lead elsewhere are closed, those that
    /// lead there already go on. A container port that is not named has no target: its connections
    /// are closed at once, so an empty list closes all.
    Target {
        /// At most one for each container port.
        targets: Vec<Target>,
    },
    /// Accept new connections, and keep them waiting. Reply: `done`.
    ///
    /// Existing connections go on, except that one over which no byte has gone yet waits too. Ends
    /// with `target` or `release` (on any control connection); with the end of the control
    /// connection that asked for it, as if by `release`; or after the limit, when the connections
    /// that wait are closed and the former targets hold again. A second hold replaces the first
    /// and keeps what waits.
    Hold {
        /// The limit in ms.
        limit_ms: u64,
    },
    /// Go on with the targets that there were; ends a hold. Reply: `done`, also without a hold.
    Release,
    /// Be the dead man's switch of a freeze. Reply: `done`.
    ///
    /// If the control connection ends before `unguard`, `if_dead` is run; after the limit,
    /// `if_late`: programs with arguments, in a process group of their own, without standard
    /// input, their output in the shim's log. A second guard of a connection replaces the first.
    Guard {
        /// What is run when the command has died.
        if_dead: Vec<String>,
        /// What is run at the limit, while the command may still live.
        if_late: Vec<String>,
        /// The limit in ms.
        limit_ms: u64,
    },
    /// The freeze is over. Reply: `done`, also without a guard.
    Unguard,
    /// Run a program with arguments in the background: at low priority, in a process group of its
    /// own, without standard input, its output in the shim's log. It goes on when the shim ends.
    /// Reply: `done` once it has been started.
    ///
    /// There is at most one at a time. What is asked for while one runs is answered `done` and begun
    /// after it; of several that wait so, the last one alone is.
    Work {
        /// What is run.
        command: Vec<String>,
    },
    /// Run a program with arguments at a moment of the wall clock, which may have passed: in a process
    /// group of its own, without standard input, its output in the shim's log. It goes on when the
    /// shim ends. Reply: `done`.
    ///
    /// There is at most one such moment; a second request replaces the first.
    Expire {
        /// The moment, in ms since 1970-01-01 UTC.
        at_ms: u64,
        /// What is run.
        command: Vec<String>,
    },
    /// Reply: `status`.
    Status,
    /// End. Reply: `done`; then the shim removes its socket, closes everything and exits.
    Shutdown,
}

/// What the shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The ports that it listens on.
    Bound {
        /// In the order of the request.
        ports: Vec<PortMapping>,
    },
    /// It is done.
    Done,
    /// How the shim is.
    Status(ShimStatus),
    /// It could not be done; everything is as before.
    Failed(Failure),
}

/// How a shim is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimStatus {
    /// Its process id.
    pub pid: u32,
    /// Version of its program.
    pub build: String,
    /// The ports that it listens on, in the order they were asked for.
    pub ports: Vec<PortMapping>,
    /// Where each container port leads, sorted.
    pub targets: Vec<Target>,
    /// Whether new connections are held.
    pub holding: bool,
    /// Connections that are joined to a target.
    pub open: u32,
    /// Connections that wait for one.
    pub held: u32,
    /// Time since its start in ms.
    pub uptime_ms: u64,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// Another socket listens there.
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The shim's user may not listen there.
    PortDenied {
        /// Where.
        address: SocketAddr,
    },
    /// The host has no such address.
    AddressNotAvailable {
        /// Where.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's error number.
        errno: Option<i32>,
    },
    /// The request cannot be read, or comes before the handshake, or is not for this version.
    Refused {
        /// Why, a fragment for people.
        reason: String,
    },
}

/// What a starting shim writes on its standard output: one line, then it closes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "start", rename_all = "snake_case")]
pub enum StartReport {
    /// It accepts control connections.
    Ready {
        /// Its process id.
        pid: u32,
    },
    /// Another shim has the directory.
    AlreadyRunning {
        /// Its process id, where it could be read.
        pid: Option<u32>,
    },
    /// It could not start.
    Failed {
        /// Why, a fragment that reads after "failed to".
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn the_form_on_the_wire_is_as_documented() {
        let mapping: PortMapping = "8000".parse().unwrap();
        let listen = Envelope {
            id: 1,
            message: Request::Listen {
                ports: vec![mapping],
            },
        };
        assert_eq!(
            shown(&listen),
            r#"{"id":1,"request":"listen","ports":[{"ip":"127.0.0.1","host":0,"container":8000}]}"#
        );
        let target = Envelope {
            id: 2,
            message: Request::Target {
                targets: vec![Target {
                    container: 8000,
                    address: "172.17.0.2:8000".parse().unwrap(),
                }],
            },
        };
        let line = shown(&target);
        assert_eq!(
            line,
            r#"{"id":2,"request":"target","targets":[{"container":8000,"address":"172.17.0.2:8000"}]}"#
        );
        assert_eq!(
            serde_json::from_str::<Envelope<Request>>(&line).unwrap(),
            target
        );
        let failed = Envelope {
            id: 3,
            message: Reply::Failed(Failure::PortInUse {
                address: "127.0.0.1:80".parse().unwrap(),
            }),
        };
        let line = shown(&failed);
        assert_eq!(
            line,
            r#"{"id":3,"reply":"failed","kind":"port_in_use","address":"127.0.0.1:80"}"#
        );
        assert_eq!(
            serde_json::from_str::<Envelope<Reply>>(&line).unwrap(),
            failed
        );
    }

    #[test]
    fn what_every_version_must_understand_does_not_change() {
        let hello = Hello {
            hello: 1,
            pid: 4711,
            build: "0.1.0".to_owned(),
        };
        assert_eq!(shown(&hello), r#"{"hello":1,"pid":4711,"build":"0.1.0"}"#);
        let shutdown = Envelope {
            id: 9,
            message: Request::Shutdown,
        };
        assert_eq!(shown(&shutdown), r#"{"id":9,"request":"shutdown"}"#);
        let done = Envelope {
            id: 9,
            message: Reply::Done,
        };
        assert_eq!(shown(&done), r#"{"id":9,"reply":"done"}"#);
    }
}
