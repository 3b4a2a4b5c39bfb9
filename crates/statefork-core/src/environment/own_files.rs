//! What a container is told of itself: a file that names its environment, its branch and the snapshot
//! that it was launched from, and a machine id of its own where that is asked for.
//!
//! Both are files of the home, in a folder named after the container's object, and are mounted on the
//! container read-only. The mounts belong to the launch alone: no snapshot records them, so each
//! container has its own. The folder goes when the object is forgotten.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use statefork_runtime::{
    Change, ChangeKind, Container, ContainerSpec, LaunchRequest, Mount, MountSource, ObjectId,
    RuntimeError,
};

use super::Environment;
use super::handover::Successor;
use crate::config::MachineId;
use crate::error::{CoreError, Result};
use crate::model::{LiveContainer, OperationKind, SnapshotId};
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// Where a container finds what it is.
const IDENTITY: OwnFile = OwnFile {
    name: "statefork.json",
    // The second is where the first may lead.
    paths: &["/run/statefork.json", "/var/run/statefork.json"],
};
/// Where a container finds its machine id (machine-id(5)).
const MACHINE_ID: OwnFile = OwnFile {
    name: "machine-id",
    paths: &["/etc/machine-id"],
};
/// The version of the document in the file.
const SCHEMA: u32 = 1;

/// A file of ours in a container.
struct OwnFile {
    /// In the object's folder.
    name: &'static str,
    /// Where it is mounted, and by which further names that place may be known.
    paths: &'static [&'static str],
}

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

impl OwnFile {
    /// Where it is mounted.
    fn path(&self) -> &'static Path {
        Path::new(self.paths[0])
    }

    fn is_at(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| path == Path::new(own))
    }

    /// Whether a mount that was asked for has its place, or is a folder shared with others that a
    /// mount point would be left behind in.
    fn is_taken(&self, spec: &ContainerSpec) -> bool {
        spec.mounts.iter().any(|mount| {
            let shared = !matches!(mount.source, MountSource::Tmpfs { .. });
            self.is_at(&mount.target)
                || shared && {
                    let mut paths = self.paths.iter();
                    paths.any(|own| Path::new(own).starts_with(&mount.target))
                }
        })
    }

    fn mount(&self, folder: &Path) -> Mount {
        Mount {
            source: MountSource::Bind(folder.join(self.name)),
            target: self.path().to_owned(),
            read_only: true,
        }
    }
}

/// Our files in a container.
pub(super) struct OwnFiles(Vec<&'static OwnFile>);

impl OwnFiles {
    /// Those among its mounts that its settings do not ask for.
    pub(super) fn of(container: &Container, spec: &ContainerSpec) -> Self {
        let mut files = vec![&IDENTITY, &MACHINE_ID];
        files.retain(|file| {
            let mut mounts = container.mounts.iter();
            let mut asked = spec.mounts.iter();
            mounts.any(|mount| file.is_at(&mount.path))
                && !asked.any(|mount| file.is_at(&mount.target))
        });
        Self(files)
    }

    /// Whether one of them is at a path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|file| file.is_at(path))
    }

    /// Leaves out of a container's changes what they have changed by themselves: their mount points,
    /// and the folders in which nothing else has changed.
    pub(super) fn left_out(&self, changes: Vec<Change>) -> Vec<Change> {
        let is_folder = |path: &Path| {
            let mut own = self.0.iter().flat_map(|file| file.paths);
            own.any(|own| Path::new(own).parent() == Some(path))
        };
        let others = changes.iter().filter(|change| !self.has(&change.path));
        let others: Vec<PathBuf> = others.map(|change| change.path.clone()).collect();
        let is_own = |change: &Change| {
            let path = &change.path;
            let has_others = || {
                let mut others = others.iter();
                others.any(|other| other != path && other.starts_with(path))
            };
            self.has(path) || is_folder(path) && change.kind != ChangeKind::Deleted && !has_others()
        };
        let changes = changes.into_iter();
        changes.filter(|change| !is_own(change)).collect()
    }
}

/// Whether a container's settings mount a file of ours: those that one made by us is adopted with.
pub(super) fn is_identity(mount: &Mount) -> bool {
    IDENTITY.is_at(&mount.target)
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
        branch: &str,
        successor: &Successor,
        request: &LaunchRequest,
    ) -> Result<Container> {
        let capture = &successor.snapshot.capture;
        let launch = async |request: &LaunchRequest| {
            let launching = self.runtime.launch(capture, request, &recorder.phases);
            launching.await
        };
        let launched = async {
            let mounts = self.identify(recorder, record, branch, successor)?;
            let may_do_without =
                !mounts.is_empty() && record.settings.machine_id == MachineId::Image;
            let mut identified = request.clone();
            identified.spec.mounts.extend(mounts);
            match launch(&identified).await {
                // A daemon elsewhere does not have the home's files. If it is another setting that is
                // wrong, it says so again.
                Err(RuntimeError::Invalid { .. }) if may_do_without => {
                    let container = launch(request).await?;
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
                self.write_own(&folder, &IDENTITY, &text)?;
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
            let id = u128::from_be_bytes(rand::random());
            self.write_own(&folder, &MACHINE_ID, &format!("{id:032x}\n"))?;
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
        let text = serde_json::to_string(&identity);
        // Numbers and texts alone are always written.
        text.map_or_else(|_| String::new(), |text| text + "\n")
    }

    /// Writes a new file, whole before it has its name.
    fn write_own(&self, folder: &Path, file: &OwnFile, text: &str) -> Result<()> {
        let unnamed = folder.join(format!("{}.new", file.name));
        let written = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
            let mut options = OpenOptions::new();
            let mut new = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .open(&unnamed)?;
            // Whoever calls may have a stricter mask, and the application another user.
            new.set_permissions(Permissions::from_mode(0o644))?;
            new.write_all(text.as_bytes())?;
            std::fs::rename(&unnamed, folder.join(file.name))
        };
        written().map_err(|source| io_error("write", folder.join(file.name), source))
    }

    /// Makes the file of a container of ours say which branch it is on, if it has one: before it is
    /// started again.
    pub(super) fn refresh_identity(&self, branch: &str, live: &LiveContainer) -> Result<()> {
        let path = self.home.identity_dir(&live.object).join(IDENTITY.name);
        let text = self.identity(branch, &live.origin);
        rewrite(&path, &text).map_err(|source| io_error("write", path, source))
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
                rewrite(&path, &self.identity(to, &is.snapshot))
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

/// Writes a text over that of a file which is mounted somewhere, so it has to stay the same file. A
/// reader finds a whole document at any moment, perhaps with blanks behind it. Absent is success.
fn rewrite(path: &Path, text: &str) -> io::Result<()> {
    let file = match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let room = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let padded = format!("{text:room$}");
    file.write_all_at(padded.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

fn io_error(op: &'static str, path: PathBuf, source: io::Error) -> CoreError {
    CoreError::Io { op, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mount_points_are_no_changes() {
        use ChangeKind::{Added, Deleted, Modified};

        let own = OwnFiles(vec![&IDENTITY]);
        let left = |changes: &[(&str, ChangeKind)]| {
            let changes = changes.iter().map(|(path, kind)| Change {
                path: path.into(),
                kind: *kind,
            });
            let left = own.left_out(changes.collect()).into_iter();
            left.map(|change| change.path.display().to_string())
                .collect::<Vec<_>>()
        };
        let file = ("/run/statefork.json", Added);
        assert!(left(&[("/run", Modified)]).is_empty());
        assert!(left(&[("/run", Added), file]).is_empty());
        assert_eq!(
            left(&[("/run", Modified), ("/run/app.pid", Added), file]),
            ["/run", "/run/app.pid"]
        );
        assert_eq!(left(&[("/run", Deleted)]), ["/run"]);
        let machine_id = [("/etc", Modified), ("/etc/machine-id", Modified)];
        assert_eq!(left(&machine_id), ["/etc", "/etc/machine-id"]);
    }

    #[test]
    fn a_shared_mount_gets_no_mount_point_of_ours() {
        let volume = MountSource::Volume("data".to_owned());
        let memory = MountSource::Tmpfs { size: None };
        for (source, target, taken) in [
            (&volume, "/run", true),
            (&volume, "/var/run", true),
            (&volume, "/run/app", false),
            (&volume, "/running", false),
            (&memory, "/run", false),
            (&memory, "/run/statefork.json", true),
        ] {
            let spec = ContainerSpec {
                mounts: vec![Mount {
                    source: source.clone(),
                    target: target.into(),
                    read_only: false,
                }],
                ..ContainerSpec::default()
            };
            assert_eq!(IDENTITY.is_taken(&spec), taken, "{source:?} at {target}");
        }
    }

    #[test]
    fn a_file_is_rewritten_in_its_place() {
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        rewrite(&path, "nothing is made").unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "a longer text\n").unwrap();
        let before = path.metadata().unwrap().ino();
        for text in ["short\n", "a text that is longer than both\n"] {
            rewrite(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(path.metadata().unwrap().ino(), before);
    }
}
