//! The fixed vocabulary of commands that run in a container of the fake
//! (the table is in the documentation of [`fake`](super)).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use statefork_runtime::{Stream, TerminalSize};

use super::files::{Tree, Volumes, absolute};

/// The words of the vocabulary.
const WORDS: [&str; 17] = [
    "cat", "crash", "echo", "exit", "false", "hostname", "id", "printenv", "pwd", "rm", "seq",
    "serve", "sleep", "stty", "true", "warn", "write",
];

/// Whether there is such a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// It is a word of the vocabulary.
    Found,
    /// It is a file, and no program.
    NotExecutable,
    /// It is nothing.
    NotFound,
}

/// The circumstances in which a process runs.
#[derive(Clone, Debug)]
pub(super) struct Circumstances {
    /// Environment variables.
    pub(super) env: BTreeMap<String, String>,
    /// Numeric user.
    pub(super) uid: u32,
    /// Working directory.
    pub(super) workdir: PathBuf,
    /// Host name.
    pub(super) hostname: String,
    /// Its terminal, if it has one.
    pub(super) terminal: Option<TerminalSize>,
    /// Whether standard input is connected.
    pub(super) stdin: bool,
}

/// How far a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It ended with this code.
    Ended(i32),
    /// It goes on after this time.
    Asleep(Duration),
    /// It stays until it is told to end.
    Serving,
    /// It copies standard input to standard output.
    Copying,
}

/// A process: the commands that it still has to run.
#[derive(Debug)]
pub(super) struct Process {
    commands: VecDeque<Vec<String>>,
    circumstances: Circumstances,
    last: i32,
}

/// Looks the program of a command up.
pub(super) fn look_up(argv: &[String], tree: &Tree, volumes: &Volumes) -> Lookup {
    let Some(program) = argv.first() else {
        return Lookup::NotFound;
    };
    if WORDS.contains(&word_of(program)) {
        return Lookup::Found;
    }
    match absolute(Path::new("/"), Path::new(program)) {
        Some(path) if program.contains('/') && tree.read(volumes, &path).is_ok() => {
            Lookup::NotExecutable
        }
        _ => Lookup::NotFound,
    }
}

/// `/bin/true` and `/usr/bin/true` are `true`.
fn word_of(program: &str) -> &str {
    program
        .strip_prefix("/usr/bin/")
        .or_else(|| program.strip_prefix("/bin/"))
        .unwrap_or(program)
}

impl Process {
    /// A process that is about to run `argv`, whose program was found.
    pub(super) fn new(argv: &[String], circumstances: Circumstances) -> Self {
        Self {
            commands: argv.split(|word| word == ";").map(<[_]>::to_vec).collect(),
            circumstances,
            last: 0,
        }
    }

    /// Changes the size of its terminal, if it has one.
    pub(super) fn resize(&mut self, size: TerminalSize) {
        if let Some(terminal) = &mut self.circumstances.terminal {
            *terminal = size;
        }
    }

    /// Runs until it ends or has to wait.
    pub(super) fn advance(
        &mut self,
        tree: &mut Tree,
        volumes: &mut Volumes,
        say: &mut dyn FnMut(Stream, Bytes),
    ) -> Progress {
        while let Some(command) = self.commands.pop_front() {
            let Some((program, arguments)) = command.split_first() else {
                continue;
            };
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match (word_of(program), arguments.as_slice()) {
                ("exit", arguments) => {
                    let code = arguments.first().map_or(Ok(self.last), |code| code.parse());
                    return Progress::Ended(code.unwrap_or(2) & 0xff);
                }
                ("crash", text) => {
                    let text = text.join(" ");
                    let text = if text.is_empty() { "crashed" } else { &text };
                    say(Stream::Stderr, line(text));
                    return Progress::Ended(1);
                }
                ("serve", []) => {
                    say(Stream::Stdout, line("serving"));
                    return Progress::Serving;
                }
                ("sleep", [seconds]) => {
                    self.last = 0;
                    match seconds.parse().map(Duration::try_from_secs_f64) {
                        Ok(Ok(duration)) => return Progress::Asleep(duration),
                        _ => self.fail(say, &format!("sleep: invalid number '{seconds}'")),
                    }
                }
                ("cat", []) if self.circumstances.stdin => {
                    self.last = 0;
                    return Progress::Copying;
                }
                (program, arguments) => self.run(program, arguments, tree, volumes, say),
            }
        }
        Progress::Ended(self.last)
    }

    /// Runs a command that needs no waiting.
    fn run(
        &mut self,
        program: &str,
        arguments: &[&str],
        tree: &mut Tree,
        volumes: &mut Volumes,
        say: &mut dyn FnMut(Stream, Bytes),
    ) {
        self.last = 0;
        let here = self.circumstances.workdir.clone();
        let place = |path: &str| absolute(&here, Path::new(path));
        let told = match (program, arguments) {
            ("true", _) | ("cat", []) => Ok(None),
            ("false", _) => Err(String::new()),
            ("echo", text) => Ok(Some(line(&text.join(" ")))),
            ("warn", text) => {
                say(Stream::Stderr, line(&text.join(" ")));
                Ok(None)
            }
            ("seq", [first, last]) => match (first.parse::<u64>(), last.parse::<u64>()) {
                (Ok(first), Ok(last)) => {
                    for number in first..=last {
                        say(Stream::Stdout, line(&number.to_string()));
                    }
                    Ok(None)
                }
                _ => Err("seq: invalid number".into()),
            },
            ("cat", [path]) => place(path)
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
                .and_then(|place| tree.read(volumes, &place))
                .map(Some)
                .map_err(|error| format!("cat: can't open '{path}': {error}")),
            ("write" | "rm", [path, content @ ..]) if content.len() < 2 => {
                let content = content.first().map(|text| Bytes::from((*text).to_owned()));
                if (program == "rm") == content.is_some() {
                    Err(format!("{program}: wrong arguments"))
                } else {
                    place(path)
                        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
                        .and_then(|place| tree.put(volumes, &place, content))
                        .map(|()| None)
                        .map_err(|error| format!("{program}: can't change '{path}': {error}"))
                }
            }
            ("printenv", [name]) => match self.circumstances.env.get(*name) {
                Some(value) => Ok(Some(line(value))),
                None => Err(String::new()),
            },
            ("pwd", []) => Ok(Some(line(&here.display().to_string()))),
            ("id", ["-u"]) => Ok(Some(line(&self.circumstances.uid.to_string()))),
            ("hostname", []) => Ok(Some(line(&self.circumstances.hostname))),
            ("stty", ["size"]) => match self.circumstances.terminal {
                Some(size) => Ok(Some(line(&format!("{} {}", size.rows, size.columns)))),
                None => Err("stty: standard input: not a tty".into()),
            },
            (program, _) if WORDS.contains(&program) => Err(format!("{program}: wrong arguments")),
            (program, _) => {
                say(Stream::Stderr, line(&format!("{program}: not found")));
                self.last = 127;
                return;
            }
        };
        match told {
            Ok(Some(bytes)) => say(Stream::Stdout, bytes),
            Ok(None) => {}
            Err(text) => self.fail(say, &text),
        }
    }

    fn fail(&mut self, say: &mut dyn FnMut(Stream, Bytes), text: &str) {
        if !text.is_empty() {
            say(Stream::Stderr, line(text));
        }
        self.last = 1;
    }
}

fn line(text: &str) -> Bytes {
    Bytes::from(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(argv: &[&str]) -> (Progress, String) {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let mut process = Process::new(
            &argv,
            Circumstances {
                env: BTreeMap::from([("A".into(), "b".into())]),
                uid: 7,
                workdir: "/srv".into(),
                hostname: "box".into(),
                terminal: None,
                stdin: false,
            },
        );
        let mut said = String::new();
        let progress = process.advance(
            &mut Tree::default(),
            &mut Volumes::new(),
            &mut |stream, bytes| {
                said += if stream == Stream::Stderr { "!" } else { "" };
                said += std::str::from_utf8(&bytes).unwrap();
            },
        );
        (progress, said)
    }

    #[test]
    fn commands_run_in_order_until_one_exits() {
        assert_eq!(
            run(&[
                "write", "f", "text\n", ";", "cat", "/srv/f", ";", "rm", "f", ";", "cat", "f", ";",
                "exit", "3", ";", "echo", "never"
            ]),
            (
                Progress::Ended(3),
                "text\n!cat: can't open 'f': entity not found\n".into()
            )
        );
    }

    #[test]
    fn a_process_knows_its_circumstances() {
        assert_eq!(
            run(&[
                "printenv", "A", ";", "pwd", ";", "id", "-u", ";", "hostname", ";", "serve"
            ]),
            (Progress::Serving, "b\n/srv\n7\nbox\nserving\n".into())
        );
        assert_eq!(run(&["stty", "size"]).0, Progress::Ended(1));
        assert_eq!(
            run(&["sleep", "2"]).0,
            Progress::Asleep(Duration::from_secs(2))
        );
    }
}
