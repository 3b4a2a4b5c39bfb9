//! `image`: the runtime's images.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde::Serialize;
use statefork_core::CoreError;
use statefork_runtime::{Image as RuntimeImage, ObjectKind, RuntimeError};
use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::progress::Progress;

/// Import and remove the runtime's images
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  statefork -r native image import app.tar")]
pub(crate) struct Image {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Take an image from an archive, under the names that it has there
    ///
    /// The archive is one as `docker save`, `podman save` or a builder writes it. Native also takes OCI
    /// archives, OCI layouts, root file systems as a tar archive or a folder, and compressed archives.
    #[command(
        after_help = "Example:\n  statefork -r native image import app.tar\n  \
                      statefork -r native image import --name localhost/app:1 rootfs/"
    )]
    Import {
        /// The archive, or for native a folder
        #[arg(value_name = "FILE|DIR")]
        file: PathBuf,
        /// A name for it, instead of those in the archive (native only)
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Remove names of images, and images with their last name
    #[command(after_help = "Example:\n  statefork -r native image rm localhost/app:latest")]
    Rm {
        /// Names with tags, or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

#[derive(Serialize)]
struct ImportDocument {
    id: String,
    names: Vec<String>,
    size_bytes: u64,
}

#[derive(Serialize)]
struct RemoveDocument<'a> {
    removed: &'a [String],
}

impl Image {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        match &self.command {
            ImageCommand::Import { file, name } => import(call, file, name.as_deref()).await,
            ImageCommand::Rm { images } => remove(call, images).await,
        }
    }
}

async fn import(call: &Call<'_>, path: &Path, name: Option<&str>) -> Result<()> {
    let session = call.session;
    session.home()?;
    let factory = session.factory()?;
    let options = session.runtime_options(factory)?;
    let progress = Progress::new(session.output, false);
    let during = format!("importing {}", path.display());
    let image = match (factory.import, name) {
        (Some(import), _) => {
            let importing = call.interrupt.or(import(&options, path, name));
            progress.during(&during, importing).await?
        }
        (None, None) => {
            let importing = call.interrupt.or(import_archive(call, path));
            progress.during(&during, importing).await?
        }
        (None, Some(_)) => {
            return Err(Failure::Runtime(RuntimeError::Unsupported {
                op: "give an image that is imported another name",
                reason: format!(
                    "{} takes the names from the archive; native can",
                    factory.name
                ),
            }));
        }
    };
    let document = || ImportDocument {
        id: image.id.to_string(),
        names: image.names.clone(),
        size_bytes: image.size_bytes,
    };
    call.answer(document, |_| {
        let names = image.names.iter().map(String::as_str);
        let named: Vec<&str> = match image.names.is_empty() {
            true => vec![image.id.short()],
            false => names.collect(),
        };
        format!("{}\n", named.join("\n"))
    })
}

/// Imports an archive as `docker save` writes it.
async fn import_archive(call: &Call<'_>, path: &Path) -> Result<RuntimeImage> {
    let unreadable = |source| CoreError::Io {
        op: "read",
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    if file.metadata().await.map_err(unreadable)?.is_dir() {
        return Err(Failure::Runtime(RuntimeError::Unsupported {
            op: "import a folder as an image",
            reason: "the runtime takes archives only; native can".to_owned(),
        }));
    }
    let runtime = call.session.runtime()?;
    let id = runtime
        .import_image(ReaderStream::new(file).boxed())
        .await?;
    let image = runtime.inspect_image(id.as_str()).await?;
    image.ok_or_else(|| {
        Failure::Runtime(RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: id.to_string(),
        })
    })
}

async fn remove(call: &Call<'_>, images: &[String]) -> Result<()> {
    call.session.home()?;
    let runtime = call.session.runtime()?;
    let progress = Progress::new(call.session.output, false);
    let removing = async {
        for image in images {
            runtime.remove_image(image).await?;
        }
        Ok::<(), RuntimeError>(())
    };
    progress.during("removing", removing).await?;
    let document = || RemoveDocument { removed: images };
    call.answer(document, |_| {
        images.iter().map(|image| format!("{image}\n")).collect()
    })
}
