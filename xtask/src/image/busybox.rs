//! The small image of the tests: one static busybox under all its names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::archive::{self, Layer};
use crate::process::{command, find_program, run};

/// The tag in the archive.
pub(crate) const TAG: &str = "localhost/statefork-busybox:latest";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\n";

/// Where busybox lies on this machine.
///
/// # Errors
///
/// When it is not there, or needs libraries that the image has not.
pub(crate) fn program() -> Result<Vec<u8>> {
    let path =
        find_program("busybox").context("busybox was not found: run `cargo xtask setup` first")?;
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    if is_dynamic(&bytes) {
        bail!(
            "{} is not a static program: install busybox-static",
            path.display()
        );
    }
    Ok(bytes)
}

/// Whether an ELF program names an interpreter, as one does that needs shared libraries.
fn is_dynamic(program: &[u8]) -> bool {
    program
        .windows(8)
        .take(0x4000)
        .any(|bytes| bytes == b"/ld-linu")
}

/// Writes the archive.
pub(crate) fn build(scratch: &Path, archive: &Path, program: &[u8]) -> Result<()> {
    let applets = run(command("busybox").arg("--list"))?;
    let mut layer = Layer::create(&scratch.join("busybox-layer.tar"))?;
    for (dir, mode) in [("bin", 0o755), ("dev", 0o755), ("etc", 0o755)] {
        layer.dir(dir, mode, 0)?;
    }
    layer.file("etc/group", 0o644, GROUP.as_bytes())?;
    layer.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    // Runtimes mount their own over these, and need something to mount over.
    for empty in ["etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        layer.file(empty, 0o644, b"")?;
    }
    layer.dir("home", 0o755, 0)?;
    layer.dir("home/app", 0o755, 1000)?;
    layer.dir("proc", 0o555, 0)?;
    layer.dir("root", 0o700, 0)?;
    layer.dir("sys", 0o555, 0)?;
    layer.dir("tmp", 0o1777, 0)?;
    layer.file("bin/busybox", 0o755, program)?;
    for applet in applets.lines().filter(|name| *name != "busybox") {
        layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    let config = json!({
        "Cmd": ["/bin/sh"],
        "Env": ["PATH=/bin"],
        "WorkingDir": "/",
    });
    archive::write(archive, TAG, &config, &layer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_names_an_interpreter_is_dynamic() {
        assert!(is_dynamic(b"\x7fELF...../lib64/ld-linux-x86-64.so.2\0"));
        assert!(!is_dynamic(b"\x7fELF.................................."));
    }
}
