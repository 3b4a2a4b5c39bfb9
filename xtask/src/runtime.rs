//! The runtimes, as the commands here name them: two that have a daemon, and one that needs none.

use std::fmt;

use crate::daemons::Kind;

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// The embedded one, without any daemon.
    Native,
    /// Docker's daemon.
    Docker,
    /// Podman's service.
    Podman,
}

impl Runtime {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Native, Self::Docker, Self::Podman];

    /// Its daemon, if it has one.
    pub(crate) fn daemon(self) -> Option<Kind> {
        match self {
            Self::Native => None,
            Self::Docker => Some(Kind::Docker),
            Self::Podman => Some(Kind::Podman),
        }
    }
}

/// The daemons of those that have one.
pub(crate) fn daemons(runtimes: &[Runtime]) -> Vec<Kind> {
    runtimes
        .iter()
        .filter_map(|runtime| runtime.daemon())
        .collect()
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.daemon() {
            None => f.write_str("native"),
            Some(kind) => kind.fmt(f),
        }
    }
}
