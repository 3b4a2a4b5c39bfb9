//! Ten processes on one home: nothing is corrupted, nothing is lost, nobody waits for ever.
//!
//! Each process is a shell that is given a hundred commands, chosen by a seeded generator, one at a
//! time. What it names and removes is its own, so that after each answer it is known what the
//! store must hold of it, whatever the others do.

mod shell;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use self::shell::Shell;
use crate::world::{World, add_branch, ended, signal, text, wait_for};

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
