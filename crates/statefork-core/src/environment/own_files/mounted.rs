//! Which files of a container are ours, where they are, and what they change there by themselves.

use std::path::{Path, PathBuf};

use statefork_runtime::{Change, ChangeKind, Container, ContainerSpec, Mount, MountSource};

/// Where a container finds what it is.
pub(super) const IDENTITY: OwnFile = OwnFile {
    name: "statefork.json",
    // The second is where the first may lead.
    paths: &["/run/statefork.json", "/var/run/statefork.json"],
};
/// Where a container finds its machine id (machine-id(5)).
pub(super) const MACHINE_ID: OwnFile = OwnFile {
    name: "machine-id",
    paths: &["/etc/machine-id"],
};

/// A file of ours in a container.
pub(super) struct OwnFile {
    /// In the object's folder.
    pub(super) name: &'static str,
    /// Where it is mounted, and by which further names that place may be known.
    paths: &'static [&'static str],
}

impl OwnFile {
    /// Where it is mounted.
    pub(super) fn path(&self) -> &'static Path {
        Path::new(self.paths[0])
    }

    /// Whether that is a path of it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| path == Path::new(own))
    }

    /// Whether a mount that was asked for has its place, or is a folder shared with others that a
    /// mount point would be left behind in.
    pub(super) fn is_taken(&self, spec: &ContainerSpec) -> bool {
        spec.mounts.iter().any(|mount| {
            let shared = !matches!(mount.source, MountSource::Tmpfs { .. });
            self.is_at(&mount.target)
                || shared && {
                    let mut paths = self.paths.iter();
                    paths.any(|own| Path::new(own).starts_with(&mount.target))
                }
        })
    }

    /// How that of an object's folder is mounted.
    pub(super) fn mount(&self, folder: &Path) -> Mount {
        Mount {
            source: MountSource::Bind(folder.join(self.name)),
            target: self.path().to_owned(),
            read_only: true,
        }
    }
}

/// Our files in a container.
pub(in crate::environment) struct OwnFiles(pub(super) Vec<&'static OwnFile>);

impl OwnFiles {
    /// Those among its mounts that its settings do not ask for.
    pub(in crate::environment) fn of(container: &Container, spec: &ContainerSpec) -> Self {
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
    pub(in crate::environment) fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|file| file.is_at(path))
    }

    /// Leaves out of a container's changes what they have changed by themselves: their mount points,
    /// and the folders in which nothing else has changed.
    pub(in crate::environment) fn left_out(&self, changes: Vec<Change>) -> Vec<Change> {
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
pub(in crate::environment) fn is_identity(mount: &Mount) -> bool {
    IDENTITY.is_at(&mount.target)
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
}
