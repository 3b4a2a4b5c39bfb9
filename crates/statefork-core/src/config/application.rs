//! What is run, and when it counts as ready.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use statefork_runtime::{ContainerSpec, PortMapping};

/// What `up` starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Application {
    /// The image, by name or id. Never together with `build`.
    pub image: Option<String>,
    /// How the image is built first.
    pub build: Option<Build>,
    /// How its container runs.
    pub spec: ContainerSpec,
    /// The ports of its branch.
    pub ports: Vec<PortMapping>,
    /// Which machine id its containers have.
    pub machine_id: MachineId,
}

/// Which machine id (`/etc/machine-id`, machine-id(5)) a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineId {
    /// As in the image, or in the snapshot.
    #[default]
    Image,
    /// A random one of its own.
    New,
}

impl MachineId {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::New => "new",
        }
    }
}

/// What is run in a container when it comes from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Program and arguments, run once the container is ready and before its branch's ports lead to
    /// it; `None`: nothing.
    pub after_restore: Option<Vec<String>>,
    /// How long it may take before it counts as failed.
    pub timeout: Duration,
}

impl Hooks {
    /// `timeout` where none is given.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            after_restore: None,
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }
}

/// How an image is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The folder of the build context, absolute.
    pub context: PathBuf,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
}

/// When an application counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What is asked.
    pub check: Check,
    /// How long it is asked before the application counts as failed.
    pub timeout: Duration,
    /// The longest wait between two polls; they start at 1 ms and double up to it.
    pub interval: Duration,
}

impl Readiness {
    /// `timeout` where none is given.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// `interval` where none is given.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);

    /// A check with the default times.
    pub fn of(check: Check) -> Self {
        Self {
            check,
            timeout: Self::DEFAULT_TIMEOUT,
            interval: Self::DEFAULT_INTERVAL,
        }
    }

    /// What is configured, else a TCP connection to the first container port, else nothing.
    pub fn or_default(configured: Option<&Self>, ports: &[PortMapping]) -> Self {
        match (configured, ports.first()) {
            (Some(readiness), _) => readiness.clone(),
            (None, Some(first)) => Self::of(Check::Tcp {
                port: first.container,
            }),
            (None, None) => Self::of(Check::None),
        }
    }
}

/// What is asked to find out whether an application is ready. Ports are the container's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A GET that is answered with a status from 200 to 399.
    Http {
        /// The container's port.
        port: u16,
        /// Absolute path, with its query.
        path: String,
    },
    /// A connection that is accepted.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// A command in the container that ends with 0.
    Exec {
        /// Program and arguments, not empty.
        command: Vec<String>,
    },
    /// A text in the output of its first process.
    Log {
        /// The text, not empty.
        contains: String,
    },
    /// Ready as soon as its process runs.
    None,
}
