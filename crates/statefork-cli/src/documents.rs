//! Parts that several JSON documents share; `docs/json.md` describes all.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use statefork_core::environment::Unfinished;
use statefork_core::{self as core, NotHeld, Timing};
use statefork_runtime::{ContainerState, Phase, PortMapping};

use crate::commands::verify;

/// Raised when a key is renamed or removed.
const SCHEMA: u32 = 1;

/// A document.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a, T> {
    schema: u32,
    environment: Option<&'a str>,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a, T> Document<'a, T> {
    /// A document of this version.
    pub(crate) fn new(environment: Option<&'a str>, body: &'a T) -> Self {
        Self {
            schema: SCHEMA,
            environment,
            body,
        }
    }
}

/// Milliseconds with a fraction.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Phases with their milliseconds, in the order in which they began.
#[derive(Clone, Debug)]
pub(crate) struct Phases(pub(crate) Vec<(Phase, Duration)>);

impl Serialize for Phases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (phase, took) in &self.0 {
            map.serialize_entry(phase.as_str(), &ms(*took))?;
        }
        map.end()
    }
}

/// How long an operation took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Took {
    operation: i64,
    duration_ms: f64,
    usable_ms: f64,
    phases: Phases,
}

impl From<&Timing> for Took {
    fn from(timing: &Timing) -> Self {
        Self {
            operation: timing.operation,
            duration_ms: ms(timing.duration),
            usable_ms: ms(timing.usable),
            phases: Phases(timing.phases.clone()),
        }
    }
}

/// A port of a branch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Port {
    ip: String,
    host: u16,
    container: u16,
    protocol: &'static str,
}

/// The ports of a branch.
pub(crate) fn ports(ports: &[PortMapping]) -> Vec<Port> {
    ports
        .iter()
        .map(|port| Port {
            ip: port.ip.to_string(),
            host: port.host,
            container: port.container,
            protocol: "tcp",
        })
        .collect()
}

/// A snapshot as a node of the graph.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Node {
    id: String,
    parent: Option<String>,
    kind: &'static str,
    runtime: String,
    message: Option<String>,
    tags: Vec<String>,
    branches: Vec<String>,
    labels: BTreeMap<String, String>,
    created_at: String,
    size_bytes: u64,
    unique_bytes: u64,
    verified: Option<&'static str>,
}

impl Node {
    /// A snapshot on a runtime.
    pub(crate) fn of(snapshot: &core::Node, runtime: &str) -> Self {
        Self {
            id: snapshot.id.to_string(),
            parent: snapshot.parent.as_ref().map(ToString::to_string),
            kind: snapshot.kind.as_str(),
            runtime: runtime.to_owned(),
            message: snapshot.message.clone(),
            tags: snapshot.tags.clone(),
            branches: snapshot.branches.clone(),
            labels: snapshot.labels.clone(),
            created_at: time(snapshot.created_at),
            size_bytes: snapshot.size_bytes,
            unique_bytes: snapshot.unique_bytes,
            verified: snapshot.intact.map(verify::word),
        }
    }
}

/// The state of a container in one word.
pub(crate) fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Exited { .. } => "exited",
    }
}

/// Paths that a snapshot does not hold.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct NotHeldPaths(pub(crate) Vec<NotHeld>);

/// An operation that did not end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UnfinishedOperation {
    operation: i64,
    kind: &'static str,
}

impl From<&Unfinished> for UnfinishedOperation {
    fn from(unfinished: &Unfinished) -> Self {
        Self {
            operation: unfinished.operation,
            kind: unfinished.kind.as_str(),
        }
    }
}
