//! The story: what a person does who saves the state of an application, breaks it, and goes back.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::application::Application;
use super::stage::Stage;
use crate::image::TARGET_APP;
use crate::runtime::Runtime;

/// Tells it from `up` to `down --purge`.
///
/// # Errors
///
/// At the first command that fails and the first claim that does not hold.
pub(super) fn tell(stage: &Stage, archive: &Path) -> Result<()> {
    let app = Application::at_free_port()?;
    if stage.runtime() == Runtime::Native {
        say(
            "Take the application's image from an archive. No other container tool has a part in this.",
        );
        let archive = archive
            .to_str()
            .context("the archive's path is not UTF-8")?;
        stage.run(&["image", "import", archive])?;
    }
    start(stage, &app)?;
    let saved = save(stage, &app)?;
    go_back(stage, &app, &saved)?;
    step(stage, &app)?;
    go_to_the_beginning(stage, &app)?;
    look_back(stage)?;
    end(stage, &app)
}

fn start(stage: &Stage, app: &Application) -> Result<()> {
    say("Start the application. The port belongs to StateFork and stays the same from now on.");
    let port = format!("{}:8000", app.0.port());
    stage.run(&["up", TARGET_APP, "-p", &port])?;
    let instance = app.instance()?;
    holds(
        true,
        &format!("it answers on {}, as process {}", app.0, short(&instance)),
    )?;
    say("Change its state: a key, which it keeps in memory, and a file.");
    app.set_key("mood", "hopeful")?;
    app.write_file("notes.txt", "the first version")
}

/// Returns the snapshot's id.
fn save(stage: &Stage, app: &Application) -> Result<String> {
    say("Save this state. The application goes on running.");
    let before = app.instance()?;
    stage.run(&["snapshot", "-m", "before the experiment"])?;
    let listed = stage.json("list")?;
    let newest = nodes(&listed)?.last().and_then(|node| node["id"].as_str());
    let id = newest.context("`list` has no snapshot")?.to_owned();
    holds(app.instance()? == before, "the same process answers")?;
    holds(
        app.key("mood")?.as_deref() == Some("hopeful"),
        "its memory is untouched: mood is \"hopeful\"",
    )?;
    say("Now break it: overwrite the file, add another, change the key.");
    app.set_key("mood", "desperate")?;
    app.write_file("notes.txt", "overwritten by mistake")?;
    app.write_file("junk.txt", "rubbish")?;
    Ok(id)
}

fn go_back(stage: &Stage, app: &Application, saved: &str) -> Result<()> {
    say("Go back to the snapshot.");
    let before = app.instance()?;
    stage.run(&["restore", saved])?;
    holds(
        app.file("notes.txt")?.as_deref() == Some("the first version"),
        "the file is back: notes.txt is \"the first version\"",
    )?;
    holds(
        app.file("junk.txt")?.is_none(),
        "junk.txt, made later, is gone",
    )?;
    let after = app.instance()?;
    let text = format!(
        "the process is a new one: {} instead of {}",
        short(&after),
        short(&before)
    );
    holds(after != before, &text)?;
    holds(
        app.key("mood")?.is_none() && app.key("planet")?.is_some(),
        "its memory began anew: no key mood, but those it starts with",
    )?;
    let text = format!("and all that on the same address, {}", app.0);
    holds(true, &text)
}

fn step(stage: &Stage, app: &Application) -> Result<()> {
    say("A step saves the state and goes on in a new container made from it.");
    app.write_file("notes.txt", "the second version")?;
    let before = app.instance()?;
    stage.run(&["step", "-m", "the second version"])?;
    holds(
        app.file("notes.txt")?.as_deref() == Some("the second version"),
        "the file is as it was: notes.txt is \"the second version\"",
    )?;
    holds(app.instance()? != before, "the process is a new one")
}

fn go_to_the_beginning(stage: &Stage, app: &Application) -> Result<()> {
    say("The image that everything began with is the snapshot named base.");
    stage.run(&["restore", "base"])?;
    holds(
        app.file("notes.txt")?.is_none(),
        "notes.txt does not exist yet",
    )
}

fn look_back(stage: &Stage) -> Result<()> {
    say("All versions, what each operation cost, and what happened when.");
    stage.run(&["list"])?;
    let listed = stage.json("list")?;
    let listed = nodes(&listed)?;
    holds(
        listed.len() == 3 && listed[1]["message"] == "before the experiment",
        "three snapshots: base and the two that were taken",
    )?;
    stage.run(&["stats"])?;
    let stats = stage.json("stats")?;
    let restores: u64 = rows(&stats, "stats")?
        .iter()
        .filter(|row| row["operation"] == "restore" && row["phase"].is_null())
        .filter_map(|row| row["count"].as_u64())
        .sum();
    holds(restores == 2, "two restores were measured")?;
    stage.run(&["history"])?;
    let history = stage.json("history")?;
    let operations: Vec<&str> = rows(&history, "operations")?
        .iter()
        // What is prepared behind them is in the log too.
        .filter(|row| row["outcome"] == "done" && row["operation"] != "standby")
        .filter_map(|row| row["operation"].as_str())
        .collect();
    holds(
        operations == ["up", "snapshot", "restore", "step", "restore"],
        "all five operations are in the log, in order, done",
    )
}

fn end(stage: &Stage, app: &Application) -> Result<()> {
    say("Take everything away, snapshots included.");
    stage.run(&["down", "--purge"])?;
    if stage.runtime() == Runtime::Native {
        stage.run(&["image", "rm", TARGET_APP])?;
    }
    holds(app.is_gone(), "nothing listens on the address any more")
}

fn nodes(list: &Value) -> Result<&Vec<Value>> {
    rows(list, "snapshots")
}

fn rows<'v>(document: &'v Value, key: &str) -> Result<&'v Vec<Value>> {
    document[key]
        .as_array()
        .with_context(|| format!("no {key} in {document}"))
}

fn say(text: &str) {
    println!("\n{text}");
}

/// Shows a claim that holds.
fn holds(it_does: bool, claim: &str) -> Result<()> {
    ensure!(it_does, "this does not hold: {claim}");
    println!("  ✓ {claim}");
    Ok(())
}

/// Enough of an instance's id to tell two apart.
fn short(instance: &str) -> &str {
    instance.get(..8).unwrap_or(instance)
}
