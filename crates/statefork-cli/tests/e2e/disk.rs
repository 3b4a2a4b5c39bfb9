//! A disk of a test's own, small enough to be filled, and daemons that store on one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file, mounted; it takes root.
pub(crate) struct SmallDisk {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    /// Makes one beside its mount point.
    pub(crate) fn mount(path: &Path, mebibytes: u64) -> Self {
        let image = path.with_extension("img");
        let file = File::create(&image).unwrap();
        file.set_len(mebibytes * 1024 * 1024).unwrap();
        run(Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image));
        std::fs::create_dir(path).unwrap();
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(path));
        Self {
            path: path.to_owned(),
        }
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.path).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Fills it to the last block.
    pub(crate) fn fill(&self) -> Filling {
        let path = self.path.join("filling");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 10] {
            let bytes = vec![b'x'; size];
            let full = loop {
                if let Err(error) = file.write_all(&bytes) {
                    break error;
                }
            };
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        }
        file.sync_all().unwrap();
        Filling(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        if device(&self.path) == device(self.path.parent().unwrap()) {
            // With what a daemon had mounted below it.
            return;
        }
        run(Command::new("umount").arg(&self.path));
    }
}

/// What fills a disk, until it is dropped.
pub(crate) struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A daemon of a test's own, which stores on a small disk.
pub(crate) struct Daemon {
    /// The disk.
    pub(crate) disk: SmallDisk,
    runtime: &'static str,
    state: PathBuf,
}

impl Daemon {
    /// Starts one that keeps everything in a folder.
    pub(crate) fn start(runtime: &'static str, state: &Path, mebibytes: u64) -> Self {
        std::fs::create_dir(state).unwrap();
        let data = state.join(format!("{runtime}-data"));
        let daemon = Self {
            disk: SmallDisk::mount(&data, mebibytes),
            runtime,
            state: state.to_owned(),
        };
        daemon.xtask("up");
        daemon
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join(format!("{}.sock", self.runtime))
    }

    /// Kills it, and starts it again with what it had.
    pub(crate) fn restart(&self) {
        let record = crate::host::read_json(&self.state.join(format!("{}.json", self.runtime)));
        let pid = i32::try_from(record["daemon"]["pid"].as_i64().unwrap()).unwrap();
        crate::host::kill(rustix::process::Pid::from_raw(pid).unwrap());
        self.xtask("up");
    }

    fn xtask(&self, command: &str) {
        run(Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["xtask", "daemons", command, self.runtime, "--state-dir"])
            .arg(&self.state));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.xtask("down");
        self.end_monitors();
    }
}

impl Daemon {
    /// Podman's monitors of exec sessions, which would go on for five minutes after those and keep
    /// the disk.
    fn end_monitors(&self) {
        let state = self.state.display().to_string();
        for process in std::fs::read_dir("/proc").unwrap() {
            let folder = process.unwrap().path();
            let words = std::fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
            let name = folder.file_name().unwrap().to_string_lossy();
            if let Ok(pid) = name.parse()
                && words
                    .split('\0')
                    .next()
                    .is_some_and(|program| program.ends_with("/conmon"))
                && words.contains(&state)
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                // One that has ended meanwhile is what was wanted.
                match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => panic!("end process {name}: {error}"),
                }
            }
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // A second panic would hide the first, and what else is to be ended.
    if !output.status.success() && std::thread::panicking() {
        println!("{command:?}: {said}");
        return;
    }
    assert!(output.status.success(), "{command:?}: {said}");
}
