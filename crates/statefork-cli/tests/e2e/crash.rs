//! SIGKILL of a command at every boundary of its parts: the application answers again without any
//! further command, the next changing command recovers and says what it did, nothing that was
//! published is lost or wrong, and nothing is left that nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::foreign::Foreign;
use crate::http;
use crate::target_app::App;
use crate::world::{BUSYBOX, Ended, World, add_branch, ended, text};

/// How long the application may be away after the command's death.
const AWAY: Duration = Duration::from_secs(5);
/// How long after the next command something may still be there that is removed behind.
const BEHIND: Duration = Duration::from_secs(15);
/// No operation has as many boundaries.
const MOST: usize = 40;

const UP: [&str; 9] = [
    "up", BUSYBOX, "-p", "8000", "--", "httpd", "-f", "-p", "8000",
];

/// An operation that is cut off at each of its boundaries, on one environment.
struct Operation {
    command: &'static [&'static str],
    /// What it needs each time.
    before: fn(&World),
    /// The exit code of one that nobody kills.
    code: i32,
    /// Whether the application runs on.
    runs_on: bool,
}

const STEADY: Operation = Operation {
    command: &[],
    before: |_| (),
    code: 0,
    runs_on: true,
};

pub(crate) fn of_snapshot(world: World) {
    let command = &["snapshot"];
    cut_off_everywhere(&world, &Operation { command, ..STEADY });
}

pub(crate) fn of_step(world: World) {
    let command = &["step"];
    cut_off_everywhere(&world, &Operation { command, ..STEADY });
}

pub(crate) fn of_restore(world: World) {
    let command = &["restore", "first"];
    cut_off_everywhere(&world, &Operation { command, ..STEADY });
}

/// Nothing is left of a branch that is removed next, whose shim nobody asks any more.
pub(crate) fn of_a_restore_whose_branch_goes(world: World) {
    world.json(&UP);
    let left = world.left_in_runtime().len();
    for number in 1..=MOST {
        add_branch(&world, "other", "HEAD");
        let restore = ["-b", "other", "restore", "HEAD"];
        world.ok(&restore);
        let place = cut_off(&world, &restore, number, 0);
        world.ok(&["branch", "rm", "other"]);
        assert_eq!(world.left_in_runtime().len(), left, "{place:?}");
        if place.is_none() {
            return;
        }
    }
    panic!("it does not end within {MOST} boundaries");
}

pub(crate) fn of_rm(world: World) {
    let operation = Operation {
        command: &["rm", "HEAD^"],
        before: |world| drop(world.snapshot()),
        ..STEADY
    };
    cut_off_everywhere(&world, &operation);
}

pub(crate) fn of_tag(world: World) {
    let operation = Operation {
        command: &["tag", "cut"],
        // Gone already if it was cut off before it was there.
        before: |world| drop(world.run(&["tag", "-d", "cut"])),
        ..STEADY
    };
    cut_off_everywhere(&world, &operation);
}

pub(crate) fn of_branch_rm(world: World) {
    let operation = Operation {
        command: &["branch", "rm", "other"],
        before: |world| {
            if named(&world.json(&["branch"])["branches"], "other").is_none() {
                add_branch(world, "other", "HEAD");
            }
            world.json(&["-b", "other", "restore", "HEAD"]);
        },
        ..STEADY
    };
    cut_off_everywhere(&world, &operation);
}

pub(crate) fn of_try(world: World) {
    let operation = Operation {
        command: &["try", "--", "sh", "-c", "echo lost > /other; exit 7"],
        before: |world| drop(world.sh("rm -f /other")),
        code: 7,
        ..STEADY
    };
    cut_off_everywhere(&world, &operation);
}

pub(crate) fn of_down(world: World) {
    let operation = Operation {
        command: &["down"],
        runs_on: false,
        ..STEADY
    };
    cut_off_everywhere(&world, &operation);
}

fn cut_off_everywhere(world: &World, operation: &Operation) {
    let app = App::of(&world.json(&UP));
    let mut known = BTreeMap::new();
    world.sh("echo first > /file");
    known.insert(
        text(&world.json(&["snapshot", "-t", "first"])["id"]),
        "first".to_owned(),
    );
    let mut passed = BTreeSet::new();
    for number in 1..=MOST {
        let content = number.to_string();
        world.sh(&format!("echo {content} > /file"));
        (operation.before)(world);
        let before = State::of(world);
        before.name(&mut known, &content);
        let Some(place) = cut_off(world, operation.command, number, operation.code) else {
            check_passed(world, passed);
            let left = State::of(world).snapshots;
            known.retain(|id, _| left.contains_key(id) || operation.command[0] != "rm");
            check_snapshots(world, &known);
            return;
        };
        if operation.runs_on {
            answers(app, &place);
        }
        let after_tag = format!("after-{number}");
        let next = match operation.runs_on {
            true => world.run(&["tag", &after_tag]),
            false => world.run(&UP),
        };
        let told = told(&next, &place);
        answers(app, &place);
        if operation.command[0] == "try" && told == Told::Finished {
            let is_kept = world.run(&["exec", "--", "test", "-e", "/other"]).code == 0;
            let says_so = next
                .stderr
                .contains("what the tried command has changed stays");
            assert!(says_so || !is_kept, "{place}: {}", next.stderr);
        }
        if operation.runs_on {
            world.ok(&["tag", "-d", &after_tag]);
        }
        let after = State::of(world);
        match told {
            Told::Undone => assert_eq!(after, before, "{place}"),
            Told::Finished | Told::Nothing => assert_ne!(after, before, "{place}"),
        }
        after.name(&mut known, &content);
        after.check(world, &place);
        known.retain(|id, _| {
            let removed = before.snapshots.contains_key(id) && !after.snapshots.contains_key(id);
            assert!(
                !removed || operation.command[0] == "rm",
                "{place}: {id} is lost"
            );
            !removed
        });
        passed.insert(place);
    }
    panic!("it does not end within {MOST} boundaries");
}

/// Each of several forks that were under way is there and answers, or is gone.
pub(crate) fn of_fork(world: World) {
    let app = App::of(&world.json(&UP));
    world.ok(&["snapshot"]);
    check_passed(&world, cut_off_forks(&world, app, 1));
    world.ok(&["branch", "rm", "fork-*"]);
    // On a daemon each one takes much longer, and no other turns are taken.
    let count = match world.runtime {
        "native" => 4,
        _ => 2,
    };
    // They take turns that differ from run to run: not every boundary's number comes up.
    let passed = cut_off_forks(&world, app, count);
    assert!(passed.is_subset(&boundaries(&world)), "{passed:?}");
}

/// Cuts so many forks at once off, at each boundary; with those that were passed.
fn cut_off_forks(world: &World, app: App, count: usize) -> BTreeSet<String> {
    let most = count * MOST;
    let mut passed = BTreeSet::new();
    for number in 1..=most {
        let command = ["fork", "HEAD", "-n", &count.to_string()];
        let Some(place) = cut_off(world, &command, number, 0) else {
            return passed;
        };
        answers(app, &place);
        let next = world.run(&["tag", "after"]);
        assert_eq!(next.code, 0, "{place}: {}", next.stderr);
        let says_so = next.stderr.contains("fork (operation ");
        assert!(says_so || place == "recorded", "{place}: {}", next.stderr);
        world.ok(&["tag", "-d", "after"]);
        let state = State::of(world);
        state.check(world, &place);
        let branches = state.branches.as_array().unwrap();
        branches
            .iter()
            .for_each(|branch| answers(App::of(branch), &place));
        let shims = std::fs::read_dir(world.home().join("shims")).unwrap();
        assert_eq!(shims.count(), branches.len(), "{place}");
        if branches.len() > 1 {
            world.ok(&["branch", "rm", "fork-*"]);
        }
        passed.insert(place);
    }
    panic!("it does not end within {most} boundaries");
}

/// Cut off at each boundary, each time in a new environment.
pub(crate) fn of_up(world: World) {
    // The first probe of a runtime is no part of this.
    world.ok(&["doctor"]);
    let mut passed = BTreeSet::new();
    for number in 1..=MOST {
        let Some(place) = cut_off(&world, &UP, number, 0) else {
            return check_passed(&world, passed);
        };
        let next = world.run(&[&["--json"], &UP[..]].concat());
        told(&next, &place);
        answers(
            App::of(&serde_json::from_str(&next.stdout).unwrap()),
            &place,
        );
        State::of(&world).check(&world, &place);
        world.ok(&["down", "--purge"]);
        assert_eq!(world.left_in_runtime(), [""; 0], "{place}");
        passed.insert(place);
    }
    panic!("it does not end within {MOST} boundaries");
}

pub(crate) fn of_purge(world: World) {
    let mut passed = BTreeSet::new();
    for number in 1..=MOST {
        world.json(&UP);
        world.sh("echo mine > /file");
        let snapshot = world.snapshot();
        let foreign = Foreign::from_snapshot(&world, &snapshot);
        let place = cut_off(&world, &["down", "--purge"], number, 0);
        if let Some(place) = &place {
            let next = world.run(&UP);
            told(&next, place);
            foreign.check(place);
            // Purged, or not even begun.
            State::of(&world).check_besides(&world, place, &foreign.keeps());
            world.ok(&["down", "--purge"]);
        }
        foreign.check(place.as_deref().unwrap_or("the end"));
        drop(foreign);
        let Some(place) = place else {
            check_passed(&world, passed);
            // What waited for the foreign ones to go goes with the next snapshot.
            world.json(&UP);
            world.snapshot();
            world.ok(&["down", "--purge"]);
            assert_eq!(world.left_in_runtime(), [""; 0]);
            return;
        };
        passed.insert(place);
    }
    panic!("it does not end within {MOST} boundaries");
}

/// Runs a command that kills itself at its boundary of this number and returns which that was;
/// `None` if it ended before.
fn cut_off(world: &World, args: &[&str], number: usize, code: i32) -> Option<String> {
    let command = world.command(args);
    // The shell becomes the command, so that its pid is that of the command.
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("STATEFORK_CRASH_AT=$$:{number} exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let ended = ended(shell.spawn().unwrap());
    if ended.code != -1 {
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        return None;
    }
    let place = ended
        .stderr
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("killed at "));
    let place = place.unwrap_or_else(|| panic!("{args:?}: {}", ended.stderr));
    println!("{number}: {place}");
    Some(place.to_owned())
}

/// Everything that the log has of the last operation was cut off, and nothing else.
fn check_passed(world: &World, passed: BTreeSet<String>) {
    assert_eq!(passed, boundaries(world));
}

/// The boundaries of the last operation, as the log has it.
fn boundaries(world: &World) -> BTreeSet<String> {
    let history = world.json(&["history"]);
    let last = history["operations"].as_array().unwrap().last().unwrap();
    let mut boundaries: BTreeSet<String> = ["logged", "acted", "recorded"].map(Into::into).into();
    for phase in last["phases"].as_object().unwrap().keys() {
        boundaries.extend(["begin", "end"].map(|moment| format!("{phase}:{moment}")));
    }
    boundaries
}

/// Each snapshot holds what it was taken of.
fn check_snapshots(world: &World, known: &BTreeMap<String, String>) {
    for (id, content) in known {
        world.json(&["restore", id]);
        assert_eq!(world.sh("cat /file"), format!("{content}\n"), "{id}");
    }
}

/// What the next command says of one that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Finished,
    Undone,
    /// Its end was in the log.
    Nothing,
}

fn told(next: &Ended, place: &str) -> Told {
    assert_eq!(next.code, 0, "{place}: {}", next.stderr);
    let cut_off = next
        .stderr
        .lines()
        .find(|line| line.contains("was cut off"));
    match cut_off {
        Some(line) if line.ends_with("it is finished now") => Told::Finished,
        Some(line) if line.ends_with("it is undone now") => Told::Undone,
        Some(line) => panic!("{place}: {line}"),
        None if place == "recorded" => Told::Nothing,
        None => panic!("{place}: it does not say so: {:?}", next.stderr),
    }
}

/// Whoever asks gets an answer. The small server has no such file, and says so.
fn answers(app: App, place: &str) {
    let begun = Instant::now();
    let ask = || {
        let stream = http::connect(app.0)?;
        stream.set_read_timeout(Some(AWAY))?;
        http::ask(stream, "GET", "/none", b"")
    };
    let answer = match ask() {
        // It had been led to the new container, which went with the operation.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => ask(),
        answer => answer,
    };
    let answer = answer.unwrap_or_else(|error| panic!("{place}: no answer: {error}"));
    assert_eq!(answer.status, 404, "{place}");
    assert!(begun.elapsed() < AWAY, "{place}: {:?}", begun.elapsed());
}

/// What an environment consists of.
#[derive(Debug, PartialEq)]
struct State {
    /// The names that lead to each snapshot but the base.
    snapshots: BTreeMap<String, Value>,
    branches: Value,
}

impl State {
    fn of(world: &World) -> Self {
        let list = world.json(&["list"]);
        let rows = list["snapshots"].as_array().unwrap().iter().skip(1);
        let snapshots = rows.map(|row| (text(&row["id"]), row.clone())).collect();
        let branches = world.json(&["branch"])["branches"].clone();
        Self {
            snapshots,
            branches,
        }
    }

    /// New snapshots are those of `content`.
    fn name(&self, known: &mut BTreeMap<String, String>, content: &str) {
        for id in self.snapshots.keys() {
            known
                .entry(id.clone())
                .or_insert_with(|| content.to_owned());
        }
    }

    fn check(&self, world: &World, place: &str) {
        self.check_besides(world, place, &[]);
    }

    /// All containers run, and the runtime has what the environment names, and these, and soon
    /// nothing else.
    fn check_besides(&self, world: &World, place: &str, besides: &[String]) {
        let branches = self.branches.as_array().unwrap();
        for branch in branches {
            assert_eq!(branch["state"], "running", "{place}: {branch}");
        }
        let named = self.snapshots.len() + branches.len();
        let begun = Instant::now();
        loop {
            let mut left = world.left_in_runtime();
            left.retain(|found| !besides.iter().any(|id| found.contains(id)));
            if left.len() == named {
                break;
            }
            // One that died once it had ended has left its old container, which the next command
            // has a worker remove.
            assert!(begun.elapsed() < BEHIND, "{place}: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let history = world.json(&["history"]);
        for row in history["operations"].as_array().unwrap() {
            assert_ne!(row["outcome"], "running", "{place}");
        }
    }
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?
        .iter()
        .find(|branch| branch["name"] == name)
}
