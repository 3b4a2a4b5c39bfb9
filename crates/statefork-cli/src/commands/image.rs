//! `image`: the runtime's images.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde::Serialize;
use statefork_core::{CoreError, is_own_image};
use statefork_runtime::{Image as RuntimeImage, ObjectKind, RuntimeError, named_images};
use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::text::{Layout, size, table};

/// List, import and remove the runtime's images
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
    /// List the images that have a name
    ///
    /// Those that StateFork made, of snapshots and builds (`statefork.local/…`), are left out.
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  statefork -r native image ls"
    )]
    Ls,
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
struct ListDocument<'a> {
    images: Vec<ListedDocument<'a>>,
}

#[derive(Serialize)]
struct ListedDocument<'a> {
    id: &'a str,
    names: &'a [String],
    size_bytes: u64,
    layers: u32,
}

#[derive(Serialize)]
struct RemoveDocument<'a> {
    removed: &'a [String],
}

impl Image {
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        match &self.command {
            ImageCommand::Import { file, name } => import(call, file, name.as_deref()).await,
            ImageCommand::Ls => list(call).await,
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

async fn list(call: &Call<'_>) -> Result<()> {
    call.session.home()?;
    let runtime = call.session.runtime()?;
    let images = call.interrupt.or(runtime.list_images()).await?;
    let images = without_own(images);
    let document = || ListDocument {
        images: images.iter().map(listed).collect(),
    };
    call.answer(document, |layout| shown(&images, layout))?;
    if images.is_empty() && !call.session.output.json {
        call.session
            .output
            .remark("no images: `statefork image import FILE` takes one");
    }
    Ok(())
}

/// Images by the names that are not ours; those that have no other are left out.
fn without_own(mut images: Vec<RuntimeImage>) -> Vec<RuntimeImage> {
    for image in &mut images {
        image.names.retain(|name| !is_own_image(name));
    }
    named_images(images)
}

fn listed(image: &RuntimeImage) -> ListedDocument<'_> {
    ListedDocument {
        id: image.id.as_str(),
        names: &image.names,
        size_bytes: image.size_bytes,
        layers: image.layers,
    }
}

/// A row for each name.
fn shown(images: &[RuntimeImage], layout: Layout) -> String {
    if images.is_empty() {
        return String::new();
    }
    let rows = images.iter().flat_map(|image| {
        image.names.iter().map(|name| {
            [
                name.clone(),
                image.id.short().to_owned(),
                size(image.size_bytes),
                image.layers.to_string(),
            ]
        })
    });
    table(["NAME", "ID", "SIZE", "LAYERS"], rows, layout)
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

#[cfg(test)]
mod tests {
    use statefork_runtime::ImageId;

    use super::*;
    use crate::style::Style;

    fn image(digit: char, names: &[&str]) -> RuntimeImage {
        RuntimeImage {
            id: ImageId::new(format!("sha256:{}", digit.to_string().repeat(64))),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            config: Default::default(),
            size_bytes: 1_500_000,
            layers: 2,
        }
    }

    #[test]
    fn our_own_names_are_left_out() {
        let images = without_own(vec![
            image('a', &["statefork.local/shop:0123456789ab"]),
            image('b', &["localhost/shop:2", "statefork.local/shop:build-1"]),
            image('c', &["docker.io/library/busybox:latest", "localhost/a:1"]),
        ]);
        let layout = Layout {
            style: Style::PLAIN,
            width: None,
        };
        insta::assert_snapshot!(shown(&images, layout), @"
        NAME                              ID            SIZE     LAYERS
        docker.io/library/busybox:latest  cccccccccccc  1.50 MB  2
        localhost/a:1                     cccccccccccc  1.50 MB  2
        localhost/shop:2                  bbbbbbbbbbbb  1.50 MB  2
        ");
        assert_eq!(shown(&[], layout), "");
    }
}
