//! The records of the version graph and the operation log.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use statefork_runtime::{
    Capture, ContainerId, ContainerSpec, MountKind, ObjectId, Phase, PortMapping,
};

use crate::config::{Hooks, MachineId, Readiness, Standby};

/// The tag of the graph's root.
pub const BASE: &str = "base";
/// The branch that every environment starts with.
pub const MAIN: &str = "main";

/// A snapshot's id: 12 random hexadecimal digits, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// How many digits it has.
    pub const LENGTH: usize = 12;

    /// A new one.
    pub fn random() -> Self {
        let number: u64 = rand::random();
        Self(format!("{:012x}", number & 0xffff_ffff_ffff))
    }

    /// As the store holds it.
    pub(crate) fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// Files; processes start anew on restore.
    Filesystem,
}

impl SnapshotKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text == Self::Filesystem.as_str()).then_some(Self::Filesystem)
    }
}

/// A path of the container that a snapshot does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotHeld {
    /// Where, in the container.
    pub path: PathBuf,
    /// What is there.
    pub kind: MountKind,
    /// Whether the container can write there.
    pub writable: bool,
}

/// A node of the version graph: what a snapshot is called, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: SnapshotId,
    /// The snapshot it was made after; `None` for `base`.
    pub parent: Option<SnapshotId>,
    /// What it holds.
    pub kind: SnapshotKind,
    /// What the person said of it.
    pub message: Option<String>,
    /// Names that lead to it, `base` first.
    pub tags: Vec<String>,
    /// Branches whose head it is.
    pub branches: Vec<String>,
    /// What the person labelled it with.
    pub labels: BTreeMap<String, String>,
    /// Whether the runtime had everything that it needs when it was last looked at; `None`: it
    /// never was.
    pub intact: Option<bool>,
    /// When.
    pub created_at: Timestamp,
    /// Bytes of its own layers.
    pub size_bytes: u64,
    /// Bytes that removing it alone would free: none while another snapshot stands on it.
    pub unique_bytes: u64,
}

/// A snapshot in full. Immutable, but for a capture with the same files that may take the place of
/// its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its place in the graph.
    pub node: Node,
    /// The settings that its container had.
    pub spec: ContainerSpec,
    /// What it does not hold.
    pub not_held: Vec<NotHeld>,
    /// What the runtime needs to bring it back.
    pub capture: Capture,
    /// The random value of what the runtime stores for it; none of the base.
    pub object: Option<ObjectId>,
}

impl Deref for Snapshot {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Where an environment's image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// An image of the runtime, by the name given.
    Name(String),
    /// A folder that was built.
    Build(PathBuf),
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Build(folder) => write!(f, "build of {}", folder.display()),
        }
    }
}

/// The settings of an environment's application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The image.
    pub image: ImageSource,
    /// The container's settings.
    pub spec: ContainerSpec,
    /// The branch's ports as asked for.
    pub ports: Vec<PortMapping>,
    /// How the application says that it is usable.
    pub readiness: Readiness,
    /// Which containers are prepared ahead.
    #[serde(default)]
    pub standby: Standby,
    /// What is run in a container that comes from a snapshot.
    #[serde(default)]
    pub hooks: Hooks,
    /// Which machine id its containers have.
    #[serde(default)]
    pub machine_id: MachineId,
}

/// A branch: a head and at most one live container.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Its number in the home; names its shim's folder.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// Its head.
    pub head: SnapshotId,
    /// Its container, if it has one.
    pub container: Option<LiveContainer>,
    /// Its ports, with the host ports that were found free.
    pub ports: Vec<PortMapping>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is removed by itself; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Branch {
    /// Whether its container is one that somebody else made.
    pub fn is_attached(&self) -> bool {
        self.container.as_ref().is_some_and(|live| live.attached)
    }
}

/// A branch's container, as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveContainer {
    /// Its id in the runtime.
    pub id: ContainerId,
    /// The random value that it is labelled with.
    pub object: ObjectId,
    /// The snapshot that it was launched from.
    pub origin: SnapshotId,
    /// Its settings.
    pub spec: ContainerSpec,
    /// When it was launched.
    pub since: Timestamp,
    /// Whether somebody else made it: then it is never removed, and until the branch goes on in
    /// another one the runtime publishes its ports, not the branch's shim.
    #[serde(default)]
    pub attached: bool,
    /// The random value of the capture that it was launched from, which a flattened one may have
    /// taken the place of since; none of the base.
    #[serde(default)]
    pub capture: Option<ObjectId>,
}

/// What an operation does; the word in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// `up`.
    Up,
    /// `snapshot`.
    Snapshot,
    /// `step`.
    Step,
    /// `restore`.
    Restore,
    /// `down`.
    Down,
    /// `start`.
    Start,
    /// `stop`.
    Stop,
    /// `rm`.
    Remove,
    /// `tag`.
    Tag,
    /// `branch rm`.
    BranchRemove,
    /// `branch rename`.
    BranchRename,
    /// `branch promote`.
    BranchPromote,
    /// `switch`.
    Switch,
    /// `try`.
    Try,
    /// `fork`, of one new branch.
    Fork,
    /// Flattening a chain of captures in the background.
    Flatten,
    /// Preparing a container in the background.
    Standby,
}

impl OperationKind {
    const ALL: [Self; 17] = [
        Self::Up,
        Self::Snapshot,
        Self::Step,
        Self::Restore,
        Self::Down,
        Self::Start,
        Self::Stop,
        Self::Remove,
        Self::Tag,
        Self::BranchRemove,
        Self::BranchRename,
        Self::BranchPromote,
        Self::Switch,
        Self::Try,
        Self::Fork,
        Self::Flatten,
        Self::Standby,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Snapshot => "snapshot",
            Self::Step => "step",
            Self::Restore => "restore",
            Self::Down => "down",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "rm",
            Self::Tag => "tag",
            Self::BranchRemove => "branch rm",
            Self::BranchRename => "branch rename",
            Self::BranchPromote => "branch promote",
            Self::Switch => "switch",
            Self::Try => "try",
            Self::Fork => "fork",
            Self::Flatten => "flatten",
            Self::Standby => "standby",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not, or its process died.
    Running,
    /// As asked.
    Done,
    /// It failed and was undone.
    Failed,
    /// Its process died after it was published; the next command finished it.
    Recovered,
    /// Its process died before it was published; the next command undid it.
    Undone,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Recovered,
        Self::Undone,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Undone => "undone",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

/// A row of the operation log.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Sequence number, rising.
    pub seq: i64,
    /// What.
    pub kind: OperationKind,
    /// In which environment.
    pub environment: String,
    /// On which branch.
    pub branch: Option<String>,
    /// The snapshot made, or gone to.
    pub target: Option<SnapshotId>,
    /// The kind of that snapshot.
    pub snapshot_kind: Option<SnapshotKind>,
    /// On which runtime.
    pub runtime: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took; `None` while it runs.
    pub duration: Option<Duration>,
    /// From its begin until the application could be used.
    pub usable: Option<Duration>,
    /// Whether the application went on in a container that was prepared ahead (warm), or in one that
    /// was launched (cold); `None` where it went on in none.
    pub warm: Option<bool>,
    /// The duration of each phase.
    pub phases: Vec<(Phase, Duration)>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub error: Option<String>,
}
