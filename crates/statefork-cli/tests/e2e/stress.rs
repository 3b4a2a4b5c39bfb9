//! Ten processes on one home: nothing is corrupted, nothing is lost, nobody waits for ever.
//!
//! Each process is a shell that is given a hundred commands, chosen by a seeded generator, one at a
//! time. What it names and removes is its own, so that after each answer it is known what the
//! store must hold of it, whatever the others do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, add_branch, ended, signal, text, wait_for};

const SEED: u64 = 0x5f0f;
/// Commands of each process.
const COMMANDS: usize = 100;
/// All of them together take no longer.
const LIMIT: Duration = Duration::from_secs(150);
/// Branches of each environment, and how many processes work on each.
const BRANCHES: [(&str, usize); 3] = [("main", 3), ("trial", 1), ("spare", 1)];

pub(crate) fn ten_processes_on_one_home(world: World) {
    let other = world.neighbour();
    let worlds = [&world, &other];
    let mut shells = Vec::new();
    for world in worlds {
        world.up_busybox("sleep 600");
        for (branch, processes) in BRANCHES {
            if branch != "main" {
                add_branch(world, branch, "base");
                world.json(&["-b", branch, "restore", "base"]);
            }
            for _ in 0..processes {
                shells.push(Shell::start(world, branch, processes == 1, shells.len()));
            }
        }
    }
    assert_eq!(shells.len(), 10);
    let shells = run(shells);
    for world in worlds {
        let of_world = shells
            .iter()
            .filter(|shell| shell.environment == world.name);
        check(world, &of_world.collect::<Vec<_>>());
    }
    let store = rusqlite::Connection::open(world.home().join("store.sqlite")).unwrap();
    let integrity: String = store
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok");
    let mut strays = store.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!strays.exists([]).unwrap());
}

pub(crate) fn a_held_lock_names_its_holder(world: World) {
    world.up_busybox("sleep 600");
    let base = world.json(&["list"])["snapshots"].as_array().unwrap().len();
    let holder = world.spawn(&["try", "--", "sleep", "600"]);
    wait_for(Duration::from_secs(20), || {
        world.json(&["list"])["snapshots"].as_array().unwrap().len() > base
    });
    world.configure("lock_timeout: 300ms");
    let named = format!("process {} (try, since ", holder.id());
    // The first takes the branch, the others the whole environment.
    for command in [&["tag", "mine"][..], &["switch", "main"], &["rm", "base"]] {
        let error = world.fails(6, command);
        assert!(error.contains(&named), "{command:?}: {error}");
        assert!(error.contains("within 0.3 s"), "{command:?}: {error}");
    }
    // Reading takes no lock.
    world.json(&["history"]);
    world.json(&["tree"]);
    signal(&holder, Signal::INT);
    assert_eq!(ended(holder).code, 130);
    world.json(&["tag", "mine"]);
}

/// Lets all shells work at once, and ends them when they take too long.
fn run(shells: Vec<Shell>) -> Vec<Shell> {
    let pids: Vec<_> = shells
        .iter()
        .map(|shell| rustix::process::Pid::from_child(&shell.child))
        .collect();
    let work = shells.into_iter().map(|mut shell| {
        thread::spawn(move || {
            for _ in 0..COMMANDS {
                shell.next();
            }
            shell.end();
            shell
        })
    });
    let work: Vec<_> = work.collect();
    let begun = Instant::now();
    while work.iter().any(|worker| !worker.is_finished()) {
        if begun.elapsed() > LIMIT {
            for (worker, pid) in work.iter().zip(&pids) {
                // One whose worker has ended has been waited for, and its id may be another's.
                if !worker.is_finished() {
                    rustix::process::kill_process(*pid, Signal::KILL).unwrap();
                }
            }
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let shells: Vec<thread::Result<Shell>> =
        work.into_iter().map(thread::JoinHandle::join).collect();
    let took = begun.elapsed();
    let shells: Vec<Shell> = shells.into_iter().map(Result::unwrap).collect();
    let locked: usize = shells.iter().map(|shell| shell.locked).sum();
    let slowest = shells.iter().map(|shell| shell.slowest).max();
    println!(
        "{} commands in {took:?}, {locked} refused for a lock, the slowest took {slowest:?}",
        shells.len() * COMMANDS
    );
    shells
}

/// What the store must hold after all of it.
fn check(world: &World, shells: &[&Shell]) {
    let nodes = world.json(&["list"]);
    let nodes = nodes["snapshots"].as_array().unwrap();
    let mut expected: Vec<&str> = shells
        .iter()
        .flat_map(|shell| shell.snapshots.keys().map(String::as_str))
        .collect();
    expected.push(nodes[0]["id"].as_str().unwrap());
    let mut ids: Vec<&str> = nodes
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    for node in &nodes[1..] {
        assert!(ids.contains(&node["parent"].as_str().unwrap()), "{node}");
    }
    expected.sort_unstable();
    ids.sort_unstable();
    assert_eq!(ids, expected);

    let mut tags = tags(&world.json(&["tag"])["tags"]);
    assert!(tags.remove("base").is_some());
    let mut expected = BTreeMap::new();
    for shell in shells {
        expected.extend(shell.tags.clone());
    }
    assert_eq!(tags, expected);

    let branches = world.json(&["branch"]);
    let mut names: Vec<String> = shells
        .iter()
        .flat_map(|shell| shell.branches.clone())
        .collect();
    names.extend(BRANCHES.map(|(name, _)| name.to_owned()));
    names.sort_unstable();
    let branches = branches["branches"].as_array().unwrap();
    let found: Vec<String> = branches
        .iter()
        .map(|branch| text(&branch["name"]))
        .collect();
    assert_eq!(found, names);
    for branch in branches {
        let live = BRANCHES.iter().any(|(name, _)| branch["name"] == *name);
        assert_eq!(
            branch["state"],
            if live { "running" } else { "down" },
            "{branch}"
        );
    }

    let history = world.json(&["history"]);
    let history = history["operations"].as_array().unwrap();
    let mut done = BTreeMap::new();
    for operation in history {
        assert_eq!(operation["outcome"], "done", "{operation}");
        *done.entry(text(&operation["operation"])).or_insert(0) += 1;
    }
    let mut expected = BTreeMap::from([("up".to_owned(), 1), ("restore".to_owned(), 2)]);
    for (operation, count) in shells.iter().flat_map(|shell| &shell.done) {
        *expected.entry((*operation).to_owned()).or_insert(0) += count;
    }
    assert_eq!(done, expected);

    for shell in shells {
        let known = shell.snapshots.iter().rev();
        for (id, content) in known
            .filter_map(|(id, content)| Some((id, content.as_ref()?)))
            .take(3)
        {
            world.json(&["-b", &shell.branch, "restore", id]);
            let args = ["-b", &shell.branch, "exec", "--", "sh", "-c", READ];
            assert_eq!(world.ok(&args).trim(), content, "{id}");
        }
    }
}

const READ: &str = "cat /file 2>/dev/null || true";

/// The tags of a document as name and id.
fn tags(document: &Value) -> BTreeMap<String, String> {
    let tags = document.as_array().unwrap().iter();
    tags.map(|tag| (text(&tag["name"]), text(&tag["id"])))
        .collect()
}

/// A process that works on a branch, and what it knows to be in the store.
struct Shell {
    environment: String,
    branch: String,
    /// Whether nobody else works on the branch: then it knows what is in the container's file.
    alone: bool,
    content: Option<String>,
    number: usize,
    rng: StdRng,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    named: usize,
    locked: usize,
    slowest: Duration,
    /// Its snapshots, with the file's content where it is known.
    snapshots: BTreeMap<String, Option<String>>,
    tags: BTreeMap<String, String>,
    branches: Vec<String>,
    done: BTreeMap<&'static str, usize>,
    /// Adds branches, which no command does without a container.
    store: rusqlite::Connection,
}

impl Shell {
    fn start(world: &World, branch: &str, alone: bool, number: usize) -> Self {
        let notes = world.folder().join(format!("shell-{number}"));
        let mut command = world.command(&["-b", branch, "--json", "shell"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(File::create(notes).unwrap())
            .spawn()
            .unwrap();
        Self {
            environment: world.name.clone(),
            branch: branch.to_owned(),
            alone,
            content: alone.then(String::new),
            number,
            rng: StdRng::seed_from_u64(SEED + number as u64),
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            named: 0,
            locked: 0,
            slowest: Duration::ZERO,
            snapshots: BTreeMap::new(),
            tags: BTreeMap::new(),
            branches: Vec::new(),
            done: BTreeMap::new(),
            store: rusqlite::Connection::open(world.home().join("store.sqlite")).unwrap(),
        }
    }

    /// Says a line and hears its document.
    fn ask(&mut self, line: &str) -> Value {
        let asked = Instant::now();
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        self.slowest = self.slowest.max(asked.elapsed());
        serde_json::from_str(&answer).unwrap_or_else(|error| {
            panic!("process {}: {line:?} got {answer:?}: {error}", self.number)
        })
    }

    /// Says a line that must be done, or refused for one of these reasons. Whoever is refused for
    /// a lock must hear who holds it.
    fn ask_or(&mut self, line: &str, refusals: &[&str]) -> Option<Value> {
        let answer = self.ask(line);
        let Some(error) = answer.get("error") else {
            return Some(answer);
        };
        let kind = text(&error["kind"]);
        let told = format!("process {}: {line:?}: {error}", self.number);
        if kind == "locked" {
            self.locked += 1;
            assert_eq!(error["exit_code"], 6, "{told}");
            let causes = error["causes"].to_string();
            assert!(
                causes.contains(": process ") && causes.contains(", since "),
                "{told}"
            );
        } else {
            assert!(refusals.contains(&kind.as_str()), "{told}");
        }
        None
    }

    /// Says a line of an operation that is in the log if it was done.
    fn operate(&mut self, operation: &'static str, line: &str, refusals: &[&str]) -> Option<Value> {
        let answer = self.ask_or(line, refusals)?;
        *self.done.entry(operation).or_insert(0) += 1;
        Some(answer)
    }

    fn end(&mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_line(&mut rest).unwrap();
        assert_eq!(rest, "");
        // 1 if a line was refused.
        assert!(matches!(self.child.wait().unwrap().code(), Some(0 | 1)));
    }

    fn new_name(&mut self) -> String {
        self.named += 1;
        format!("p{}-{}", self.number, self.named)
    }

    fn own_snapshot(&mut self) -> Option<String> {
        let ids: Vec<&String> = self.snapshots.keys().collect();
        ids.choose(&mut self.rng).map(|id| (*id).clone())
    }

    fn own_tag(&mut self) -> Option<String> {
        let names: Vec<&String> = self.tags.keys().collect();
        names.choose(&mut self.rng).map(|name| (*name).clone())
    }

    /// One command, by chance.
    fn next(&mut self) {
        match self.rng.random_range(0..100) {
            0..24 => self.tag(),
            24..30 => self.move_tag(),
            30..39 => self.untag(),
            39..42 => self.refused(),
            42..52 => self.list(),
            52..58 => self.tree(),
            58..66 => self.show(),
            66..69 => self.history(),
            69..74 => self.look(),
            74..82 => self.snapshot("snapshot"),
            82..85 => self.snapshot("step"),
            85..89 => self.restore(),
            89..92 => self.remove(),
            92..95 => self.attempt(),
            95..97 => self.change_branches(),
            97 => {
                let line = format!("switch {}", self.branch);
                self.operate("switch", &line, &[]);
            }
            _ => self.write(),
        }
    }

    fn tag(&mut self) {
        let name = self.new_name();
        let revision = self.own_snapshot().unwrap_or_else(|| "base".to_owned());
        if let Some(answer) = self.operate("tag", &format!("tag {name} {revision}"), &[]) {
            self.tags.insert(name, text(&answer["id"]));
        }
    }

    fn move_tag(&mut self) {
        let Some(name) = self.own_tag() else {
            return self.tag();
        };
        let revision = self.own_snapshot().unwrap_or_else(|| "base".to_owned());
        if let Some(answer) = self.operate("tag", &format!("tag -f {name} {revision}"), &[]) {
            self.tags.insert(name, text(&answer["id"]));
        }
    }

    fn untag(&mut self) {
        let Some(name) = self.own_tag() else {
            return self.tag();
        };
        if self
            .operate("tag", &format!("tag -d {name}"), &[])
            .is_some()
        {
            self.tags.remove(&name);
        }
    }

    /// What must fail, and change nothing.
    fn refused(&mut self) {
        assert!(
            self.ask_or("rm no-such-snapshot", &["snapshot_not_found"])
                .is_none()
        );
        if let Some(name) = self.own_tag() {
            assert!(
                self.ask_or(&format!("tag {name}"), &["name_taken"])
                    .is_none()
            );
        }
    }

    fn list(&mut self) {
        let answer = self.ask("list");
        self.check_nodes(&answer);
    }

    fn tree(&mut self) {
        let answer = self.ask("tree");
        self.check_nodes(&answer);
    }

    /// Everything of its own is there, and the graph hangs together.
    fn check_nodes(&self, answer: &Value) {
        let nodes = answer["snapshots"].as_array().unwrap();
        let mut found = BTreeMap::new();
        let mut tags = BTreeMap::new();
        for node in nodes {
            let parent = &node["parent"];
            assert!(
                parent.is_null() || found.contains_key(&text(parent)),
                "{node}"
            );
            found.insert(text(&node["id"]), node);
            for tag in node["tags"].as_array().unwrap() {
                tags.insert(text(tag), text(&node["id"]));
            }
        }
        for id in self.snapshots.keys() {
            assert!(
                found.contains_key(id),
                "process {}: {id} is lost",
                self.number
            );
        }
        let prefix = format!("p{}-", self.number);
        tags.retain(|name, _| name.starts_with(&prefix));
        assert_eq!(tags, self.tags, "process {}", self.number);
    }

    fn show(&mut self) {
        let revision = self.own_snapshot().unwrap_or_else(|| "base".to_owned());
        let answer = self.ask(&format!("show {revision}"));
        if revision != "base" {
            assert_eq!(answer["id"], revision.as_str(), "{answer}");
        }
    }

    fn history(&mut self) {
        let answer = self.ask("history");
        let operations = answer["operations"].as_array().unwrap();
        let done = operations
            .iter()
            .filter(|operation| operation["outcome"] == "done");
        let of_own: usize = self.done.values().sum();
        assert!(done.count() >= of_own, "process {}", self.number);
    }

    fn look(&mut self) {
        let answer = self.ask("status");
        assert!(
            answer["state"] == "running" || answer["state"] == "paused",
            "{answer}"
        );
        let answer = self.ask("branch");
        let branches = answer["branches"].as_array().unwrap();
        for name in &self.branches {
            assert!(
                branches
                    .iter()
                    .any(|branch| branch["name"] == name.as_str()),
                "{answer}"
            );
        }
    }

    fn snapshot(&mut self, operation: &'static str) {
        let tag = self.rng.random_bool(0.3).then(|| self.new_name());
        let mut line = operation.to_owned();
        if let Some(tag) = &tag {
            line += &format!(" -t {tag}");
        }
        if let Some(answer) = self.operate(operation, &line, &[]) {
            let id = text(&answer["id"]);
            self.snapshots.insert(id.clone(), self.content.clone());
            self.tags.extend(tag.map(|tag| (tag, id)));
        }
    }

    fn restore(&mut self) {
        let Some(id) = self.own_snapshot() else {
            return self.snapshot("snapshot");
        };
        if let Some(answer) = self.operate("restore", &format!("restore {id}"), &[]) {
            assert_eq!(answer["id"], id.as_str());
            if self.alone {
                self.content = self.snapshots[&id].clone();
            }
        }
    }

    fn remove(&mut self) {
        let Some(id) = self.own_snapshot() else {
            return self.snapshot("snapshot");
        };
        if self
            .operate("rm", &format!("rm {id}"), &["snapshot_in_use"])
            .is_some()
        {
            self.snapshots.remove(&id);
            self.tags.retain(|_, named| *named != id);
        }
    }

    fn attempt(&mut self) {
        let content = self.new_name();
        let keep = self.rng.random_bool(0.5);
        let line = format!("try -- sh -c 'echo {content} > /file; {keep}'");
        if let Some(answer) = self.operate("try", &line, &[]) {
            assert_eq!(answer["restored"], !keep, "{answer}");
            self.snapshots
                .insert(text(&answer["snapshot"]), self.content.clone());
            if self.alone && keep {
                self.content = Some(content);
            }
        }
    }

    /// A branch comes, gets another name, and may go.
    fn change_branches(&mut self) {
        let Some(head) = self.own_snapshot() else {
            return self.snapshot("snapshot");
        };
        let mut name = self.new_name();
        let added = self.store.execute(
            "INSERT INTO branches (environment, name, head, ports, created_at)
             SELECT s.environment, ?1, s.position, '[]', s.created_at FROM snapshots s WHERE s.id = ?2",
            (&name, &head),
        );
        assert_eq!(added.unwrap(), 1);
        let other = self.new_name();
        let line = format!("branch rename {name} {other}");
        if self.operate("branch rename", &line, &[]).is_some() {
            name = other;
        }
        let goes = self.rng.random_bool(0.7);
        if !goes
            || self
                .operate("branch rm", &format!("branch rm {name}"), &[])
                .is_none()
        {
            self.branches.push(name);
        }
    }

    /// Writes into the container. Where others take snapshots meanwhile it looks instead: an exec
    /// that is caught by a pause hangs Docker 20.10 for good.
    fn write(&mut self) {
        if !self.alone {
            return self.look();
        }
        let content = self.new_name();
        let answer = self.ask(&format!("exec -- sh -c 'echo {content} > /file'"));
        assert_eq!(answer["exit_code"], 0, "{answer}");
        self.content = Some(content);
    }
}
