//! `cp`: files into the branch's container and out of it.

use std::path::Path;

use statefork_runtime::ByteStream;

use super::Environment;
use crate::error::Result;

impl Environment {
    /// One file or folder of the branch's container, as a tar stream whose entries begin with its
    /// name. Holds no lock.
    pub async fn copy_out(&self, path: &Path) -> Result<ByteStream> {
        let copied = async {
            let live = self.live().await?;
            Ok(self.runtime.copy_out(&live.container.id, path).await?)
        };
        let outcome: Result<_> = copied.await;
        outcome.map_err(|error| {
            error.in_operation(format!("copy {} out of the container", path.display()))
        })
    }

    /// Unpacks a tar stream in a folder of the branch's container. Holds no lock.
    pub async fn copy_in(&self, folder: &Path, archive: ByteStream) -> Result<()> {
        let copied = async {
            let live = self.live().await?;
            let copying = self.runtime.copy_in(&live.container.id, folder, archive);
            Ok(copying.await?)
        };
        let outcome: Result<_> = copied.await;
        outcome.map_err(|error| {
            error.in_operation(format!("copy into {} in the container", folder.display()))
        })
    }
}
