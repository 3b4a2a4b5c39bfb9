//! What a container is told of itself: a file that names its environment, its branch and the snapshot
//! that it was launched from, and a machine id of its own where that is asked for.
//!
//! Both are files of the home, in a folder named after the container's object, and are mounted on the
//! container read-only. The mounts belong to the launch alone: no snapshot records them, so each
//! container has its own. The folder goes when the object is forgotten.

mod mounted;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use statefork_runtime::{Container, LaunchRequest, Mount, ObjectId, RuntimeError};

use self::mounted::{IDENTITY, MACHINE_ID, OwnFile};
pub(super) use self::mounted::{OwnFiles, is_identity};
use self::write::{rewrite, write_new};
use super::Environment;
use super::handover::Successor;
use crate::config::MachineId;
use crate::error::{CoreError, Result};
use crate::model::{Branch, LiveContainer, OperationKind, SnapshotId};
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// The version of the document in the file.
const SCHEMA: u32 = 1;

/// What the file says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    schema: u32,
    environment: String,
    branch: String,
    /// What the container was launched from.
    snapshot: SnapshotId,
    runtime: String,
}

impl Environment {
    /// Launches a container that finds its identity in it. After an error there is none.
    ///
    /// It does without the file where a mount of its own has the place, or where the runtime does not
    /// see the home, which `up` tells. A machine id that was asked for it does not do without.
    pub(super) async fn launch(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &Branch,
        successor: &Successor,
    ) -> Result<Container> {
        let request = self.launch_request(record, branch, successor);
        let capture = &successor.snapshot.capture;
        let launch = async |request: &LaunchRequest| {
            let launching = self.runtime.launch(capture, request, &recorder.phases);
            launching.await
        };
        let launched = async {
            let mounts = self.identify(recorder, record, &branch.name, successor)?;
            let may_do_without =
                !mounts.is_empty() && record.settings.machine_id == MachineId::Image;
            let mut identified = request.clone();
            identified.spec.mounts.extend(mounts);
            match launch(&identified).await {
                // A daemon elsewhere does not have the home's files. If it is another setting that is
                // wrong, it says so again.
                Err(RuntimeError::Invalid { .. }) if may_do_without => {
                    let container = launch(&request).await?;
                    self.tell_without(recorder, "the runtime does not see the home's files");
                    Ok(container)
                }
                launched => Ok(launched?),
            }
        };
        match launched.await {
            Ok(container) => Ok(container),
            Err(error) => {
                let removed = self.home.remove_identity(&successor.object);
                Err(CoreError::and_then(error, removed))
            }
        }
    }

    /// Writes a container's files and says how they are mounted.
    fn identify(
        &self,
        recorder: &Recorder<'_>,
        record: &EnvironmentRecord,
        branch: &str,
        successor: &Successor,
    ) -> Result<Vec<Mount>> {
        let folder = self.home.identity_dir(&successor.object);
        let mut mounts = Vec::new();
        match IDENTITY.is_taken(&successor.spec) {
            true => self.tell_without(recorder, "a mount has its place"),
            false => {
                let text = self.identity(branch, &successor.snapshot.id);
                write_own(&folder, &IDENTITY, &text)?;
                mounts.push(IDENTITY.mount(&folder));
            }
        }
        if record.settings.machine_id == MachineId::New {
            if MACHINE_ID.is_taken(&successor.spec) {
                return Err(CoreError::InvalidSettings {
                    what: "a new machine id".to_owned(),
                    reason: format!("a mount has the place of {}", MACHINE_ID.path().display()),
                });
            }
            write_own(&folder, &MACHINE_ID, &new_machine_id())?;
            mounts.push(MACHINE_ID.mount(&folder));
        }
        Ok(mounts)
    }

    /// Said when an environment comes up, not at every launch.
    fn tell_without(&self, recorder: &Recorder<'_>, why: &str) {
        if recorder.kind() == OperationKind::Up {
            self.observer().notice(&format!(
                "the container has no {}: {why}",
                IDENTITY.path().display()
            ));
        }
    }

    fn identity(&self, branch: &str, snapshot: &SnapshotId) -> String {
        let identity = Identity {
            schema: SCHEMA,
            environment: self.name.clone(),
            branch: branch.to_owned(),
            snapshot: snapshot.clone(),
            runtime: self.runtime.name().to_owned(),
        };
        // Numbers and texts alone are always written.
        serde_json::to_string(&identity).unwrap_or_default() + "\n"
    }

    /// Makes the files of a container, if it has some, ready for another start: it says which branch
    /// it is on by now, and what somebody removed is there again.
    pub(super) async fn refresh_own_files(&self, branch: &str, live: &LiveContainer) -> Result<()> {
        let folder = self.home.identity_dir(&live.object);
        let path = folder.join(IDENTITY.name);
        let text = self.identity(branch, &live.origin);
        if rewrite(&path, &text).map_err(|source| io_error("write", path, source))? {
            return Ok(());
        }
        let Some(container) = self.runtime.inspect(&live.id).await? else {
            return Ok(());
        };
        for file in OwnFiles::of(&container, &live.spec).0 {
            match file.name == IDENTITY.name {
                true => write_own(&folder, file, &text)?,
                false => write_own(&folder, file, &new_machine_id())?,
            }
        }
        Ok(())
    }

    /// Gives a branch its new name in the files of all containers on it.
    pub(super) fn rename_in_identities(&self, from: &str, to: &str) -> Result<()> {
        for path in self.home.identities()? {
            let path = path.join(IDENTITY.name);
            let renamed = || {
                let text = match std::fs::read_to_string(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    read => read?,
                };
                let is: Identity = serde_json::from_str(&text)?;
                if (is.environment.as_str(), is.runtime.as_str())
                    != (self.name.as_str(), self.runtime.name())
                    || is.branch != from
                {
                    return Ok(());
                }
                rewrite(&path, &self.identity(to, &is.snapshot)).map(drop)
            };
            renamed().map_err(|source: io::Error| io_error("write", path.clone(), source))?;
        }
        Ok(())
    }

    /// Forgets objects that are gone, and the files of those that were containers.
    pub(super) fn forget_objects(&self, objects: &[&ObjectId]) -> Result<()> {
        // In this order: what is in the store is looked for again.
        for object in objects {
            self.home.remove_identity(object)?;
        }
        self.store().forget_objects(objects)
    }
}

/// A machine id and a newline.
fn new_machine_id() -> String {
    format!("{:032x}\n", u128::from_be_bytes(rand::random()))
}

fn write_own(folder: &Path, file: &OwnFile, text: &str) -> Result<()> {
    let written = write_new(folder, file.name, text);
    written.map_err(|source| io_error("write", folder.join(file.name), source))
}

fn io_error(op: &'static str, path: PathBuf, source: io::Error) -> CoreError {
    CoreError::Io { op, path, source }
}
