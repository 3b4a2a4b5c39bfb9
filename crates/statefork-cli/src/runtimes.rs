//! The one list of runtimes. A new one is a line here.

use std::sync::Arc;

use statefork_runtime::{Result, Runtime, RuntimeOptions};

/// A runtime that this program knows.
pub(crate) struct Factory {
    /// Its name in configuration, command line and log.
    pub(crate) name: &'static str,
    /// Opens it; nobody is contacted.
    pub(crate) open: fn(&RuntimeOptions) -> Result<Arc<dyn Runtime>>,
}

/// All of them, in the order in which people are told of them.
pub(crate) const ALL: [Factory; 2] = [
    Factory {
        name: "docker",
        open: |options| Ok(Arc::new(statefork_docker::open(options)?)),
    },
    Factory {
        name: "podman",
        open: |options| Ok(Arc::new(statefork_podman::open(options)?)),
    },
];

/// Their names.
pub(crate) const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ALL[index].name;
        index += 1;
    }
    names
};

/// The runtime of a name that the configuration has checked.
pub(crate) fn by_name(name: &str) -> Option<&'static Factory> {
    const LIST: &[Factory] = &ALL;
    LIST.iter().find(|factory| factory.name == name)
}
