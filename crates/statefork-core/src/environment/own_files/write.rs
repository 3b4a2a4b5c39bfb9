//! Writing files that containers see: new ones whole before they have their name, others in their place.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file that every user can read, in a folder for the caller alone, which is made where it is
/// missing.
pub(super) fn write_new(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    let unnamed = folder.join(format!("{name}.new"));
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
    std::fs::rename(&unnamed, folder.join(name))
}

/// Writes a text over that of a file which is mounted somewhere, so it has to stay the same file. A
/// reader finds a whole document at any moment, perhaps with blanks behind it. Whether there is such a
/// file.
pub(super) fn rewrite(path: &Path, text: &str) -> io::Result<bool> {
    let file = match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let room = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let padded = format!("{text:room$}");
    file.write_all_at(padded.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_rewritten_in_its_place() {
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(!rewrite(&path, "nothing is made").unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "a longer text\n").unwrap();
        let before = path.metadata().unwrap().ino();
        for text in ["short\n", "a text that is longer than both\n"] {
            assert!(rewrite(&path, text).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(path.metadata().unwrap().ino(), before);
    }
}
