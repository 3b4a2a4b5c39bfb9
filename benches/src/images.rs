//! The images that the benchmarks run, from the archives that `cargo xtask image` makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use statefork_runtime::Runtime;
use tokio_util::io::ReaderStream;

/// An image and its archive.
#[derive(Clone, Copy, Debug)]
pub struct ImageArchive {
    /// The name that the archive gives the image.
    pub name: &'static str,
    /// The variable that holds the archive's path.
    variable: &'static str,
    /// The archive's name where the variable is not set.
    file: &'static str,
}

/// The small image of the tests.
pub const BUSYBOX: ImageArchive = ImageArchive {
    name: "localhost/statefork-busybox:latest",
    variable: "STATEFORK_TEST_IMAGE",
    file: "busybox.tar",
};

/// The application that is versioned.
pub const TARGET_APP: ImageArchive = ImageArchive {
    name: "localhost/target-app:latest",
    variable: "STATEFORK_TEST_APP",
    file: "target-app.tar",
};

impl ImageArchive {
    /// Imports it, unless the runtime has it; whether it had to.
    pub async fn import(&self, runtime: &dyn Runtime) -> Result<bool> {
        if runtime.inspect_image(self.name).await?.is_some() {
            return Ok(false);
        }
        let path = match std::env::var_os(self.variable) {
            Some(path) => PathBuf::from(path),
            None => Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../target/xtask")
                .join(self.file),
        };
        let file = tokio::fs::File::open(&path)
            .await
            .with_context(|| format!("open {}; `cargo xtask image` makes it", path.display()))?;
        runtime
            .import_image(ReaderStream::new(file).boxed())
            .await?;
        Ok(true)
    }
}
