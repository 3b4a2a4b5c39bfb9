//! What is remembered of a daemon that was started by hand.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::layout::{Kind, Layout};

/// One daemon that we started, as stored in the state directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The daemon.
    pub(crate) daemon: Identity,
    /// The containerd that dockerd started for itself.
    pub(crate) containerd: Option<Identity>,
    /// iptables' policy for FORWARD before dockerd set it to DROP.
    pub(crate) forward_policy: Option<String>,
}

impl Record {
    /// Reads the record; `None` if there is none.
    pub(crate) fn load(layout: &Layout, kind: Kind) -> Result<Option<Self>> {
        let path = layout.record(kind);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("read {}", path.display()))
    }

    /// Writes the record in one step.
    pub(crate) fn save(&self, layout: &Layout, kind: Kind) -> Result<()> {
        let path = layout.record(kind);
        let next = path.with_extension("next");
        fs::write(&next, serde_json::to_string_pretty(self)?)
            .and_then(|()| fs::rename(&next, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Removes the record, if there is one.
    pub(crate) fn remove(layout: &Layout, kind: Kind) -> Result<()> {
        match fs::remove_file(layout.record(kind)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path())).unwrap();
        layout.create().unwrap();
        assert_eq!(Record::load(&layout, Kind::Docker).unwrap(), None);
        let daemon = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let record = Record {
            daemon,
            containerd: None,
            forward_policy: Some("ACCEPT".to_owned()),
        };
        record.save(&layout, Kind::Docker).unwrap();
        assert_eq!(Record::load(&layout, Kind::Docker).unwrap(), Some(record));
        Record::remove(&layout, Kind::Docker).unwrap();
        assert_eq!(Record::load(&layout, Kind::Docker).unwrap(), None);
    }
}
