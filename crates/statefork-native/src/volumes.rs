//! Named volumes: folders of the storage that containers share.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use statefork_runtime::{Result, RuntimeError};

use crate::settings::check_container_name;
use crate::storage::{Storage, system_at};

/// Makes a volume where it does not exist. Errors: `Invalid` for a name that is none.
pub(crate) fn make(storage: &Storage, name: &str) -> Result<()> {
    check_container_name(name).map_err(|_| RuntimeError::Invalid {
        what: format!("volume name {name:?}"),
        reason:
            "it has letters, digits, '_', '.' and '-' only, and begins with one of the former two"
                .into(),
    })?;
    let folder = storage.volume(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(|error| system_at("make a volume", &folder, error))
}
