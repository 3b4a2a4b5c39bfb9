//! The labels on everything that StateFork makes in a runtime.
//!
//! Labels are inherited: an image built from a snapshot by hand, and a container run from that
//! image, carry them too. A label alone therefore never justifies a removal; an object is ours
//! only if the store holds its id, or its [`LABEL_OBJECT`] value was logged before it was made
//! *and* its type is the logged one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{HomeId, ObjectId};

/// Label: the home that made the object.
pub const LABEL_HOME: &str = "dev.statefork.home";
/// Label: the environment that the object belongs to.
pub const LABEL_ENVIRONMENT: &str = "dev.statefork.environment";
/// Label: what the object is, an [`ObjectType`].
pub const LABEL_TYPE: &str = "dev.statefork.type";
/// Label: the object's random [`ObjectId`].
pub const LABEL_OBJECT: &str = "dev.statefork.object";

/// What an object of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectType {
    /// A container.
    Container,
    /// The image of a capture.
    Capture,
    /// An image that [`Images::build_image`](crate::Images::build_image) made.
    Build,
    /// An image that [`Images::prepare_image`](crate::Images::prepare_image) made.
    Prepared,
}

impl ObjectType {
    /// The value of [`LABEL_TYPE`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Capture => "capture",
            Self::Build => "build",
            Self::Prepared => "prepared",
        }
    }

    /// Reads a value of [`LABEL_TYPE`]; `None` for one that is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Container, Self::Capture, Self::Build, Self::Prepared]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels as the runtime stores them.
pub type Labels = BTreeMap<String, String>;

/// Whose an object is: the source of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The home that makes the object.
    pub home: HomeId,
    /// The environment that it is made for.
    pub environment: String,
    /// Its random value, logged before.
    pub object: ObjectId,
}

impl Owner {
    /// The four labels of an object of this owner.
    pub fn labels(&self, kind: ObjectType) -> Labels {
        Labels::from([
            (LABEL_HOME.to_owned(), self.home.to_string()),
            (LABEL_ENVIRONMENT.to_owned(), self.environment.clone()),
            (LABEL_TYPE.to_owned(), kind.to_string()),
            (LABEL_OBJECT.to_owned(), self.object.to_string()),
        ])
    }
}
