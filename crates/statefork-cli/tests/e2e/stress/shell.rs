//! One of the processes: a shell, the commands that it is given, and what must come of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::world::{World, text};

const SEED: u64 = 0x5f0f;

/// A process that works on a branch, and what it knows to be in the store.
pub(super) struct Shell {
    pub(super) environment: String,
    pub(super) branch: String,
    /// Whether nobody else works on the branch: then it knows what is in the container's file.
    alone: bool,
    content: Option<String>,
    number: usize,
    rng: StdRng,
    pub(super) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    named: usize,
    pub(super) locked: usize,
    pub(super) slowest: Duration,
    /// Its snapshots, with the file's content where it is known.
    pub(super) snapshots: BTreeMap<String, Option<String>>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) branches: Vec<String>,
    pub(super) done: BTreeMap<&'static str, usize>,
    /// Adds branches, which no command does without a container.
    store: rusqlite::Connection,
}

impl Shell {
    pub(super) fn start(world: &World, branch: &str, alone: bool, number: usize) -> Self {
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

    pub(super) fn end(&mut self) {
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
    pub(super) fn next(&mut self) {
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
