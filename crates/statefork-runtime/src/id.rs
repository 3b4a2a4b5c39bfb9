//! Identifiers as types, so that an image is never passed for a container.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the identifier as its issuer spells it.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The identifier as its issuer spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 characters, as container tools show identifiers.
            pub fn short(&self) -> &str {
                let id = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
                id.get(..12).unwrap_or(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A container, in the runtime's own spelling (64 hexadecimal digits for Docker and Podman).
    ContainerId
}
id! {
    /// An image, in the runtime's own spelling (`sha256:` and 64 digits for Docker, without the
    /// prefix for Podman). Never a name or a tag: those can move.
    ImageId
}
id! {
    /// A home (state directory), random, made once with the home.
    HomeId
}
id! {
    /// The random value of the label [`LABEL_OBJECT`](crate::LABEL_OBJECT), logged before the
    /// object is made, so that it can be found again after a crash.
    ObjectId
}
