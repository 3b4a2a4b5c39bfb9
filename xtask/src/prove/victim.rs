//! Who is killed.

use std::fmt;

/// A part of the whole whose death must cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The `statefork` that works.
    Command,
    /// The shim that listens on the branch's port.
    Shim,
    /// dockerd with its containerd, or the Podman service.
    Daemon,
}

impl Victim {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Command, Self::Shim, Self::Daemon];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Shim => "shim",
            Self::Daemon => "daemon",
        })
    }
}
