//! Chains that are longer than what a runtime can stack.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::world::{World, text};

/// More than Docker and Podman take in all; `STATEFORK_TEST_CHAIN` asks for a longer one.
const LENGTH: usize = 130;
/// Steps that one process takes.
const AT_ONCE: usize = 20;
/// After so many steps the chain takes almost half of the room for layers.
const ALMOST_LONG: usize = 58;
/// After so many more a flattening has begun.
const FEW: usize = 12;
/// How long one may take to begin.
const BEGIN: Duration = Duration::from_secs(3);

/// Steps with these numbers; their documents. Each leaves its mark, and takes away that of the
/// tenth before it.
fn steps(world: &World, numbers: &[usize]) -> Vec<Value> {
    let mut all = Vec::new();
    for some in numbers.chunks(AT_ONCE) {
        let script: String = some
            .iter()
            .map(|number| {
                let former = number.saturating_sub(10);
                format!(
                    "exec -- sh -c 'echo {number} > /file; touch /mark{number}; rm -f /mark{former}'\n\
                     step\n"
                )
            })
            .collect();
        let ended = world.pipe(&["--json", "shell", "--fail-fast"], &script);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let documents = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let steps = documents.filter(|document: &Value| document.get("id").is_some());
        let before = all.len();
        all.extend(steps);
        assert_eq!(all.len() - before, some.len());
    }
    all
}

/// That a snapshot comes back as it was taken.
fn check_restored(world: &World, number: usize, id: &str) {
    let restored = world.json(&["restore", id]);
    println!(
        "{}: restore of {number}: {} ms",
        world.runtime, restored["duration_ms"]
    );
    let last = world.sh("cat /file; ls -d /mark* | wc -l");
    assert_eq!(last, format!("{number}\n{}\n", number.min(10)));
    let oldest = number.saturating_sub(9).max(1);
    world.sh(&format!(
        "for i in $(seq {oldest} {number}); do test -e /mark$i || exit 1; done"
    ));
}

pub(crate) fn steps_beyond_the_limit_of_layers(world: World) {
    let length = match std::env::var("STATEFORK_TEST_CHAIN") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => LENGTH,
    };
    world.up_busybox("sleep 600");
    let numbers: Vec<usize> = (1..=length).collect();
    let steps = steps(&world, &numbers);
    let ids: Vec<String> = steps.iter().map(|step| text(&step["id"])).collect();
    let with = |phase: &str| {
        let phases = steps.iter().map(|step| &step["phases"][phase]);
        phases
            .filter(|phase| !phase.is_null())
            .cloned()
            .collect::<Vec<_>>()
    };
    println!("{}: rebases: {:?} ms", world.runtime, with("rebase"));
    assert!(!with("rebase").is_empty());
    // Nobody waited for a flattening.
    assert_eq!(with("flatten"), [Value::Null; 0]);
    let history = world.json(&["history"]);
    let history = history["operations"].as_array().unwrap();
    let behind: Vec<&Value> = history
        .iter()
        .filter(|row| row["operation"] == "flatten" && row["outcome"] == "done")
        .map(|row| &row["duration_ms"])
        .collect();
    println!("{}: flattened behind: {behind:?} ms", world.runtime);
    assert!(!behind.is_empty());
    // The graph is as long as it was made.
    let nodes = world.json(&["list"]);
    let nodes = nodes["snapshots"].as_array().unwrap();
    assert_eq!(nodes.len(), length + 1);
    for (pair, id) in nodes.windows(2).zip(&ids) {
        assert_eq!(pair[1]["id"], id.as_str());
        assert_eq!(pair[1]["parent"], pair[0]["id"]);
    }
    for number in [1, length / 2, length] {
        check_restored(&world, number, &ids[number - 1]);
    }
}

pub(crate) fn what_flattens_behind_is_killed_and_purged(world: World) {
    world.up_busybox("sleep 600");
    let numbers: Vec<usize> = (1..=ALMOST_LONG).collect();
    let mut ids: Vec<String> = steps(&world, &numbers)
        .iter()
        .map(|step| text(&step["id"]))
        .collect();
    let more = |ids: &mut Vec<String>| {
        for number in ids.len() + 1.. {
            assert!(number <= ALMOST_LONG + FEW, "nothing flattens");
            ids.extend(
                steps(&world, &[number])
                    .iter()
                    .map(|step| text(&step["id"])),
            );
            if let Some(worker) = flattening(&world) {
                return worker;
            }
        }
        unreachable!("there are more numbers");
    };
    let worker = more(&mut ids);
    rustix::process::kill_process(worker, Signal::KILL).unwrap();
    let told = world.run(&["step"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(
        told.stderr.contains("flatten (operation") && told.stderr.contains("it is undone now"),
        "{}",
        told.stderr
    );
    let head = ids.len();
    check_restored(&world, head, &ids[head - 1]);
    check_restored(&world, 1, &ids[0]);
    // The restores have had others flatten what they went back to: on from where it is not long yet.
    ids.truncate(ALMOST_LONG);
    world.json(&["restore", &ids[ALMOST_LONG - 1]]);
    more(&mut ids);
    world.ok(&["down", "--purge"]);
    assert_eq!(world.left_in_runtime(), [""; 0]);
    // Nor does anything come later.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.left_in_runtime(), [""; 0]);
}

/// The process of a flattening that runs, or begins within a time.
fn flattening(world: &World) -> Option<Pid> {
    let store = rusqlite::Connection::open(world.home().join("store.sqlite")).unwrap();
    let begun = Instant::now();
    loop {
        let running = store.query_row(
            "SELECT json_extract(process, '$.pid') FROM operations
             WHERE kind = 'flatten' AND outcome = 'running'",
            (),
            |row| row.get(0),
        );
        match running {
            Ok(pid) => return Pid::from_raw(pid),
            Err(_) if begun.elapsed() < BEGIN => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}
