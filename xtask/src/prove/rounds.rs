//! The rounds: write, save, write more, go back, look; and meanwhile something is killed.

use std::time::{Duration, Instant};
use std::{collections::BTreeMap, thread};

use anyhow::{Context, Result, bail, ensure};

use super::bounds::Bounds;
use super::chance::{Chance, Deck};
use super::client::Writer;
use super::journal::Journal;
use super::links;
use super::stage::Stage;
use super::victim::Victim;
use crate::daemons::{self, Layout};
use crate::interrupt;
use crate::runtime::Runtime;

/// The application answers so soon after the command was killed, without any further one.
const THAWED_WITHIN: Duration = Duration::from_secs(5);

/// How long it is written between two commands, at most.
const WRITE_FOR: Duration = Duration::from_millis(800);

/// How long a command is taken to last before one of its kind was measured.
const FIRST_GUESS: Duration = Duration::from_millis(700);

/// How a command may end that lost its shim or its daemon: done, failed, or the runtime could not be
/// reached (docs/errors.md).
const HONEST: [i32; 3] = [0, 1, 5];

/// A snapshot that was taken.
#[derive(Clone, Debug)]
struct Saved {
    id: String,
    /// What a person knows it by.
    message: String,
    holds: Bounds,
}

/// A run of rounds.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    stage: &'a Stage,
    layout: &'a Layout,
    writer: Writer,
    chance: Chance,
    /// Who is killed while a snapshot is taken, and who during a restore.
    victims: [Deck; 2],
    saved: Vec<Saved>,
    /// How long each command took last.
    lasts: BTreeMap<String, Duration>,
    /// Who was killed.
    killed: Vec<Victim>,
}

impl<'a> Rounds<'a> {
    /// Brings the database up and begins to write.
    pub(super) fn new(
        stage: &'a Stage,
        layout: &'a Layout,
        journal: Journal,
        seed: u64,
    ) -> Result<Self> {
        stage.up()?;
        stage.database.prepare()?;
        Ok(Self {
            stage,
            layout,
            writer: Writer::start(stage.database, journal),
            chance: Chance::new(seed),
            victims: [(); 2].map(|()| Deck::new(Victim::of(stage.runtime))),
            saved: Vec::new(),
            lasts: BTreeMap::new(),
            killed: Vec::new(),
        })
    }

    /// Plays them, and ends the writing. Returns who was killed, in the order of their deaths.
    ///
    /// # Errors
    ///
    /// At the first claim that does not hold.
    pub(super) fn run(mut self, rounds: u32) -> Result<Vec<Victim>> {
        for round in 1..=rounds {
            interrupt::check()?;
            let begun = Instant::now();
            let told = self
                .round(round)
                .with_context(|| format!("round {round} of {rounds} failed"))?;
            println!(
                "  round {round:>2}/{rounds}  {told}; {:.1} s",
                begun.elapsed().as_secs_f64()
            );
        }
        self.look_at_all()?;
        println!(
            "  {} transactions acknowledged, {} snapshots, all there",
            self.writer.journal().acknowledged,
            self.saved.len()
        );
        self.writer.end()?;
        Ok(self.killed)
    }

    fn round(&mut self, round: u32) -> Result<String> {
        self.write_for_a_while();
        let saved = self.save(round)?;
        self.write_for_a_while();
        let restored = self.restore()?;
        let looked = self.look()?;
        Ok(format!("{saved}; {restored}; {looked}"))
    }

    fn write_for_a_while(&mut self) {
        thread::sleep(self.chance.up_to(WRITE_FOR));
    }

    /// Takes a snapshot, with `step` now and then.
    fn save(&mut self, round: u32) -> Result<String> {
        let verb = match self.chance.one_in(4) {
            true => "step",
            false => "snapshot",
        };
        let victim = self.draw(0, verb);
        let first = self.writer.journal().mark();
        let mut told = verb.to_owned();
        let mut messages = Vec::new();
        if let Some(victim) = victim {
            let message = format!("round {round}, {victim} killed");
            told += &self.kill_during(victim, &[verb, "-m", &message])?;
            messages.push(message);
        }
        let second = self.writer.journal().mark();
        let message = format!("round {round}");
        self.finish(&[verb, "-m", &message])?;
        // A snapshot leaves the database as it is. A step that was killed may have replaced it, or
        // have been undone after it had.
        let mut journal = self.writer.journal();
        let whole = journal.captured(&first);
        let last = match verb {
            "step" => whole.clone(),
            _ => journal.captured(&second),
        };
        if verb == "step" {
            journal.replaced(&whole, &first);
        }
        drop(journal);
        let known = self.saved.len();
        for message in messages {
            // Whether it was taken or undone, the graph knows.
            self.remember(message, whole.clone())?;
        }
        if victim.is_some() {
            told += match self.saved.len() > known {
                true => ", taken all the same, and again",
                false => ", undone, and again",
            };
        }
        let known = self.saved.len();
        self.remember(message, last)?;
        ensure!(self.saved.len() > known, "the snapshot is not in `list`");
        Ok(told)
    }

    /// Who is killed during a command.
    ///
    /// Podman's service is spared while it starts or removes a container: killed there, it forgets
    /// what it had mounted and started, and a later one cannot remove the container any more (`rm`
    /// ends with "device or resource busy", and its storage keeps the image in use), whoever asks.
    fn draw(&mut self, deck: usize, verb: &str) -> Option<Victim> {
        let drawn = self.victims[deck].draw(&mut self.chance);
        let spared = self.stage.runtime == Runtime::Podman && verb != "snapshot";
        drawn.filter(|victim| !(spared && *victim == Victim::Daemon))
    }

    /// Notes the snapshot with this message, if there is one.
    fn remember(&mut self, message: String, holds: Bounds) -> Result<()> {
        let listed = self.stage.json(&["list"])?;
        let nodes = listed["snapshots"].as_array().context("no snapshots")?;
        let found = nodes
            .iter()
            .find(|node| node["message"].as_str() == Some(&message));
        if let Some(id) = found.and_then(|node| node["id"].as_str()) {
            self.saved.push(Saved {
                id: id.to_owned(),
                message,
                holds,
            });
        }
        Ok(())
    }

    /// Goes back to a random snapshot.
    fn restore(&mut self) -> Result<String> {
        let chosen = self.chance.one_of(&self.saved);
        let target = chosen.context("there is no snapshot")?.clone();
        let mut told = format!("restore of {:?}", target.message);
        let since = self.writer.journal().mark();
        if let Some(victim) = self.draw(1, "restore") {
            told += &self.kill_during(victim, &["restore", &target.id])?;
            told += ", again";
        }
        let took = self.finish(&["restore", &target.id])?;
        self.writer.journal().replaced(&target.holds, &since);
        Ok(format!("{told} in {} ms", took.as_millis()))
    }

    /// Runs a command that must succeed, whatever the one before it has left.
    fn finish(&mut self, args: &[&str]) -> Result<Duration> {
        self.note(&format!("$ {}", args.join(" ")))?;
        let begun = Instant::now();
        let document = self.stage.json(args)?;
        let took = begun.elapsed();
        self.note(&format!("done: {document}"))?;
        self.lasts.insert(args[0].to_owned(), took);
        if self.stage.runtime == Runtime::Docker && self.killed.contains(&Victim::Daemon) {
            self.remove_lost_links()?;
        }
        Ok(took)
    }

    /// Nothing runs meanwhile, so that the branch's container is the only one.
    fn remove_lost_links(&self) -> Result<()> {
        let status = self.stage.json(&["status"])?;
        if let Some(pid) = status["pid"].as_u64() {
            let removed = links::remove_lost(pid)?;
            self.note(&format!("the daemon had lost {removed} links"))?;
        }
        Ok(())
    }

    /// Runs a command, kills the victim at a random moment, and returns what happened in words.
    fn kill_during(&mut self, victim: Victim, args: &[&str]) -> Result<String> {
        let lasts = self.lasts.get(args[0]).copied().unwrap_or(FIRST_GUESS);
        let delay = self.chance.up_to(lasts);
        self.note(&format!("$ {}, and kill the {victim}", args.join(" ")))?;
        let mut running = self.stage.start(args)?;
        self.killed.push(victim);
        let runs = running.runs_for(delay)?;
        let at = running.elapsed().as_millis();
        self.note(&format!("kill the {victim}, the command runs: {runs}"))?;
        let killed = format!(" ({victim} killed after {at} ms");
        match victim {
            Victim::Command if !runs => {
                running.wait()?;
                Ok(format!(" ({victim} had ended after {at} ms)"))
            }
            Victim::Command => {
                running.kill()?;
                let killed_at = Instant::now();
                self.stage.database.answers_within(THAWED_WITHIN)?;
                let answered = killed_at.elapsed().as_millis();
                // Only now: a parent that does not reap it yet must not keep anybody from thawing
                // what it froze.
                running.wait()?;
                Ok(format!("{killed}, answers after {answered} ms)"))
            }
            Victim::Shim => {
                self.stage.shim()?.kill()?;
                self.ends_honestly(&mut running)?;
                Ok(format!("{killed})"))
            }
            Victim::Monitor => {
                self.kill_of_native("monitor")?;
                self.ends_honestly(&mut running)?;
                Ok(format!("{killed})"))
            }
            Victim::Application => {
                self.kill_of_native("init")?;
                self.ends_honestly(&mut running)?;
                // Nothing starts by itself what was killed: with the changes that it has.
                self.stage.up()?;
                self.note("it is up again")?;
                Ok(format!("{killed}, up again)"))
            }
            Victim::Daemon => {
                let kind = self.stage.runtime.daemon().context("it has no daemon")?;
                daemons::kill(self.layout, kind)?;
                daemons::revive(self.layout, kind)?;
                self.note("the daemon answers again")?;
                self.ends_honestly(&mut running)?;
                Ok(format!("{killed})"))
            }
        }
    }

    fn kill_of_native(&self, which: &str) -> Result<()> {
        let processes = self.stage.processes_of_native(which)?;
        processes.iter().try_for_each(|process| process.kill())
    }

    fn ends_honestly(&self, running: &mut super::stage::Running) -> Result<()> {
        let status = running.wait()?;
        let said = running.said()?;
        self.note(&format!("ended with {status}: {said}"))?;
        if !status.code().is_some_and(|code| HONEST.contains(&code)) {
            bail!("it ended with {status}: {said}");
        }
        Ok(())
    }

    /// Looks into the database: whether its files are sound, and what it holds.
    fn look(&self) -> Result<String> {
        self.stage.database.answers_within(THAWED_WITHIN)?;
        let rows = self.writer.quiet(|| {
            let rows = self.stage.database.rows()?;
            let count = rows.len();
            self.writer.journal().found(rows)?;
            Ok(count)
        })?;
        self.stage
            .json(&[
                "exec",
                "--",
                "pg_amcheck",
                "--host=127.0.0.1",
                "--username=postgres",
                "--heapallindexed",
                "--parent-check",
                "postgres",
            ])
            .context("pg_amcheck found something")?;
        Ok(format!("{rows} rows right, pg_amcheck clean"))
    }

    /// The graph has every snapshot that was published, and the runtime has what they need.
    fn look_at_all(&self) -> Result<()> {
        let verified = self.stage.json(&["verify", "--all"])?;
        let verified = verified["verified"].as_array().context("no list")?;
        for saved in &self.saved {
            ensure!(
                verified
                    .iter()
                    .any(|node| node["id"] == *saved.id && node["verified"] == "ok"),
                "the snapshot of {} is lost",
                saved.message
            );
        }
        Ok(())
    }

    fn note(&self, what: &str) -> Result<()> {
        self.writer.journal().note(what)
    }
}
