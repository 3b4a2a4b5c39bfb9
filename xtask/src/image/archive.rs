//! Writing images as docker-archives, the form that `docker load` and `podman load` both take:
//! a tar of `manifest.json`, the image's configuration (OCI image-spec, `config.md`) and its one
//! layer. The same inputs give the same bytes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The modification time of everything in an archive: 2024-01-01.
const MTIME: u64 = 1_704_067_200;

/// The same, as the image's configuration writes it.
const CREATED: &str = "2024-01-01T00:00:00Z";

/// A layer that is being written.
pub(crate) struct Layer {
    builder: Builder<Hashing<BufWriter<File>>>,
    path: PathBuf,
}

/// A layer that is complete.
pub(crate) struct Finished {
    path: PathBuf,
    digest: String,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Layer {
    /// Starts a layer as a new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            builder: Builder::new(Hashing::new(BufWriter::new(file))),
            path: path.to_owned(),
        })
    }

    /// Adds a directory.
    pub(crate) fn dir(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, owner, owner);
        Ok(self.builder.append_data(&mut header, path, io::empty())?)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, 0, 0);
        header.set_size(content.len() as u64);
        Ok(self.builder.append_data(&mut header, path, content)?)
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0, 0);
        Ok(self.builder.append_link(&mut header, path, target)?)
    }

    /// Adds all that lies in a directory of the host, sorted by name, except what `skip` says of
    /// paths relative to it. Sockets and devices are left out: a container gets its own.
    pub(crate) fn tree(&mut self, root: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<()> {
        let mut inodes = HashMap::new();
        self.subtree(root, Path::new(""), skip, &mut inodes)
    }

    fn subtree(
        &mut self,
        root: &Path,
        below: &Path,
        skip: &dyn Fn(&Path) -> bool,
        inodes: &mut HashMap<u64, PathBuf>,
    ) -> Result<()> {
        let dir = root.join(below);
        let mut names: Vec<_> = fs::read_dir(&dir)
            .and_then(|entries| {
                entries
                    .map(|e| Ok(e?.file_name()))
                    .collect::<io::Result<_>>()
            })
            .with_context(|| format!("list {}", dir.display()))?;
        names.sort();
        for name in names {
            let path = below.join(name);
            if !skip(&path) {
                self.entry(root, &path, inodes)
                    .with_context(|| format!("pack {}", path.display()))?;
                if root.join(&path).symlink_metadata()?.is_dir() {
                    self.subtree(root, &path, skip, inodes)?;
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        root: &Path,
        path: &Path,
        inodes: &mut HashMap<u64, PathBuf>,
    ) -> Result<()> {
        let host = root.join(path);
        let meta = host.symlink_metadata()?;
        let kind = meta.file_type();
        let new = |entry| {
            header(
                entry,
                meta.mode() & 0o7777,
                meta.uid().into(),
                meta.gid().into(),
            )
        };
        if kind.is_dir() {
            self.builder
                .append_data(&mut new(EntryType::Directory), path, io::empty())?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&host)?;
            self.builder
                .append_link(&mut new(EntryType::Symlink), path, target)?;
        } else if kind.is_file() {
            if meta.nlink() > 1
                && let Some(first) = inodes.insert(meta.ino(), path.to_owned())
            {
                self.builder
                    .append_link(&mut new(EntryType::Link), path, &first)?;
                inodes.insert(meta.ino(), first);
                return Ok(());
            }
            let mut header = new(EntryType::Regular);
            header.set_size(meta.len());
            self.builder
                .append_data(&mut header, path, File::open(&host)?)?;
        } else if kind.is_fifo() {
            self.builder
                .append_data(&mut new(EntryType::Fifo), path, io::empty())?;
        }
        Ok(())
    }

    /// Ends the layer.
    pub(crate) fn finish(self) -> Result<Finished> {
        let (digest, size) = self.builder.into_inner()?.finish()?;
        Ok(Finished {
            path: self.path,
            digest,
            size,
        })
    }
}

/// Writes an image of one layer. `config` is the `config` object of the OCI image configuration.
pub(crate) fn write(archive: &Path, tag: &str, config: &Value, layer: &Finished) -> Result<()> {
    let image = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": CREATED,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        "history": [{"created": CREATED, "created_by": "cargo xtask image"}],
    });
    let image = serde_json::to_vec(&image)?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&image)));
    let layer_name = format!("{}.tar", layer.digest);
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [tag],
        "Layers": [layer_name],
    }]);
    let mut builder = Builder::new(BufWriter::new(File::create(archive)?));
    let mut append = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = header(EntryType::Regular, 0o644, 0, 0);
        header.set_size(size);
        builder.append_data(&mut header, name, content)
    };
    let manifest = serde_json::to_vec(&manifest)?;
    append(
        "manifest.json",
        manifest.len() as u64,
        &mut manifest.as_slice(),
    )?;
    append(&config_name, image.len() as u64, &mut image.as_slice())?;
    append(&layer_name, layer.size, &mut File::open(&layer.path)?)?;
    builder.into_inner()?.flush()?;
    Ok(())
}

/// The machine's architecture as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header(entry: EntryType, mode: u32, uid: u64, gid: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(MTIME);
    header.set_size(0);
    header
}

/// A writer that knows the digest and the length of what went through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn finish(mut self) -> io::Result<(String, u64)> {
        self.inner.flush()?;
        Ok((hex(&self.hash.finalize()), self.size))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
