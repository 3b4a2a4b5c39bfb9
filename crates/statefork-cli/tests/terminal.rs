//! The shell at a terminal: what a person sees who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// No answer takes as long.
const LIMIT: Duration = Duration::from_secs(20);
/// How a program asks where the cursor is, and an answer (ECMA-48, 8.3.35 and 8.3.14).
const ASK_CURSOR: &str = "\x1b[6n";
const CURSOR: &[u8] = b"\x1b[1;1R";

/// The shell, and the terminal that it runs at.
struct Terminal {
    child: Child,
    keyboard: File,
    /// Our end of what the shell has, to look at its modes.
    line: OwnedFd,
    pieces: Receiver<Vec<u8>>,
    screen: String,
    folder: tempfile::TempDir,
}

impl Terminal {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With arguments.
    fn with(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&control).unwrap();
        unlockpt(&control).unwrap();
        let name = ptsname(&control, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let line = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
        tcsetwinsize(
            &line,
            Winsize {
                ws_row: 40,
                ws_col: 120,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_statefork"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATEFORK_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(args)
            .env("TERM", "xterm")
            .env("STATEFORK_HOME", folder.path().join("home"))
            .current_dir(folder.path())
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keyboard = File::from(control);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = screen.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            line,
            pieces,
            screen: String::new(),
            folder,
        }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has shown a text, and forgets what came up to it.
    fn shows(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            let left = LIMIT.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("no {text:?} in {:?}", self.screen));
            match self.pieces.recv_timeout(left) {
                Ok(piece) => {
                    let piece = String::from_utf8_lossy(&piece).into_owned();
                    if piece.contains(ASK_CURSOR) {
                        self.keyboard.write_all(CURSOR).unwrap();
                    }
                    self.screen.push_str(&piece);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("closed: {:?}", self.screen),
            }
        }
    }

    fn prompt(&mut self) {
        self.shows("StateFork > ");
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    }

    fn code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_person_types() {
    let mut terminal = Terminal::new();
    terminal.shows("StateFork Container Manager");
    terminal.shows("restore");
    terminal.shows("`up IMAGE` starts one");
    terminal.prompt();
    terminal.keys("nonsense\r");
    terminal.shows("'nonsense'");
    terminal.prompt();
    // Tab completes, and the line runs.
    terminal.keys("hel\tres\t\r");
    terminal.shows("Usage: restore [OPTIONS] <REV>");
    terminal.prompt();
    // Ctrl-C gives up the line, not the shell.
    terminal.keys("restore ba\x03");
    terminal.prompt();
    terminal.keys("list\r");
    terminal.shows("no snapshots");
    terminal.prompt();
    terminal.keys("\x04");
    terminal.shows("containers go on running");
    assert_eq!(terminal.code(), Some(0));
    assert!(!terminal.is_raw());
    let history = terminal.folder.path().join("home/shell_history");
    let history = std::fs::read_to_string(history).unwrap();
    assert!(
        history.contains("nonsense\nhelp restore \nlist"),
        "{history}"
    );
}

#[test]
fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
    let mut terminal = Terminal::new();
    terminal.prompt();
    terminal.keys("li");
    terminal.shows("li");
    assert!(terminal.is_raw());
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(terminal.code(), Some(130));
    assert!(!terminal.is_raw());
}

#[test]
fn the_prompt_names_another_branch_than_main() {
    let mut terminal = Terminal::with(&["-b", "trial"]);
    terminal.shows("StateFork (trial) > ");
    terminal.keys("\x04");
    assert_eq!(terminal.code(), Some(0));
}
