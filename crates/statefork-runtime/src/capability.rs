//! What a runtime can do here, found by doing.

use serde::{Deserialize, Serialize};

/// Whether something works, and if not, why not and what mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "support", rename_all = "snake_case")]
pub enum Support {
    /// It was done and it worked.
    Yes,
    /// It was tried and failed.
    No {
        /// Why, in words that a person can act on.
        reason: String,
        /// The command or the setting that mends it, where one is known.
        mend: Option<String>,
    },
}

impl Support {
    /// Available.
    fn yes() -> Self {
        Self::Yes
    }

    /// Unavailable, for `reason`.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::No {
            reason: reason.into(),
            mend: None,
        }
    }

    /// Whether it works.
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// What a runtime can do on this machine. Serialisable, so that a home can keep the outcome of a
/// probe for the daemon that it was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// A container's files can be captured and launched again.
    pub filesystem: Support,
    /// A container can be paused and unpaused.
    pub pause: Support,
    /// Limits on memory and CPU take effect.
    pub limits: Support,
    /// Images can be built from a Dockerfile.
    pub build: Support,
    /// The host can open connections to a container's own address. Where it cannot, ports are
    /// published on the loopback interface ([`LaunchRequest::publish`](crate::LaunchRequest)).
    pub reachable: Support,
    /// Ports are published where that is asked for. Needed only where [`reachable`](Self::reachable)
    /// is not given. (What was written before runtimes differed in this is of such as do.)
    #[serde(default = "Support::yes")]
    pub publish: Support,
    /// Programs of the image can be run, in isolation, with a network: not a fixed vocabulary.
    pub programs: Support,
    /// A container can have a process 1 of the runtime's own
    /// ([`ContainerSpec::init`](crate::ContainerSpec)). (What was written before this was tried is
    /// taken for such as can: a launch says otherwise.)
    #[serde(default = "Support::yes")]
    pub init: Support,
    /// How many layers an image can have in all; `None` without a limit.
    pub layer_limit: Option<u32>,
}
