//! A folder as a build context: a tar stream without what `.dockerignore` names.

use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use statefork_runtime::ByteStream;
use tokio_util::io::ReaderStream;

use crate::error::{CoreError, Result};

/// Packs a folder into an unlinked temporary file and streams it.
///
/// Errors: the folder or its Dockerfile cannot be read.
pub(crate) fn stream(folder: &Path, dockerfile: &str) -> Result<ByteStream> {
    let io = |op, path: &Path| {
        let path = path.to_owned();
        move |source| CoreError::Io { op, path, source }
    };
    let file = folder.join(dockerfile);
    file.metadata().map_err(io("read Dockerfile", &file))?;
    let ignored = ignored(folder, dockerfile)?;
    let mut archive = tempfile::tempfile().map_err(io("make", &std::env::temp_dir()))?;
    pack(&archive, folder, &ignored).map_err(io("pack build context", folder))?;
    archive
        .flush()
        .and_then(|()| std::io::Seek::rewind(&mut archive))
        .map_err(io("pack build context", folder))?;
    Ok(ReaderStream::new(tokio::fs::File::from_std(archive)).boxed())
}

/// The rules of `.dockerignore`. Its patterns are anchored at the context's root, unlike those of
/// `.gitignore`, whose syntax is otherwise the same. The Dockerfile itself is always sent.
fn ignored(folder: &Path, dockerfile: &str) -> Result<Gitignore> {
    let path = folder.join(".dockerignore");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(CoreError::Io {
                op: "read",
                path,
                source,
            });
        }
    };
    let mut rules = GitignoreBuilder::new(folder);
    let mut add = |rule: &str| {
        rules
            .add_line(None, rule)
            .map(|_| ())
            .map_err(|error| CoreError::Io {
                op: "read",
                path: path.clone(),
                source: std::io::Error::other(error),
            })
    };
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (not, pattern) = match line.strip_prefix('!') {
            Some(pattern) => ("!", pattern.trim_start()),
            None => ("", line),
        };
        let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
        add(&format!("{not}/{pattern}"))?;
    }
    add(&format!("!/{dockerfile}"))?;
    rules.build().map_err(|error| CoreError::Io {
        op: "read",
        path: path.clone(),
        source: std::io::Error::other(error),
    })
}

fn pack(out: impl Write, folder: &Path, ignored: &Gitignore) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    let mut pending = vec![PathBuf::new()];
    while let Some(inner) = pending.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder.join(&inner))?.collect::<std::io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = inner.join(entry.file_name());
            let kind = entry.file_type()?;
            // A folder that is left out is walked all the same: an exception may lie in it.
            let left_out = ignored
                .matched_path_or_any_parents(&path, kind.is_dir())
                .is_ignore();
            if !left_out {
                tar.append_path_with_name(entry.path(), &path)?;
            }
            if kind.is_dir() {
                pending.push(path);
            }
        }
    }
    tar.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[&str], rules: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::fs::write(folder.path().join(".dockerignore"), rules).unwrap();
        let ignored = ignored(folder.path(), "Dockerfile").unwrap();
        let mut bytes = Vec::new();
        pack(&mut bytes, folder.path(), &ignored).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.header().entry_type().is_file())
            .map(|entry| entry.path().unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_the_rules_name_is_left_out_and_the_dockerfile_never() {
        let names = packed(
            &[
                "Dockerfile",
                "app.py",
                "a/app.py",
                "cache/x",
                "cache/keep",
                "b/c.log",
            ],
            "# comment\n*\n!app.py\ncache\n!cache/keep\n",
        );
        assert_eq!(names, ["Dockerfile", "app.py", "cache/keep"]);
    }

    #[test]
    fn a_pattern_is_anchored_at_the_root() {
        let names = packed(
            &["Dockerfile", "x.log", "a/x.log", "a/b/y.log"],
            "*.log\n**/y.log\n",
        );
        assert_eq!(names, [".dockerignore", "Dockerfile", "a/x.log"]);
    }
}
