//! One environment of a test: its own home, its own name, the real binary, the real daemon.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use statefork_conformance::Probed;
use statefork_core::Home;
use statefork_runtime::{Runtime, RuntimeOptions};
use tokio_util::io::ReaderStream;

use crate::disk::{Daemon, SmallDisk};
use crate::target_app::App;

/// target-app's image.
pub(crate) const APP: &str = "localhost/target-app:latest";
/// The small image.
pub(crate) const BUSYBOX: &str = "localhost/statefork-busybox:latest";
/// The runtime that is no daemon.
const NATIVE: &str = "native";
/// No command of a test takes as long.
const LIMIT: Duration = Duration::from_secs(150);

/// An environment; what it made is removed when it is dropped.
pub(crate) struct World {
    /// The runtime's name.
    pub(crate) runtime: &'static str,
    /// The environment's name.
    pub(crate) name: String,
    // In this order: a daemon ends, and a disk is unmounted, before their folder is removed.
    daemon: Option<Daemon>,
    disk: Option<SmallDisk>,
    /// Whether native's storage is its own.
    own_storage: bool,
    folder: Arc<tempfile::TempDir>,
}

/// How a command ended.
pub(crate) struct Ended {
    /// The exit code; -1 for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl World {
    /// A new home, on a runtime that has the images.
    pub(crate) fn new(runtime: &'static str) -> Self {
        provide_images(runtime);
        let folder = tempfile::Builder::new().prefix("sf-").tempdir().unwrap();
        let world = Self {
            runtime,
            name: new_name(),
            daemon: None,
            disk: None,
            own_storage: false,
            folder: Arc::new(folder),
        };
        world.configure("");
        world.probe();
        world
    }

    /// Keeps in the home what is known of the daemon, as if it had been probed from there.
    fn probe(&self) {
        let probed = on(self.runtime, &RuntimeOptions::default(), async |runtime| {
            Ok(Probed::of(runtime, Path::new(env!("CARGO_TARGET_TMPDIR"))).await)
        });
        let Probed {
            fingerprint,
            capabilities,
        } = probed.unwrap();
        Home::open(&self.home()).unwrap();
        let capabilities = serde_json::to_string(&capabilities).unwrap();
        let store = rusqlite::Connection::open(self.home().join("store.sqlite")).unwrap();
        store
            .execute(
                "INSERT INTO probes VALUES (?1, ?2, ?3)",
                (self.runtime, fingerprint, capabilities),
            )
            .unwrap();
    }

    /// Another environment in the same home.
    pub(crate) fn neighbour(&self) -> Self {
        Self {
            runtime: self.runtime,
            name: new_name(),
            daemon: None,
            disk: None,
            own_storage: self.own_storage,
            folder: self.folder.clone(),
        }
    }

    /// Puts the home, in which there is no environment yet, on a small disk.
    pub(crate) fn on_small_disk(&mut self, mebibytes: u64) {
        std::fs::remove_dir_all(self.home()).unwrap();
        self.disk = Some(SmallDisk::mount(&self.home(), mebibytes));
    }

    /// The disk of [`World::on_small_disk`].
    pub(crate) fn home_disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    /// Goes on with a daemon of its own, which stores on a small disk and has the small image.
    pub(crate) fn with_own_daemon(mut self, mebibytes: u64) -> Self {
        let state = self.folder().join("daemon");
        self.daemon = Some(Daemon::start(self.runtime, &state, mebibytes));
        self.configure("");
        self.on(async |runtime| provide(runtime, BUSYBOX).await);
        self
    }

    /// Restarts the daemon of [`World::with_own_daemon`].
    pub(crate) fn restart_daemon(&self) {
        self.daemon.as_ref().unwrap().restart();
    }

    /// The disk of [`World::with_own_daemon`].
    pub(crate) fn daemon_disk(&self) -> &SmallDisk {
        &self.daemon.as_ref().unwrap().disk
    }

    /// Goes on with a storage of native of its own, which has the small image.
    pub(crate) fn with_own_storage(mut self) -> Self {
        self.own_storage = true;
        self.configure("");
        self.on(async |runtime| provide(runtime, BUSYBOX).await);
        self
    }

    /// Where native keeps what it has; all tests share one but for [`World::with_own_storage`].
    pub(crate) fn storage(&self) -> PathBuf {
        match self.own_storage {
            true => self.folder().join("storage"),
            false => storage(),
        }
    }

    /// A folder for the test's own files; the commands' working directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes the configuration that the commands find in their working directory. Process 1 of
    /// most tests does not hear a polite stop, so it is given little time.
    pub(crate) fn configure(&self, yaml: &str) {
        let place = match &self.daemon {
            Some(daemon) => Some(format!("socket: {}", daemon.socket().display())),
            None if self.runtime == NATIVE => {
                Some(format!("storage: {}", self.storage().display()))
            }
            None => None,
        };
        let place = place.map_or_else(String::new, |place| {
            format!("runtimes: {{{}: {{{place}}}}}\n", self.runtime)
        });
        // Most tests count containers: they ask for prepared ones where they mean them.
        let standby = match yaml.contains("standby:") {
            true => "",
            false => "standby: none\n",
        };
        let yaml = format!("stop: {{timeout: 200ms}}\n{place}{standby}{yaml}");
        let path = self.folder.path().join("statefork.yaml");
        std::fs::write(&path, yaml).unwrap();
        // One that others can write is refused, whatever the caller's umask.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The binary with the flags that name this environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statefork"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATEFORK_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder.path())
            .arg("--home")
            .arg(self.home())
            .args(["-e", &self.name, "-r", self.runtime])
            // By which what it starts is found.
            .env("SF_TEST", &self.name)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(self.spawn(args))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let Ended {
            code,
            stdout,
            stderr,
        } = self.run(args);
        assert_eq!(code, 0, "{args:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs a command with `--json` that must succeed, and returns its document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args = [&["--json"], args].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Runs a command that must fail with this code, and returns its standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(
            ended.code, code,
            "{args:?}\n{}\n{}",
            ended.stdout, ended.stderr
        );
        assert!(
            ended.stderr.starts_with("error: failed to "),
            "{}",
            ended.stderr
        );
        ended.stderr
    }

    /// Runs a command with an input.
    pub(crate) fn pipe(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // It may end before it has read everything.
        let written = child.stdin.take().unwrap().write_all(input.as_ref());
        let ended = ended(child);
        assert!(written.is_ok() || ended.code != 0, "{written:?}");
        ended
    }

    /// Brings target-app up and returns where it answers.
    pub(crate) fn up_app(&self) -> App {
        let document = self.json(&["up", APP, "-p", "8000"]);
        App::of(&document)
    }

    /// Brings the small image up with a command.
    pub(crate) fn up_busybox(&self, script: &str) -> Value {
        self.json(&["up", BUSYBOX, "--", "sh", "-c", script])
    }

    /// Runs a shell command in the container; it must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.ok(&["exec", "--", "sh", "-c", script])
    }

    /// Takes a snapshot and returns its id.
    pub(crate) fn snapshot(&self) -> String {
        text(&self.json(&["snapshot"])["id"])
    }

    /// What the runtime still has of this home, in words.
    pub(crate) fn left_in_runtime(&self) -> Vec<String> {
        let home = Home::open(&self.home()).unwrap().id().clone();
        let found = self.on(async |runtime| runtime.find(&home).await);
        found.iter().map(|found| format!("{found:?}")).collect()
    }

    /// Removes the environment's container without a word to us.
    pub(crate) fn remove_behind_our_back(&self, container: &str) {
        let id = statefork_runtime::ContainerId::new(container);
        self.on(async |runtime| runtime.remove(&id).await);
    }

    /// Runs work on the runtime, without the command line.
    pub(crate) fn on<T>(
        &self,
        work: impl AsyncFnOnce(&dyn Runtime) -> statefork_runtime::Result<T>,
    ) -> T {
        let options = RuntimeOptions {
            socket: self.daemon.as_ref().map(Daemon::socket),
            storage: self.own_storage.then(|| self.storage()),
            ..RuntimeOptions::default()
        };
        on(self.runtime, &options, work)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.home().exists() {
            return;
        }
        let ended = self.run(&["down", "--purge"]);
        if std::thread::panicking() {
            return;
        }
        // Never up, or purged by the test itself.
        assert!(matches!(ended.code, 0 | 3), "{}", ended.stderr);
        // The home's last environment.
        if Arc::strong_count(&self.folder) == 1 {
            assert_eq!(self.left_in_runtime(), [""; 0]);
            let identities = std::fs::read_dir(self.home().join("identity"));
            let left = identities.map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "files of containers are left");
        }
    }
}

/// Where native keeps what most tests share.
fn storage() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("native")
}

fn new_name() -> String {
    format!("t{:08x}x", rand::random::<u32>())
}

/// Adds a branch without a container at a revision.
pub(crate) fn add_branch(world: &World, name: &str, revision: &str) {
    let head = text(&world.json(&["show", revision])["id"]);
    let store = rusqlite::Connection::open(world.home().join("store.sqlite")).unwrap();
    let added = store.execute(
        "INSERT INTO branches (environment, name, head, ports, created_at)
         SELECT environment, ?1, position, '[]', created_at FROM snapshots WHERE id = ?2",
        (name, head),
    );
    assert_eq!(added.unwrap(), 1);
}

/// Waits for a process, up to the limit of every command.
pub(crate) fn ended(child: Child) -> Ended {
    let pid = rustix::process::Pid::from_child(&child);
    let waiting = std::thread::spawn(move || child.wait_with_output());
    let begun = Instant::now();
    while !waiting.is_finished() {
        if begun.elapsed() > LIMIT {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            panic!("a command did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let Output {
        status,
        stdout,
        stderr,
    } = waiting.join().unwrap().unwrap();
    Ended {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Waits until something is there.
pub(crate) fn wait_for(limit: Duration, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < limit, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a process a signal.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// The text of a JSON value.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// Runs work on a runtime, without the command line.
pub(crate) fn on<T>(
    runtime: &str,
    options: &RuntimeOptions,
    work: impl AsyncFnOnce(&dyn Runtime) -> statefork_runtime::Result<T>,
) -> T {
    let runtime: Box<dyn Runtime> = match runtime {
        "docker" => Box::new(statefork_docker::open(options).unwrap()),
        "podman" => Box::new(statefork_podman::open(options).unwrap()),
        NATIVE => Box::new(
            statefork_native::open(&RuntimeOptions {
                storage: Some(options.storage.clone().unwrap_or_else(storage)),
                helper: Some(env!("CARGO_BIN_EXE_statefork-shim").into()),
                ..options.clone()
            })
            .unwrap(),
        ),
        other => panic!("there is no runtime {other}"),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work(runtime.as_ref()))
        .unwrap()
}

/// Imports the images of the tests where the runtime lacks them. Tests run side by side, so one
/// at a time looks.
pub(crate) fn provide_images(runtime: &str) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = std::fs::File::create(target.join(format!("images-{runtime}.lock"))).unwrap();
    lock.lock().unwrap();
    on(runtime, &RuntimeOptions::default(), async |runtime| {
        provide(runtime, BUSYBOX).await?;
        provide(runtime, APP).await
    });
}

/// Imports an image where the runtime lacks it.
async fn provide(runtime: &dyn Runtime, name: &str) -> statefork_runtime::Result<()> {
    if runtime.inspect_image(name).await?.is_some() {
        return Ok(());
    }
    let (variable, file) = match name {
        BUSYBOX => ("STATEFORK_TEST_IMAGE", "busybox.tar"),
        _ => ("STATEFORK_TEST_APP", "target-app.tar"),
    };
    let archive = std::env::var_os(variable).map_or_else(
        || {
            Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join("../xtask")
                .join(file)
        },
        PathBuf::from,
    );
    let file = tokio::fs::File::open(&archive).await;
    let file = file.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask image` makes it",
            archive.display()
        )
    });
    runtime
        .import_image(ReaderStream::new(file).boxed())
        .await?;
    Ok(())
}
