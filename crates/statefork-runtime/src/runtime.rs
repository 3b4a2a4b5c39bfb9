//! A runtime as a whole.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, Captures, ContainerId, Containers, HomeId, Images, ObjectId, ObjectType, Result,
};

/// How a runtime is opened: its section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// The socket to talk to; `None`: from the environment (`DOCKER_HOST`, `CONTAINER_HOST`), else
    /// the usual places.
    pub socket: Option<PathBuf>,
    /// The limit of each call.
    pub api_timeout: Duration,
    /// For a runtime that is no daemon: the folder in which it keeps what it has, made where it does
    /// not exist.
    pub storage: Option<PathBuf>,
    /// For a runtime that is no daemon: the helper program that makes its containers, absolute.
    pub helper: Option<PathBuf>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            socket: None,
            api_timeout: Duration::from_secs(120),
            storage: None,
            helper: None,
        }
    }
}

/// Which runtime answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeIdentity {
    /// Its version.
    pub version: String,
    /// Where it answers, as a URL (`unix:///run/docker.sock`).
    pub endpoint: String,
    /// Changes whenever the outcome of [`Runtime::probe`] may: version, kernel, storage driver,
    /// the daemon's own id.
    pub fingerprint: String,
}

/// Something in the runtime that carries our labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A container.
    Container {
        /// Its id.
        id: ContainerId,
        /// Value of its label `dev.statefork.type`, if it is one of ours.
        kind: Option<ObjectType>,
        /// Value of its label `dev.statefork.object`.
        object: Option<ObjectId>,
    },
    /// A name of an image, or the id of an untagged one.
    Image {
        /// The name and tag, else the id.
        name: String,
        /// Value of its label `dev.statefork.type`, if it is one of ours.
        kind: Option<ObjectType>,
        /// Value of its label `dev.statefork.object`.
        object: Option<ObjectId>,
    },
}

/// A container runtime. Open one with its crate's `open(&RuntimeOptions)`, which contacts nobody.
#[async_trait]
pub trait Runtime: Images + Containers + Captures {
    /// Its name in configuration, command line and log: lower case, constant.
    fn name(&self) -> &'static str;

    /// Contacts it. Errors: `Unreachable`, `PermissionDenied`.
    async fn identify(&self) -> Result<RuntimeIdentity>;

    /// Finds out by doing what works here: makes a small image and containers from it, uses them,
    /// and removes all of it. Takes a second or so; the outcome holds until
    /// [`RuntimeIdentity::fingerprint`] changes. All that it makes is named after `object`, a new
    /// random value: [`probe::remove_remains`](crate::probe::remove_remains) removes what a probe
    /// leaves that was cut off.
    ///
    /// What does not work is a [`Support::No`](crate::Support), not an error. Errors:
    /// `Unreachable`, `PermissionDenied`, and a failed clean-up.
    async fn probe(&self, object: &ObjectId) -> Result<Capabilities>;

    /// Everything that carries the home's label, sorted: candidates, since labels are inherited
    /// (see [`LABEL_OBJECT`](crate::LABEL_OBJECT)).
    async fn find(&self, home: &HomeId) -> Result<Vec<Found>>;
}
