//! The one list of runtimes. A new one is a line here.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use statefork_runtime::{Image, Result, Runtime, RuntimeOptions};

/// A runtime that this program knows.
pub(crate) struct Factory {
    /// Its name in configuration, command line and log.
    pub(crate) name: &'static str,
    /// Opens it; nobody is contacted.
    pub(crate) open: fn(&RuntimeOptions) -> Result<Arc<dyn Runtime>>,
    /// Where the runtime itself takes more than archives as `docker save` writes them, under the names
    /// that they have.
    pub(crate) import: Option<Import>,
}

/// How an image is imported from a file or folder of this machine, under a name if one is given.
pub(crate) type Import =
    for<'a> fn(&'a RuntimeOptions, &'a Path, Option<&'a str>) -> BoxFuture<'a, Result<Image>>;

/// All of them, in the order in which people are told of them.
pub(crate) const ALL: [Factory; 3] = [
    Factory {
        name: "docker",
        open: |options| Ok(Arc::new(statefork_docker::open(options)?)),
        import: None,
    },
    Factory {
        name: "podman",
        open: |options| Ok(Arc::new(statefork_podman::open(options)?)),
        import: None,
    },
    Factory {
        name: statefork_native::NAME,
        open: |options| Ok(Arc::new(statefork_native::open(options)?)),
        import: Some(|options, path, name| {
            async move {
                statefork_native::open(options)?
                    .import_from(path, name)
                    .await
            }
            .boxed()
        }),
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

/// Those that are no daemons and keep what they have in a storage.
pub(crate) const EMBEDDED: [&str; 1] = [statefork_native::NAME];

/// Their names as a sentence has them.
pub(crate) fn listed() -> String {
    match NAMES.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The runtime of a name that the configuration has checked.
pub(crate) fn by_name(name: &str) -> Option<&'static Factory> {
    const LIST: &[Factory] = &ALL;
    LIST.iter().find(|factory| factory.name == name)
}
