//! Who is killed.

use std::fmt;

use crate::runtime::Runtime;

/// A part of the whole whose death must cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The `statefork` that works.
    Command,
    /// The shim that listens on the branch's port.
    Shim,
    /// dockerd with its containerd, or the Podman service.
    Daemon,
    /// The process of native's that waits for the container's end.
    Monitor,
    /// The application's first process.
    Application,
}

impl Victim {
    /// Those of a runtime.
    ///
    /// The application is only killed where it is a matter of the runtime alone who notices.
    pub(super) fn of(runtime: Runtime) -> &'static [Self] {
        match runtime {
            Runtime::Native => &[Self::Command, Self::Shim, Self::Monitor, Self::Application],
            Runtime::Docker | Runtime::Podman => &[Self::Command, Self::Shim, Self::Daemon],
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Shim => "shim",
            Self::Daemon => "daemon",
            Self::Monitor => "monitor",
            Self::Application => "application",
        })
    }
}
