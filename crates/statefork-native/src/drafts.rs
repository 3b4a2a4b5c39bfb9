//! Writing layers that become part of an image, or of nothing.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use statefork_runtime::Result;

use crate::books::{Draft, LayerId};
use crate::runtime::{Inner, this_process};
use crate::storage::{remove_tree, system_at};

/// What writing a layer has given.
pub(crate) struct Written {
    /// Bytes of its files' contents.
    pub(crate) bytes: u64,
    /// SHA-256 of the archive that it was unpacked from, in hexadecimal.
    pub(crate) digest: Option<String>,
}

impl Inner {
    /// Does something that writes layers and enters them, and gives those up that it has written in
    /// vain. What nobody needs any more is removed at the end.
    pub(crate) fn with_drafts<T>(
        &self,
        work: impl FnOnce(&mut Vec<Draft>) -> Result<T>,
    ) -> Result<T> {
        let mut drafts = Vec::new();
        let worked = work(&mut drafts);
        for draft in &drafts {
            // Of one that is published nothing is given up.
            self.books()?.give_up_layer(draft.layer)?;
        }
        self.sweep()?;
        worked
    }

    /// Has `write` fill a new layer: it gets its folder, empty, and another empty one beside it that goes
    /// afterwards. What it writes is durable on return, by its own doing.
    pub(crate) fn write_layer(
        &self,
        op: &'static str,
        write: impl FnOnce(&Path, &Path) -> Result<Written>,
    ) -> Result<Draft> {
        let layer = self.books()?.begin_layer(&this_process()?)?;
        let (folder, copies) = (self.storage.layer(layer), self.storage.copies(layer));
        let written = make(op, [&folder, &copies]).and_then(|()| write(&folder, &copies));
        match written {
            Ok(written) => {
                remove_tree(&copies).map_err(|error| system_at(op, &copies, error))?;
                Ok(Draft {
                    layer,
                    size_bytes: written.bytes,
                    digest: written.digest,
                })
            }
            Err(error) => {
                self.books()?.give_up_layer(layer)?;
                Err(error)
            }
        }
    }

    /// The folders of layers, the uppermost first; `layers` has the lowest first.
    pub(crate) fn folders(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        let folders = layers.iter().rev();
        folders.map(|&layer| self.storage.layer(layer)).collect()
    }
}

fn make(op: &'static str, folders: [&Path; 2]) -> Result<()> {
    for folder in folders {
        DirBuilder::new()
            .mode(0o755)
            .create(folder)
            .map_err(|error| system_at(op, folder, error))?;
    }
    Ok(())
}
